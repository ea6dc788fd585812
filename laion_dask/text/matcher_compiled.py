"""The matcher's compiled functions: compiled on first use and cached on disk where possible.

numba's disk cache detects changes to the file of a function, but not to the files of the functions
that it calls. The cache entry is therefore named after a digest of all source files of the kernel.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.resources import files

from laion_dask.runtime.numba_cache import compiled

#: Number of bytes after the last caption that `laion_dask.text.matcher_scan` may read.
PADDING = 72
_MODULES = {
    "fill": "matcher_fill",
    "find_references": "reference_scan",
    "scan": "matcher_scan",
}
_SOURCES = (*_MODULES.values(), "byte_masks", "word_boundaries", "word_lookup", "word_runs")
_compiling = threading.Lock()
_ready: dict[str, Callable] = {}


def fill(*arrays) -> None:
    """See `laion_dask.text.matcher_fill.fill`."""
    _call("fill", *arrays)


def find_references(*arrays) -> int:
    """See `laion_dask.text.reference_scan.find_references`. Releases the GIL."""
    return _call("find_references", *arrays)


def scan(*arrays) -> tuple[int, int]:
    """See `laion_dask.text.matcher_scan.scan`. Releases the GIL."""
    return _call("scan", *arrays)


def _call(name: str, *arrays):
    """Call a function. One thread compiles or loads it; the others wait."""
    if name not in _ready:
        with _compiling:
            if name not in _ready:
                return _first_call(name, *arrays)
    return _ready[name](*arrays)


def _first_call(name: str, *arrays):
    """Compile the function for the types of these arrays; later calls have the same types."""
    function = getattr(import_module(f"laion_dask.text.{_MODULES[name]}"), name)  # imports numba
    function.__qualname__ = f"{name}_{_digest()}"
    _ready[name], answer = compiled(function, *arrays)
    return answer


@cache
def _digest() -> str:
    """Eight hexadecimal digits that change with the kernel's sources."""
    folder = files("laion_dask.text")
    sources = (folder.joinpath(f"{name}.py").read_bytes() for name in _SOURCES)
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:8]
