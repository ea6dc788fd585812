"""Memory maps of local embedding files; the most recently used are cached."""

from __future__ import annotations

import threading

import numpy as np
from numpy.lib import format as npy_format

from laion_dask.io.embeddings.vector_file import VectorFile
from laion_dask.numerics.dot_products import are_near_one, scales


class MappedFile:
    """A memory-mapped file, and the known scales of its rows.

    Attributes
    ----------
    rows : (n_rows, dim) array
    """

    def __init__(self, rows: np.ndarray, *, keep_scales: bool = True) -> None:
        self.rows = rows
        # -1 where a scale is not known yet; None if scales are not kept, or no longer needed.
        self._scales = np.full(len(rows), -1.0) if keep_scales else None
        self._unknown, self._near = len(rows), keep_scales

    def scales(self, at: np.ndarray | slice, x: np.ndarray) -> np.ndarray | None:
        """The scales of the rows ``x`` at positions ``at``; see `dot_products.scales`.

        They are cached once computed. None if the length of every row of the file is nearly one.
        """
        cached = self._scales
        if cached is None:
            return None if self._near else scales(x)
        unknown = int(np.count_nonzero(cached[at] < 0))
        if unknown:
            cached[at] = scales(x)
            self._near = self._near and are_near_one(cached[at])
            self._unknown -= unknown  # two threads may count rows twice, so all are checked below
            if self._near and self._unknown <= 0 and are_near_one(cached):
                self._scales = None
        return cached[at]


class MmapCache:
    """Memory maps of local files; the most recently used are kept.

    Each page of a new map costs a page fault when it is first touched, several times as slow as
    reading it. The cache is limited because mapped pages count as memory of the process.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._guard = max_bytes, threading.Lock()
        self._maps: dict[tuple[VectorFile, str], MappedFile] = {}

    def get(self, file: VectorFile, state: str) -> MappedFile:
        """The whole local file, whose vectors are not compressed."""
        with self._guard:
            mapped = self._maps.pop((file, state), None)
            if mapped is None:
                rows = np.asarray(_mapped(file))  # slicing a memmap is slow
                mapped = MappedFile(rows, keep_scales=rows.nbytes <= self._max_bytes)
            self._maps[file, state] = mapped
            size = sum(each.rows.nbytes for each in self._maps.values())
            while size > self._max_bytes:
                size -= self._maps.pop(next(iter(self._maps))).rows.nbytes
            return mapped


#: The cache of this process: at most 2 GiB.
mapped_files = MmapCache(1 << 31)


def _mapped(file: VectorFile) -> np.ndarray:
    if file.field is None:  # an .npy, whose header can be validated
        array = npy_format.open_memmap(file.path, mode="r")
        if array.shape != (file.n_rows, file.dim) or array.dtype != file.dtype:
            raise ValueError(f"it is {array.dtype} of shape {array.shape} now")
        return array
    assert file.offset is not None  # packed files are not mapped
    return np.memmap(file.path, file.dtype, "r", file.offset, (file.n_rows, file.dim))
