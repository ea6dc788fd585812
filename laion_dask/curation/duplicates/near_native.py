"""The compiled functions of near duplicates, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from laion_dask.runtime.native_code import native

_MODULE = "laion_dask.curation.duplicates.near_kernel"
_I8 = np.empty(0, np.int64)


def find_pairs() -> Callable:
    """See `laion_dask.curation.duplicates.near_kernel.find_pairs`."""
    words = np.empty((0, 1), np.uint64)
    return _native("find_pairs", _I8, words, _I8, np.empty(0), _I8, _I8, _I8, _I8)


def count_shared() -> Callable:
    """See `laion_dask.curation.duplicates.near_kernel.count_shared`."""
    offsets, values, at = readable(_I8), readable(np.empty(0, np.uint64)), readable(_I8)
    return _native("count_shared", offsets, values, at, offsets, values, at, _I8)


def unite() -> Callable:
    """See `laion_dask.curation.duplicates.near_kernel.unite`."""
    return _native("unite", _I8, _I8, _I8, np.empty(0, np.uint8))


def readable(array: np.ndarray) -> np.ndarray:
    """A contiguous array that is not writable, as functions take it that may get memory maps."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _native(name: str, *examples: np.ndarray) -> Callable:
    return native(name, functools.partial(_imported, name), [_MODULE], *examples)


def _imported(name: str) -> Callable:
    from laion_dask.curation.duplicates import near_kernel  # imports numba

    function: Callable = getattr(near_kernel, name)
    return function
