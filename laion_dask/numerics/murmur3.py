"""128-bit hashes of texts, the same in every process and on every machine.

MurmurHash3 x64 128 with seed 0: the hash of which LAION's ``hash`` column is the first half. Among
5.85 billion different texts, the probability that two have the same 128 bits is 5e-20 (n² / 2¹²⁹).
It is no cryptographic hash: whoever wants to can construct texts of equal hashes.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pyarrow as pa

from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

_MODULE = "laion_dask.numerics.murmur3_kernel"
_SOURCES = [_MODULE, "laion_dask.numerics.byte_words"]
_compiled = ProcessCache()


def hashes_of(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """MurmurHash3 x64 128 of each text or byte string. Releases the GIL.

    Parameters
    ----------
    texts : string or binary array of n elements
        A null is hashed like an empty one; the caller treats it separately.

    Returns
    -------
    (n, 2) uint64 array
        The two halves, as `mmh3.hash64` returns them, unsigned.
    """
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    hashes = np.empty((len(texts), 2), np.uint64)
    start = 0
    for chunk in chunks:
        if len(chunk):
            data, offsets = _buffers(chunk)
            _functions()[0](data, offsets, hashes[start : start + len(chunk)])
            start += len(chunk)
    return hashes


def hashes_of_rows(columns: np.ndarray) -> np.ndarray:
    """The same hash of the rows of a uint64 array, (n, k), by their bytes; (n, 2) uint64."""
    columns = np.ascontiguousarray(columns, np.uint64)
    n, width = columns.shape
    hashes = np.empty((n, 2), np.uint64)
    offsets = np.arange(n + 1, dtype=np.int64) * (8 * width)
    _functions()[0](_readable(columns.view(np.uint8).reshape(-1)), _readable(offsets), hashes)
    return hashes


def best_of_groups(
    high: np.ndarray, low: np.ndarray, order: np.ndarray | None, key: np.ndarray
) -> np.ndarray:
    """Mask of the rows that are the smallest of their group by (order, key). Releases the GIL.

    Parameters
    ----------
    high, low : (n,) uint64 arrays
        Two halves of each row's hash; rows of equal hashes are a group.
    order : (n,) uint64 array or None
        None: all are equal.
    key : (n,) int64 array
        Different for every row.

    Returns
    -------
    (n,) bool array
    """
    n = len(key)
    slots = np.full(1 << max(4, (2 * n).bit_length()), -1, np.int32)
    keep = np.empty(n, np.uint8)
    order = np.empty(0, np.uint64) if order is None else order
    arrays = [_readable(np.ascontiguousarray(a)) for a in (high, low, order, key)]
    _functions()[1](*arrays, slots, keep)
    return keep.view(bool)


def _buffers(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes and int64 offsets of a chunk."""
    is_binary = pa.types.is_binary(chunk.type) or pa.types.is_large_binary(chunk.type)
    is_binary |= pa.types.is_fixed_size_binary(chunk.type)
    wide = pa.large_binary() if is_binary else pa.large_string()
    if pa.types.is_fixed_size_binary(chunk.type):
        chunk = chunk.cast(pa.binary())
    chunk = chunk if chunk.type == wide else chunk.cast(wide)
    _, offsets, data = chunk.buffers()
    offsets = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    data = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return _readable(data), _readable(offsets)


def _readable(array: np.ndarray) -> np.ndarray:
    """A read-only view; the functions are compiled for read-only arrays."""
    view = array.view()
    view.flags.writeable = False
    return view


def _functions() -> tuple[Callable, Callable]:
    return _compiled.get("functions", _compile)


def _compile() -> tuple[Callable, Callable]:
    data, offsets = _readable(np.empty(0, np.uint8)), _readable(np.zeros(1, np.int64))
    hashes, halves = np.empty((0, 2), np.uint64), _readable(np.empty(0, np.uint64))
    keys, slots = _readable(np.empty(0, np.int64)), np.full(16, -1, np.int32)
    groups = (halves, halves, halves, keys, slots, np.empty(0, np.uint8))
    return (
        native("hash_bytes", lambda: _source().hash_bytes, _SOURCES, data, offsets, hashes),
        native("keep_best", lambda: _source().keep_best, _SOURCES, *groups),
    )


def _source() -> ModuleType:
    from laion_dask.numerics import murmur3_kernel  # imports numba

    return murmur3_kernel
