"""Lists of numbers, one a row: what rows are compared by to find near duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from laion_dask.curation.duplicates import near_native
from laion_dask.curation.duplicates.near_native import readable
from laion_dask.numerics.murmur3 import hashes_of

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

    def parities(self, words: int) -> np.ndarray:
        """How often each of ``64 * words`` bits is hit by the values of a row, modulo 2.

        The bit of a value is given by its highest bits. Two lists differ in at least as many values
        as bits (Sandes, Teodoro and Melo 2020, Bitmap filter, Information Systems 88).

        Parameters
        ----------
        words : int
            A power of two.

        Returns
        -------
        (n, words) uint64 array
        """
        result = np.zeros((len(self.sizes), words), np.uint64)
        some = np.flatnonzero(self.sizes)
        starts = self.offsets[some]
        n_bits = (64 * words).bit_length() - 1
        bit = self.values >> np.uint64(64 - n_bits)
        one = np.uint64(1) << (bit & np.uint64(63))
        for word in range(words if len(some) else 0):
            here = np.where(bit >> np.uint64(6) == word, one, np.uint64(0))
            result[some, word] = np.bitwise_xor.reduceat(here, starts)
        return result

    def jaccard(self, at: np.ndarray, other: Lists, other_at: np.ndarray) -> np.ndarray:
        """The Jaccard similarity of pairs of a list and another one's, (m,) float64, exactly.

        Values in both, divided by the values in one or both (Jaccard 1912).

        Parameters
        ----------
        at, other_at : (m,) int64 arrays
            The positions of the lists of each pair.
        """
        shared = np.empty(len(at), np.int64)
        arrays = [
            readable(one)
            for lists, positions in ((self, at), (other, other_at))
            for one in (lists.offsets, lists.values, positions)
        ]
        near_native.count_shared()(*arrays, shared)
        either = self.sizes[at] + other.sizes[other_at] - shared
        return np.asarray(shared / np.maximum(either, 1))
