"""The distribution of a column as a mergeable sketch, exact while small."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, exp, frexp, log

import numpy as np
import numpy.typing as npt

from laion_dask.display.overview import Displayed, Overview

#: Relative error of quantiles from the bins of a `Quantiles` sketch.
ACCURACY = 0.0005
#: Maximum number of distinct values kept exactly.
EXACT = 10_000
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
#: Bin 0 is zero; the bins of positive values start above it.
_SHIFT = ceil(-log(1e-9) / log(_GAMMA)) + 2
_LOG_MAX = log(np.finfo(np.float64).max)
#: Integers within a range up to this size are counted without sorting.
_SPAN = 1 << 20
#: Numbers computed at a time, so that intermediate arrays stay in the processor's cache.
_BLOCK = 1 << 14


def _empty_array(dtype: npt.DTypeLike = np.int64) -> np.ndarray:
    return np.empty(0, dtype)


@dataclass(frozen=True, eq=False)
class Quantiles(Displayed):
    """A mergeable sketch of a distribution, with exact counts and an exact mean.

    Up to ``capacity`` distinct values are kept, and quantiles are exact. With more, values are
    binned with a bin width proportional to the value, so the relative error of a quantile is at
    most `ACCURACY` (values under 1e-9 count as 0), and integers below 1,000 are exact after
    rounding. Sums are kept as exact fractions. The result depends only on the values, not on the
    partitioning.

    Attributes
    ----------
    keys : (m,) float64 or int64 array
        Ascending: the distinct values, or bin numbers.
    counts : (m,) int64 array
    total : Fraction
        Sum of the values.
    capacity : int

    References
    ----------
    Masson, C., Rim, J. E., Lee, H. K. (2019). DDSketch: a fast and fully-mergeable quantile sketch
    with relative-error guarantees. PVLDB 12(12).
    """

    keys: np.ndarray = field(default_factory=lambda: _empty_array(np.float64))
    counts: np.ndarray = field(default_factory=_empty_array)
    total: Fraction = Fraction(0)
    capacity: int = EXACT

    def _overview(self) -> Overview:
        return Overview("Quantiles", {"values": f"{self.n:,}", "mean": f"{self.mean:.6g}"})

    @property
    def n(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean of the values, rounded once; NaN without values."""
        return float(self.total / self.n) if len(self.counts) else float("nan")

    @property
    def is_exact(self) -> bool:
        """Whether quantiles are observed values rather than midpoints of bins."""
        return self.keys.dtype == np.float64

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantiles) and (
            self.is_exact == other.is_exact
            and np.array_equal(self.keys, other.keys)
            and np.array_equal(self.counts, other.counts)
            and self.total == other.total
        )

    @classmethod
    def of(cls, values: np.ndarray, capacity: int = EXACT) -> Quantiles:
        """Sketch of the finite values of an array."""
        values = np.asarray(values)
        counted = _counted_narrow(values) if values.dtype.kind in "iu" else None
        if counted is None:
            values = np.asarray(values, dtype=np.float64)
            is_finite = np.isfinite(values)
            if not is_finite.all():
                values = values[is_finite]
            counted = _counted_integers(values)
        if counted is not None:
            keys, counts = counted
            return cls(keys, counts, _exact_sum(keys, counts), capacity)._fitting()
        total = _exact_sum(values)
        if len(np.unique(values[: 2 * capacity] + 0.0)) > capacity:  # certainly too many
            return cls(*_counted_bins(values), total, capacity)
        # Adding 0.0 turns -0.0 into 0.0.
        return cls(*np.unique(values + 0.0, return_counts=True), total, capacity)._fitting()

    def merge(self, other: Quantiles) -> Quantiles:
        """Sketch of both sets of values."""
        total = self.total + other.total
        one, two = self, other
        if one.is_exact != two.is_exact:
            one, two = one._binned(), two._binned()
        keys, position = np.unique(np.concatenate([one.keys, two.keys]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, position, np.concatenate([one.counts, two.counts]))
        return Quantiles(keys, counts, total, self.capacity)._fitting()

    def at(self, shares: Iterable[float]) -> list[float]:
        """Quantiles at the given shares; NaN if there are no values.

        The quantile at q is the smallest value such that at least a share q of the values are at
        most that value.
        """
        if not len(self.keys):
            return [float("nan") for _ in shares]
        reached = np.cumsum(self.counts)
        # The share is taken as written: 0.15 of 100 is 15, for floats and for 5,850,000,000 too.
        ranks = [max(1, ceil(Fraction(repr(float(q))) * int(reached[-1]))) for q in shares]
        keys = [self.keys[int(np.searchsorted(reached, r))].item() for r in ranks]
        return keys if self.is_exact else [_value(key) for key in keys]

    def _fitting(self) -> Quantiles:
        return self._binned() if self.is_exact and len(self.keys) > self.capacity else self

    def _binned(self) -> Quantiles:
        if not self.is_exact:
            return self
        bins = _bins(self.keys)  # in the same order as the values
        keys, starts = np.unique(bins, return_index=True)
        counts = np.add.reduceat(self.counts, starts) if len(starts) else self.counts
        return Quantiles(keys, counts, self.total, self.capacity)


def _bins(values: np.ndarray) -> np.ndarray:
    """Bin number of each value, int64; increases with the value."""
    bins = np.empty(len(values), np.int64)
    for at in range(0, len(values), _BLOCK):
        bins[at : at + _BLOCK] = _bins_of_block(values[at : at + _BLOCK])
    return bins


def _counted_bins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct bins of at least one value, and their counts."""
    low, high = _bins(np.array([values.min(), values.max()])).tolist()
    if high - low >= _BLOCK:
        return _counted(_bins(values))
    counts = np.zeros(high - low + 1, np.int64)
    for at in range(0, len(values), _BLOCK):
        bins = _bins(values[at : at + _BLOCK])
        bins -= low
        counts += np.bincount(bins, minlength=len(counts))
    keys = np.flatnonzero(counts)
    return keys + low, counts[keys]


def _bins_of_block(values: np.ndarray) -> np.ndarray:
    """Bin number of each value, as a float."""
    size = np.abs(values)
    index: np.ndarray = np.maximum(size, 1e-9)
    np.log(index, out=index)
    index /= log(_GAMMA)
    np.ceil(index, out=index)
    index += _SHIFT
    if values.min() < 1e-9:
        index[size < 1e-9] = 0
        index *= np.sign(values)
    return index


def _value(key: int) -> float:
    if key == 0:
        return 0.0
    size = exp(min((abs(key) - _SHIFT) * log(_GAMMA) + log(2 / (_GAMMA + 1)), _LOG_MAX))
    return size if key > 0 else -size


def _counted_integers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The distinct values and their counts; None unless they are integers in a small range."""
    if len(values) == 0:
        return values, _empty_array()
    first_values = values[:1000]
    if (first_values != np.floor(first_values)).any():
        return None
    low = values.min()
    if float(values.max()) - float(low) >= _SPAN:
        return None
    index = (values - low).astype(np.int64)
    if not np.array_equal(index + low, values):
        return None
    keys, counts = _counted(index)
    return keys + low, counts


def _counted_narrow(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The distinct values of an integer array and their counts; None if the range is not small."""
    if len(values) == 0 or values.dtype.itemsize < 4:
        return None
    low, high = int(values.min()), int(values.max())
    if high - low >= _SPAN or max(abs(low), abs(high)) > 2**53:
        return None
    keys, counts = _counted(values)
    return keys.astype(np.float64), counts


def _counted(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct integers and their counts; the range is small, so no sorting is needed."""
    if len(index) == 0:
        return index, index
    low = index.min()
    counts = np.bincount(index - low)
    keys = np.flatnonzero(counts)
    return keys + low, counts[keys]


def _exact_sum(values: np.ndarray, counts: np.ndarray | None = None) -> Fraction:
    """Sum of finite float64 without rounding; each value is taken as often as ``counts`` says.

    The highest bits of all values are summed as integers, then the next, up to three times. If some
    value has lower bits than that, all are summed by exponent, which is slower.
    """
    if len(values) == 0:
        return Fraction(0)
    n = len(values) if counts is None else int(counts.sum())
    bits = 62 - n.bit_length()  # n integers of so many bits have a sum below 2**63
    shift = bits - frexp(max(float(values.max()), -float(values.min())))[1]
    if 0 <= shift < 900:
        total = 0
        for at in range(0, len(values), _BLOCK):
            block = slice(at, at + _BLOCK)
            scaled = _scaled_sum(
                values[block], counts if counts is None else counts[block], shift, bits
            )
            if scaled is None:
                break
            total += scaled
        else:
            return Fraction(total, 1 << (shift + 2 * bits))
    return _sum_by_exponent(values if counts is None else np.repeat(values, counts))


def _scaled_sum(values: np.ndarray, counts: np.ndarray | None, shift: int, bits: int) -> int | None:
    """Sum of values times ``2 ** (shift + 2 * bits)``; None if some value has lower bits."""
    remaining, total = values * 2.0**shift, 0
    for depth in range(3):
        whole = remaining.astype(np.int64)
        total = (total << bits) + int((whole if counts is None else whole * counts).sum())
        remaining -= whole
        if not remaining.any():
            return total << (bits * (2 - depth))
        remaining *= 2.0**bits
    return None


def _sum_by_exponent(values: np.ndarray) -> Fraction:
    """Sum of finite float64: mantissas are summed by exponent.

    Mantissas are split into two halves of at most 27 bits, so up to 2**26 of them sum exactly.
    """
    digits, exponents = np.frexp(values)
    mantissas = np.ldexp(digits, 53).astype(np.int64)
    low = int(exponents.min())
    high_sums = np.bincount(exponents - low, (mantissas >> 27).astype(np.float64)).tolist()
    low_sums = np.bincount(exponents - low, (mantissas & (2**27 - 1)).astype(np.float64)).tolist()
    total = 0
    for i, (high_sum, low_sum) in enumerate(zip(high_sums, low_sums, strict=True)):
        total += ((int(high_sum) << 27) + int(low_sum)) << i
    return total * Fraction(2) ** (low - 53)
