"""Counts of all views in one pass: an integer a row, a bit a filter.

A bit is set where a row fails its filter, so a row is selected if no bit is set. A view of a column
counts the rows that fail no filter but the column's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from laion_dask.explorer.columns import CategoryColumn, NumberColumn
from laion_dask.runtime.numba_cache import compiled

#: Rows of a block: their bits stay in the processor's cache while every view is counted.
_BLOCK = 1 << 16
#: Integers of this many bits, by the number of filters.
_WIDTHS = (np.uint8, np.uint16, np.uint32, np.uint64)
#: The largest number of filters at a time.
MAX_FILTERS = 64


def empty_bits(n: int, n_filters: int = 8) -> np.ndarray:
    """The integers of n rows that pass every filter, wide enough for some filters."""
    width = next(one for one in _WIDTHS if np.iinfo(one).bits >= n_filters)
    return np.zeros(n, width)


def set_bit(bits: np.ndarray, bit: int, passes: np.ndarray) -> None:
    """Set a bit where rows do not pass, and clear it where they do, in place."""
    _kernels(bits.dtype.name).set_bit(bits, bits.dtype.type(1 << bit), passes)


def clear_bit(bits: np.ndarray, bit: int) -> None:
    """Clear a bit of all rows, in place."""
    bits &= ~bits.dtype.type(1 << bit)


def selected(bits: np.ndarray, own: int | None = None) -> np.ndarray:
    """Mask of the rows that fail no filter, or none but that of the bit ``own``; (n,) bool."""
    if own is None:
        return bits == 0
    found: np.ndarray = (bits & ~bits.dtype.type(1 << own)) == 0
    return found


def counts(
    bits: np.ndarray, columns: Sequence[NumberColumn | CategoryColumn], own: Sequence[int | None]
) -> list[np.ndarray]:
    """The number of rows of each code of several columns, the rows without a value last.

    Parameters
    ----------
    bits : (n,) array of unsigned integers
    columns : sequence of NumberColumn or CategoryColumn
    own : sequence of int or None
        The bit that a column's counts ignore; None: no filter is its own.

    Returns
    -------
    list of (column.size,) int64 arrays
    """
    kernels = _kernels(bits.dtype.name)
    found = [np.zeros(column.size, np.int64) for column in columns]
    ignored = [bits.dtype.type(0 if bit is None else 1 << bit) for bit in own]
    views = [
        (kernels.count_bins if isinstance(column, NumberColumn) else kernels.count_codes,
         column.codes, bit, sums)
        for column, bit, sums in zip(columns, ignored, found, strict=True)
    ]  # fmt: skip
    for start in range(0, len(bits), _BLOCK):
        block = bits[start : start + _BLOCK]
        for count, codes, bit, sums in views:
            count(block, bit, codes[start : start + _BLOCK], sums)
    return found


def count_selected(bits: np.ndarray) -> int:
    """The number of selected rows."""
    return int(len(bits) - np.count_nonzero(bits))


class _Kernels:
    """The compiled functions for one width of bits; those of a read-only and a writable array of
    codes are compiled separately."""

    def __init__(self, width: Any) -> None:
        bits, one = np.zeros(1, width), width(1)
        sums = np.zeros(2, np.int64)
        self.set_bit: Callable[..., None] = compiled(_set_bit, bits, one, np.zeros(1, bool))[0]
        bins, codes = np.zeros(1, np.uint8), np.zeros(1, np.int32)
        for array in (bins, codes):
            array.flags.writeable = False
        self.count_bins: Callable[..., None] = compiled(_count_bins, bits, one, bins, sums)[0]
        self.count_codes: Callable[..., None] = compiled(_count_codes, bits, one, codes, sums)[0]


@cache
def _kernels(width: str) -> _Kernels:
    return _Kernels(getattr(np, width))


def _set_bit(bits, bit, passes):
    clear = ~bit
    for i in range(len(bits)):
        bits[i] = bits[i] & clear if passes[i] else bits[i] | bit


def _count_bins(bits, own, codes, sums):
    # Four sets of counters: rows that follow each other are often in the same bin, and adding to
    # what has just been written waits for the write.
    several = np.zeros((4, 256), np.int64)
    keep = ~own
    for i in range(len(bits)):
        if bits[i] & keep == 0:
            several[i & 3, codes[i]] += 1
    for code in range(len(sums)):
        sums[code] += several[0, code] + several[1, code] + several[2, code] + several[3, code]


def _count_codes(bits, own, codes, sums):
    last = len(sums) - 1
    keep = ~own
    for i in range(len(bits)):
        if bits[i] & keep == 0:
            code = codes[i]
            sums[code if code >= 0 else last] += 1
