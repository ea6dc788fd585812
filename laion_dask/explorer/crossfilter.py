"""The counts that all views show, from one integer per row with one bit per filter.

A bit is set where a row fails its filter, so a row is selected if no bit is set. A view of a column
counts the rows that fail no filter but the column's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from laion_dask.explorer.columns import CategoryColumn, NumberColumn
from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

_MODULE = "laion_dask.explorer.crossfilter_kernel"
#: Possible widths of these integers, in bits.
_WIDTHS = (np.uint8, np.uint16, np.uint32, np.uint64)
#: Maximum number of filters at a time.
MAX_FILTERS = 64
_compiled = ProcessCache()


def empty_bits(n: int, n_filters: int = 8) -> np.ndarray:
    """The integers of n rows that pass every filter, wide enough for some filters."""
    width = next(one for one in _WIDTHS if np.iinfo(one).bits >= n_filters)
    return np.zeros(n, width)


def set_bit(bits: np.ndarray, bit: int, passes: np.ndarray) -> None:
    """Set a bit where rows do not pass, and clear it where they do, in place."""
    mask = np.array([1 << bit], bits.dtype)
    kernel = _kernel("set_bit", bits.dtype, _one(bits), _one(bits), np.empty(0, np.uint8))
    kernel(bits, mask, np.ascontiguousarray(passes).view(np.uint8))


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
    """The number of rows of each code of several columns, the rows without a value last. Eager.

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
    return [_counts(bits, column, bit) for column, bit in zip(columns, own, strict=True)]


def _counts(bits: np.ndarray, column: NumberColumn | CategoryColumn, own: int | None) -> np.ndarray:
    ignored = bits.dtype.type(0 if own is None else 1 << own)
    keep = np.array([~ignored], bits.dtype)
    numbers = np.empty(0, np.int64)
    if isinstance(column, NumberColumn):
        several, sums = np.zeros((4, 256), np.int64), np.zeros(column.size, np.int64)
        examples = (_one(bits), np.empty(0, np.uint8), np.empty((0, 256), np.int64), numbers)
        kernel = _kernel("count_bins", bits.dtype, _one(bits), *examples)
        kernel(bits, keep, column.codes, several, sums)
        return sums
    sums = np.zeros(column.size + 1, np.int64)
    kernel = _kernel(
        "count_codes", bits.dtype, _one(bits), _one(bits), np.empty(0, np.int32), numbers
    )
    kernel(bits, keep, column.codes, sums)
    return sums[:-1]


def count_selected(bits: np.ndarray) -> int:
    """The number of selected rows."""
    return int(len(bits) - np.count_nonzero(bits))


def _one(bits: np.ndarray) -> np.ndarray:
    """An example of bits: of one row, since kernels read the mask."""
    return np.zeros(1, bits.dtype)


def _kernel(name: str, dtype: np.dtype, *examples: np.ndarray) -> Callable[..., int]:
    """A compiled function for one width of bits."""

    def compile_() -> Callable[..., int]:
        return native(name, lambda: getattr(_source(), name), [_MODULE], *examples)

    kernel: Callable[..., int] = _compiled.get((name, dtype.name), compile_)
    return kernel


def _source() -> ModuleType:
    from laion_dask.explorer import crossfilter_kernel  # imports numba

    return crossfilter_kernel
