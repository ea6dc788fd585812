"""Memory maps of local embedding files; the most recently used are cached."""

from __future__ import annotations

import errno
import gc
import io
import sys
import threading
from functools import lru_cache

import numpy as np
from numpy.lib import format as npy_format

from laion_dask.io.embeddings.vector_file import VectorFile
from laion_dask.numerics.dot_products import are_near_one, scales

#: Bytes of vectors that are read into memory instead of being mapped.
_SMALL = 1 << 18
_MAX_MAPS = 128


class MappedFile:
    """A memory-mapped file, or a small one in memory, and the known scales of its rows.

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
    reading it. The cache is limited because mapped pages count as memory of the process, and a map
    as an open file, of which many systems allow 256 or 1,024. Small files are read as a whole
    instead.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._guard = max_bytes, threading.Lock()
        self._maps: dict[tuple[VectorFile, str], MappedFile] = {}

    def get(self, file: VectorFile, state: str) -> MappedFile:
        """The whole local file, whose vectors are not compressed."""
        if file.n_rows * file.dim * np.dtype(file.dtype).itemsize <= _SMALL:
            return MappedFile(_read(file), keep_scales=False)
        with self._guard:
            mapped = self._maps.pop((file, state), None)
            if mapped is None:
                rows = np.asarray(self._map(file))  # slicing a memmap is slow
                mapped = MappedFile(rows, keep_scales=rows.nbytes <= self._max_bytes)
            self._maps[file, state] = mapped
            size = sum(each.rows.nbytes for each in self._maps.values())
            while size > self._max_bytes or len(self._maps) > _max_maps():
                size -= self._maps.pop(next(iter(self._maps))).rows.nbytes
            return mapped

    def clear(self) -> None:
        """Close the maps that nothing else uses, after a pass that is not repeated soon."""
        with self._guard:
            self._maps.clear()

    def _map(self, file: VectorFile) -> np.ndarray:
        """Map a file; if too many are open, close the maps that are cached and try again."""
        try:
            return _mapped(file)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            self._maps.clear()
            gc.collect()
            return _mapped(file)


def _max_maps() -> int:
    """The number of maps that are kept: at most a quarter of the files that may be open."""
    if sys.platform == "win32":
        return _MAX_MAPS
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MAX_MAPS if limit == resource.RLIM_INFINITY else max(1, min(_MAX_MAPS, limit // 4))


#: The cache of this process: at most 2 GiB.
mapped_files = MmapCache(1 << 31)


def _read(file: VectorFile) -> np.ndarray:
    """The rows of a small file, read into memory."""
    assert file.offset is not None  # packed files are not mapped
    with open(file.path, "rb") as source:
        content = source.read()
    if file.field is None:
        _check_header(file, *_npy_header(content[: file.offset]))
    rows = np.frombuffer(content, file.dtype, file.n_rows * file.dim, file.offset)
    return np.require(rows, requirements="A").reshape(file.n_rows, file.dim)


@lru_cache(maxsize=256)
def _npy_header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape, the order and the dtype in the header of an .npy; many files have equal ones."""
    source = io.BytesIO(content)
    version = npy_format.read_magic(source)
    if version == (1, 0):
        return npy_format.read_array_header_1_0(source)
    return npy_format.read_array_header_2_0(source)


def _check_header(file: VectorFile, shape: tuple, is_fortran: bool, dtype: np.dtype) -> None:
    if shape != (file.n_rows, file.dim) or dtype != file.dtype or is_fortran:
        raise ValueError(f"it is {dtype} of shape {shape} now")


def _mapped(file: VectorFile) -> np.ndarray:
    if file.field is None:  # an .npy, whose header can be validated
        array = npy_format.open_memmap(file.path, mode="r")
        _check_header(file, array.shape, False, array.dtype)
        return array
    assert file.offset is not None  # packed files are not mapped
    return np.memmap(file.path, file.dtype, "r", file.offset, (file.n_rows, file.dim))
