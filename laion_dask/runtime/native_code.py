"""Functions compiled by numba once, and loaded by later processes without numba.

Importing numba and loading a function from its cache takes 0.4 s and 130 MB; LLVM alone loads the
same machine code in 0.03 s. A function that needs numba's runtime, because it creates arrays or may
raise, is left to `laion_dask.runtime.numba_cache`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from laion_dask.io.storage.user_cache import user_cache
from laion_dask.runtime.numba_cache import compiled

#: LLVM owns the machine code of functions; they stay loaded.
_engines: list[Any] = []
#: The content of a file whose function is not loaded in this way, or not yet.
_LEFT_TO_NUMBA, _BEING_COMPILED = b"numba", b"compiling"
_HOUR = 3600
#: A destructor of arrays owned by numba, which is never called: callers own all arrays.
_NO_OWNER = "define void @NRT_MemInfo_call_dtor(ptr %0) { ret void }"


def native(
    name: str, imported: Callable[[], Callable], sources: Sequence[str], *arguments: np.ndarray
) -> Callable:
    """A compiled function of contiguous arrays that returns an int64. It releases the GIL.

    Parameters
    ----------
    name : str
        The name of the function.
    imported : callable
        Imports and returns the function; called only to compile it.
    sources : sequence of str
        Its module, and all others whose change requires compiling again.
    *arguments : arrays
        Examples without rows, with which the function is called to compile it.

    Returns
    -------
    callable
        Takes C-contiguous arrays of the dtypes and dimensions of the examples.
    """
    with suppress(Exception):  # no LLVM, a folder that is not writable, a need of numba's runtime
        file = _file(name, sources, arguments)
        stored = file.read_bytes() if file.exists() else b""
        if stored != _LEFT_TO_NUMBA and not _is_being_compiled(file, stored):
            with suppress(ValueError):
                return _loaded(stored, arguments)
            _write(file, _BEING_COMPILED)  # it stays if this process crashes
            content = _compiled(imported(), arguments, file)
            _write(file, content)
            if content != _LEFT_TO_NUMBA:
                return _loaded(content, arguments)
    return compiled(imported(), *arguments)[0]


def _is_being_compiled(file: Path, stored: bytes) -> bool:
    """Whether a process has begun to compile the function within the last hour."""
    return stored == _BEING_COMPILED and time.time() - file.stat().st_mtime < _HOUR


def _compiled(function: Callable, arguments: Sequence[np.ndarray], file: Path) -> bytes:
    """The content of a function's file. Imports numba."""
    try:
        content = _content(function, arguments)
        _loaded(content, arguments)
        return content if _can_be_called() else _LEFT_TO_NUMBA
    except ValueError:
        return _LEFT_TO_NUMBA
    except KeyboardInterrupt:
        file.unlink()
        raise


def _file(name: str, sources: Sequence[str], arguments: Sequence[np.ndarray]) -> Path:
    """The file for a function: its name depends on all that its machine code depends on."""
    import llvmlite.binding as llvm

    specs = [importlib.util.find_spec(source) for source in sources]
    origins = [Path(str(spec.origin)) for spec in specs if spec is not None]
    types = [(str(each.dtype), each.ndim, each.flags.writeable) for each in arguments]
    features = llvm.get_host_cpu_features().flatten()
    about = (version("numba"), version("llvmlite"), llvm.get_host_cpu_name(), features, types)
    state = hashlib.sha256(repr((*about, sys.platform)).encode())
    for origin in [*origins, Path(__file__)]:
        state.update(origin.read_bytes())
    return _folder(origins[0].parent) / f"{sources[0]}.{name}-{state.hexdigest()[:16]}.native"


def _folder(package: Path) -> Path:
    """Where numba keeps its code too: beside a package that is writable, else in the home."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    if os.access(package, os.W_OK):
        return package / "__pycache__"
    return user_cache()


def _content(function: Callable, arguments: Sequence[np.ndarray]) -> bytes:
    """Compile a function: the digest of what follows, the name of its symbol, the object file.

    Raises
    ------
    ValueError
        When it needs numba's runtime.
    """
    import llvmlite.binding as llvm
    from numba import njit, typeof

    dispatcher = njit(nogil=True)(function)
    signature = tuple(map(typeof, arguments))
    dispatcher.compile(signature)
    symbol = dispatcher.overloads[signature].fndesc.llvm_func_name
    unit = llvm.parse_assembly(dispatcher.inspect_llvm(signature))
    unit.link_in(llvm.parse_assembly(_NO_OWNER))
    for each in unit.functions:
        if not each.is_declaration and each.name != symbol:
            each.linkage = "internal"
    machine = _machine(llvm, opt=3)
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(unit, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    called = [each.name for each in unit.functions if each.is_declaration]
    if any(not one.startswith("llvm.") for one in called):
        raise ValueError(f"{function.__name__} calls {called}")
    head = json.dumps({"symbol": symbol}).encode() + b"\n"
    body = head + machine.emit_object(unit)
    return hashlib.sha256(body).digest() + body


@functools.cache
def _can_be_called() -> bool:
    """Whether this version of numba takes arrays as `_loaded` passes them."""
    matrix, vector = np.arange(6, dtype=np.int32).reshape(2, 3), np.full(3, 7)
    function = _loaded(_content(_mixed, (matrix, vector)), (matrix, vector))
    return function(matrix, vector) == _mixed(matrix, np.full(3, 7)) and vector.tolist() == [10] * 3


def _mixed(matrix: np.ndarray, vector: np.ndarray) -> int:
    mixed = 0
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            mixed = 31 * mixed + matrix[i, j] + vector[j]
    for j in range(vector.shape[0]):
        vector[j] += matrix.shape[1]
    return mixed


def _loaded(content: bytes, arguments: Sequence[np.ndarray]) -> Callable:
    """The function in a file's content, called with numba's calling convention.

    Raises
    ------
    ValueError
        When the content is damaged.
    """
    import llvmlite.binding as llvm

    digest, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("damaged")
    head, _, code = body.partition(b"\n")
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(llvm))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    symbol = json.loads(head)["symbol"]
    address = engine.get_function_address(symbol)
    if not address:
        raise ValueError("damaged")
    _engines.append(engine)
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    types: list[Any] = [pointer, pointer]  # the result, the error
    for each in arguments:
        types += [pointer, pointer, number, number, pointer, *(2 * each.ndim * [number])]
    call = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(address)

    expected = [(each.dtype, each.ndim) for each in arguments]

    def function(*arrays: np.ndarray) -> int:
        if [(each.dtype, each.ndim) for each in arrays] != expected or not all(
            each.flags.c_contiguous for each in arrays
        ):
            raise TypeError(f"{symbol} takes contiguous arrays of {expected}")
        result, error = number(), pointer()
        flat: list[int | None] = []
        for each in arrays:
            flat += (None, None, each.size, each.itemsize, each.ctypes.data)
            flat += (*each.shape, *each.strides)
        status = call(ctypes.addressof(result), ctypes.addressof(error), *flat)
        if status:
            raise RuntimeError(f"{symbol} ended with status {status}")
        return result.value

    return function


def _machine(llvm: Any, opt: int = 2) -> Any:
    """A target for the code of this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=opt,
        reloc="default",
        codemodel="jitdefault",
        jit=True,
    )


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
