"""Lists of numbers, one a row: what rows are compared by to find near duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from laion_dask.numerics.murmur3 import hashes_of
from laion_dask.runtime.native_code import native

_MODULE = "laion_dask.curation.duplicates.near_kernel"
TYPE = pa.large_list(pa.uint64())


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of different numbers in ascending order, one a row.

    Attributes
    ----------
    offsets : (n + 1,) int64 array
    values : (m,) uint64 array
        Those of row k stand at ``offsets[k]`` to ``offsets[k + 1]``.
    """

    offsets: np.ndarray
    values: np.ndarray

    @classmethod
    def sets(cls, values: np.ndarray, rows: np.ndarray, n: int) -> Lists:
        """The different values of each row; ``rows`` has the row of each value, out of n."""
        order = np.lexsort((values, rows))
        values, rows = values[order], rows[order]
        new = np.ones(len(values), bool)
        new[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1])
        offsets = np.zeros(n + 1, np.int64)
        np.cumsum(np.bincount(rows[new], minlength=n), out=offsets[1:])
        return cls(offsets, values[new])

    @classmethod
    def of_arrow(cls, column: pa.ChunkedArray | pa.Array) -> Lists:
        """The lists of an Arrow column without nulls."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        values = column.flatten().to_numpy()
        offsets = column.offsets.to_numpy()
        return cls(offsets - offsets[0], np.ascontiguousarray(values))

    def to_arrow(self) -> pa.Array:
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.values))

    @property
    def sizes(self) -> np.ndarray:
        """The number of values of each row, (n,) int64."""
        return np.diff(self.offsets)

    def hashes(self) -> np.ndarray:
        """A hash of each row's list, (n, 2) uint64: 128 bits."""
        offsets = pa.py_buffer(np.ascontiguousarray(self.offsets * 8))
        data = pa.py_buffer(np.ascontiguousarray(self.values))
        buffers = [None, offsets, data]
        return hashes_of(pa.Array.from_buffers(pa.large_binary(), len(self.sizes), buffers))

    def jaccard(self, other: Lists) -> np.ndarray:
        """The Jaccard similarity of each list with the other of its row, (n,) float64, exactly.

        Values in both, divided by the values in one or both (Jaccard 1912).
        """
        shared = np.empty(len(self.sizes), np.int64)
        arrays = [
            _readable(one) for lists in (self, other) for one in (lists.offsets, lists.values)
        ]
        empty = [one[:0] for one in arrays]
        count = native("count_shared", _count_shared, [_MODULE], *empty, shared[:0])
        count(*arrays, shared)
        either = self.sizes + other.sizes - shared
        return shared / np.maximum(either, 1)


def _readable(array: np.ndarray) -> np.ndarray:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _count_shared():
    from laion_dask.curation.duplicates import near_kernel  # imports numba

    return near_kernel.count_shared
