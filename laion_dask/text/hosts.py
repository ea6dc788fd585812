"""The distinct authorities of URLs: the text between ``//`` and the next slash."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from laion_dask.runtime.numba_cache import compiled

#: The codes of `laion_dask.text.host_scan`.
NULL, OTHER = -1, -2
_compiling = threading.Lock()
_ready: list[Callable] = []


def authorities(urls: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Distinct authorities of web URLs, and each row's position among them. Releases the GIL.

    Returns
    -------
    names : large_string array
        As written, in order of first occurrence.
    codes : (n,) int32 array
        Positions in ``names``; `NULL`, or `OTHER` for a URL that does not start with ``http://`` or
        ``https://``.
    """
    chunks = [_buffers(chunk) for chunk in urls.chunks if len(chunk)]
    n = sum(len(offsets) - 1 for _, offsets, _ in chunks)
    codes, ends = np.empty(n, np.int32), np.zeros(n + 1, np.int64)
    slots, names = np.zeros(1 << 12, np.uint64), np.empty(0, np.uint8)
    start, n_names = 0, 0
    for data, offsets, nulls in chunks:
        # Allocates space for all bytes; the operating system only backs the pages that are written.
        room = np.empty(int(ends[n_names] + offsets[-1] - offsets[0]), np.uint8)
        room[: ends[n_names]] = names[: ends[n_names]]
        names, chunk_codes = room, codes[start : start + len(offsets) - 1]
        n_names, slots = _scan()(data, offsets, nulls, chunk_codes, slots, names, ends, n_names)
        start += len(chunk_codes)
    buffers = [
        None,
        pa.py_buffer(ends[: n_names + 1].copy()),
        pa.py_buffer(names[: ends[n_names]].copy()),
    ]
    return pa.Array.from_buffers(pa.large_string(), n_names, buffers), codes


def _buffers(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes, offsets and null mask of a chunk."""
    if not pa.types.is_large_string(chunk.type):
        chunk = chunk.cast(pa.large_string())
    _, offsets, data = chunk.buffers()
    offsets = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    data = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    nulls = np.empty(0, np.bool_)
    if chunk.null_count:
        nulls = chunk.is_null().to_numpy(zero_copy_only=False)
    return _readable(data), _readable(offsets), np.require(nulls, requirements="W")


def _readable(array: np.ndarray) -> np.ndarray:
    """A read-only view; the scan is compiled for read-only arrays."""
    array = array.view()
    array.flags.writeable = False
    return array


def _scan() -> Callable:
    """The compiled scan. One thread compiles or loads it; the others wait."""
    if not _ready:
        with _compiling:
            if not _ready:
                _ready.append(_compiled())
    return _ready[0]


def _compiled() -> Callable:
    """Compile the scan by calling it on zero rows."""
    from laion_dask.text.host_scan import scan  # imports numba

    nothing = np.empty(0, np.uint8)
    no_rows = (
        *(_readable(nothing), _readable(np.zeros(1, np.int64)), np.empty(0, np.bool_)),
        *(np.empty(0, np.int32), np.zeros(1 << 12, np.uint64), nothing, np.zeros(1, np.int64), 0),
    )
    return compiled(scan, *no_rows)[0]
