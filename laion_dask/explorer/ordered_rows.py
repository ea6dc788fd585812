"""The first rows of a selection in some order, without sorting the others."""

from __future__ import annotations

import numpy as np

from laion_dask.explorer.columns import NumberColumn

#: Positions that are looked at at a time.
_BLOCK = 1 << 20


class OrderedByBins:
    """Selected rows by a column of numbers: only the bins that a page has rows of are sorted.

    Parameters
    ----------
    column : NumberColumn
    mask : (n,) bool array
        The selected rows.
    descending : bool
        Rows without a value come last in either direction, rows of equal values in their order.
    """

    def __init__(self, column: NumberColumn, mask: np.ndarray, descending: bool) -> None:
        self._column, self._mask, self._descending = column, mask, descending
        counts = np.bincount(column.codes[mask], minlength=column.size)
        bins = np.arange(column.n_bins)
        self._bins = np.append(bins[::-1] if descending else bins, column.n_bins)
        self._ends = np.cumsum(counts[self._bins])
        self._sorted: dict[int, np.ndarray] = {}

    def between(self, start: int, stop: int) -> np.ndarray:
        """The positions of the rows from ``start`` to ``stop``, int64."""
        if start >= stop:
            return np.empty(0, np.int64)
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right").tolist()
        found = np.concatenate([self._of_bin(at) for at in range(first, last + 1)])
        before = int(self._ends[first - 1]) if first else 0
        return found[start - before : stop - before]

    def _of_bin(self, at: int) -> np.ndarray:
        """The positions of the selected rows of a bin, in order."""
        if at not in self._sorted:
            rows = np.flatnonzero(self._mask & (self._column.codes == self._bins[at]))
            if self._bins[at] < self._column.n_bins:
                values = self._column.values[rows]
                order = np.argsort(values[::-1] if self._descending else values, kind="stable")
                order = len(rows) - 1 - order[::-1] if self._descending else order
                rows = rows[order]
            self._sorted[at] = rows
        return self._sorted[at]


class OrderedByPosition:
    """Selected rows in an order of all rows, found as far as they are asked for.

    Parameters
    ----------
    order : (n,) array of integers
        All positions, in order.
    mask : (n,) bool array
        The selected rows.
    """

    def __init__(self, order: np.ndarray, mask: np.ndarray) -> None:
        self._order, self._mask = order, mask
        self._found: list[np.ndarray] = [np.empty(0, np.int64)]
        self._n_found = self._next = 0

    def between(self, start: int, stop: int) -> np.ndarray:
        """The positions of the rows from ``start`` to ``stop``, int64."""
        while self._n_found < stop and self._next < len(self._order):
            block = self._order[self._next : self._next + _BLOCK]
            self._found.append(block[self._mask[block]].astype(np.int64))
            self._n_found += len(self._found[-1])
            self._next += len(block)
        if len(self._found) > 1:
            self._found = [np.concatenate(self._found)]
        return self._found[0][start:stop]
