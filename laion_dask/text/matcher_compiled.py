"""The scan, compiled when first used; kept on disk where that can be written to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from laion_dask.runtime.numba_cache import compiled

#: As `laion_dask.text.matcher_kernel` has it: bytes after the last caption that are read.
BEYOND = 72
_compiling = threading.Lock()
_ready: dict[str, Callable] = {}


def tables_type() -> type:
    """The class of what the scan walks by."""
    from laion_dask.text.matcher_kernel import Tables

    return Tables


def fill(*arrays) -> None:
    """See `laion_dask.text.matcher_kernel.fill`."""
    _call("fill", *arrays)


def references(*arrays) -> int:
    """See `laion_dask.text.matcher_kernel.references`. Releases the GIL."""
    return _call("references", *arrays)


def scan(*arrays) -> tuple[int, int]:
    """See `laion_dask.text.matcher_kernel.scan`. Releases the GIL."""
    return _call("scan", *arrays)


def _call(name: str, *arrays):
    """The function's answer. One thread compiles it, or reads it from disk; the others wait."""
    if name not in _ready:
        with _compiling:
            if name not in _ready:
                return _first_call(name, *arrays)
    return _ready[name](*arrays)


def _first_call(name: str, *arrays):
    """Compile for the types of these arrays: the others are of the same."""
    from laion_dask.text import matcher_kernel  # imports numba

    _ready[name], answer = compiled(getattr(matcher_kernel, name), *arrays)
    return answer
