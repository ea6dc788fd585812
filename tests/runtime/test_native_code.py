"""Machine code that is kept on disk and loaded without numba."""

import os
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from laion_dask.runtime import native_code
from laion_dask.runtime.native_code import native

KERNELS = """
import numpy as np
def total(values, weights):
    sum_ = 0
    for i in range(len(values)):
        sum_ += values[i] * weights[i]
    return sum_
def scratch(values, weights):
    copied = np.zeros(len(values), np.int64)
    for i in range(len(values)):
        copied[i] = values[i]
    return copied.sum() + len(weights)
"""
LOADED_ALONE = """
import sys
import numpy as np
from laion_dask.runtime.native_code import native
of = native("total", None, ["some_kernels"], np.empty(0, np.int32), np.empty(0, np.int64))
assert of(np.arange(5, dtype=np.int32), np.full(5, 3)) == 30
assert "numba" not in sys.modules and "some_kernels" not in sys.modules
"""
NO_ROWS = np.empty(0, np.int32), np.empty(0, np.int64)
ROWS = np.arange(5, dtype=np.int32), np.full(5, 3)


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    (tmp_path / "some_kernels.py").write_text(KERNELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "some_kernels", raising=False)
    yield tmp_path
    sys.modules.pop("some_kernels", None)


def load(name: str):
    def imported():
        return getattr(import_module("some_kernels"), name)

    return native(name, imported, ["some_kernels"], *NO_ROWS)


def stored(folder) -> list:
    files = (folder / "cache").rglob("*.native")
    return [path for path in files if len(path.read_bytes()) > 99]


def test_a_process_loads_it_without_numba(kernels, monkeypatch):
    assert load("total")(*ROWS) == 30
    monkeypatch.setenv("PYTHONPATH", str(kernels), prepend=":")
    subprocess.run([sys.executable, "-c", LOADED_ALONE], check=True)


def test_a_change_of_the_source_is_compiled(kernels, monkeypatch):
    assert load("total")(*ROWS) == 30
    (kernels / "some_kernels.py").write_text(KERNELS.replace("sum_ = 0", "sum_ = 0 + 1"))
    monkeypatch.delitem(sys.modules, "some_kernels", raising=False)
    assert load("total")(*ROWS) == 31
    assert len(stored(kernels)) == 2


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_is_written_again(kernels, damage):
    load("total")
    (path,) = stored(kernels)
    good = path.read_bytes()
    path.write_bytes(good[:-9] + b"\0" * 9 if damage is None else damage)
    assert load("total")(*ROWS) == 30
    assert native_code._loaded(path.read_bytes(), NO_ROWS)(*ROWS) == 30


def test_code_that_needs_the_runtime_of_numba_is_left_to_it(kernels):
    assert load("scratch")(*ROWS) == load("scratch")(*ROWS) == 15
    assert not stored(kernels)


def test_a_folder_that_cannot_be_written_is_left_to_numba(kernels, monkeypatch):
    def refused(*args):
        raise PermissionError

    monkeypatch.setattr(native_code, "_write", refused)
    assert load("total")(*ROWS) == 30
    assert not stored(kernels)


def test_an_interrupted_compilation_is_repeated(kernels, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(native_code, "_content", interrupt)
        load("total")
    assert load("total")(*ROWS) == 30
    assert len(stored(kernels)) == 1


def test_another_convention_of_calls_is_left_to_numba(kernels, monkeypatch):
    monkeypatch.setattr(native_code, "_can_be_called", lambda: False)
    assert load("total")(*ROWS) == 30
    assert not stored(kernels)


def test_arrays_of_another_type_or_layout_are_refused(kernels):
    function = load("total")
    for wrong in (np.arange(5.0), np.arange(10, dtype=np.int32)[::2], np.zeros((5, 1), np.int32)):
        with pytest.raises(TypeError, match="contiguous arrays"):
            function(wrong, np.full(5, 3))


def test_a_process_that_died_while_compiling_is_forgotten(kernels):
    load("total")
    (path,) = stored(kernels)
    path.write_bytes(native_code._BEING_COMPILED)
    assert load("total")(*ROWS) == 30 and not stored(kernels)  # another may be compiling
    os.utime(path, (0, 0))
    assert load("total")(*ROWS) == 30 and stored(kernels) == [path]


def test_a_package_that_cannot_be_written_uses_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native_code.os, "access", lambda path, mode: False)
    assert native_code._folder(tmp_path / "package") == tmp_path / "laion_dask"
