"""Maps of local files of embeddings, of which those used last are kept for the next task."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from numpy.lib import format as npy_format

from laion_dask.numerics.dot_products import are_near_one, scales


class MappableFile(Protocol):
    """A local file of vectors that lie in it as they are; hashable."""

    path: str
    field: str | None
    offset: int
    n_rows: int
    dim: int
    dtype: np.dtype


class Kept:
    """A mapped file, and what is known of its rows.

    Attributes
    ----------
    rows : (n_rows, dim) array
    """

    def __init__(self, rows: np.ndarray, *, known: bool = True) -> None:
        self.rows = rows
        # Each -1 as long as it is not known; None where nothing is held, or need be any more.
        self._scales = np.full(len(rows), -1.0) if known else None
        self._unknown, self._near = len(rows), known

    def scales(self, at: np.ndarray | slice, x: np.ndarray) -> np.ndarray | None:
        """What brings the rows ``x``, which are those ``at``, to length one; see `products.scales`.

        Held from the first time on. None where every row of the file is as long as one, nearly.
        """
        held = self._scales
        if held is None:
            return None if self._near else scales(x)
        unknown = np.count_nonzero(held[at] < 0)
        if unknown:
            held[at] = scales(x)
            self._near = self._near and are_near_one(held[at])
            self._unknown -= unknown  # too many where two threads come at once; so all are checked
            if self._near and self._unknown <= 0 and are_near_one(held):
                self._scales = None
        return held[at]


class Mappings:
    """Maps of local files, of which those used last are kept.

    A page of a new map costs a fault when it is first touched, which takes several times as long
    as to read it; what is kept is bounded because mapped pages count as a process's memory.
    """

    def __init__(self, most: int) -> None:
        self._most, self._guard = most, threading.Lock()
        self._maps: dict[tuple[MappableFile, str], Kept] = {}

    def get(self, file: MappableFile, state: str) -> Kept:
        """The whole file."""
        with self._guard:
            kept = self._maps.pop((file, state), None)
            if kept is None:
                rows = np.asarray(_mapped(file))  # a memmap is slow to take parts of
                kept = Kept(rows, known=rows.nbytes <= self._most)
            self._maps[file, state] = kept
            size = sum(each.rows.nbytes for each in self._maps.values())
            while size > self._most:
                size -= self._maps.pop(next(iter(self._maps))).rows.nbytes
            return kept


#: At most 2 GiB.
kept = Mappings(1 << 31)


def _mapped(file: MappableFile) -> np.ndarray:
    if file.field is None:  # an .npy, whose header can be compared
        array = npy_format.open_memmap(file.path, mode="r")
        if array.shape != (file.n_rows, file.dim) or array.dtype != file.dtype:
            raise ValueError(f"it is {array.dtype} of shape {array.shape} now")
        return array
    return np.memmap(file.path, file.dtype, "r", file.offset, (file.n_rows, file.dim))
