"""The distribution of a column as a sketch that merges: exact where small."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, exp, log

import numpy as np

#: Relative error of every quantile that comes from the bins of a `Quantiles` sketch.
ACCURACY = 0.0005
#: So many distinct values are kept as they are.
EXACT = 10_000
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
#: Bin 0 is zero; the bins of positive values start above it.
_SHIFT = ceil(-log(1e-9) / log(_GAMMA)) + 2
_LOG_MAX = log(np.finfo(np.float64).max)
#: Whole numbers over a range up to this are counted without sorting them.
_SPAN = 1 << 20


def _nothing(dtype=np.int64) -> np.ndarray:
    return np.empty(0, dtype)


@dataclass(frozen=True, eq=False)
class Quantiles:
    """A mergeable sketch of a distribution: exact in its counts, its mean and its merge.

    While there are at most ``capacity`` distinct values, they are kept, and quantiles are exact.
    Beyond, values fall into bins whose width is a fixed share of the value, so a quantile is off
    by at most `ACCURACY` of itself (values under 1e-9 count as 0), and whole numbers below 1,000
    come back exactly once rounded. Sums are kept as exact fractions. All of it depends on the
    values alone, not on how the rows were partitioned.

    Attributes
    ----------
    keys : (m,) float64 or int64 array
        Ascending: the distinct values, or the numbers of the bins.
    counts : (m,) int64 array
    total : Fraction
        The sum of the values.
    capacity : int

    References
    ----------
    Masson, C., Rim, J. E., Lee, H. K. (2019). DDSketch: a fast and fully-mergeable quantile sketch
    with relative-error guarantees. PVLDB 12(12).
    """

    keys: np.ndarray = field(default_factory=lambda: _nothing(np.float64))
    counts: np.ndarray = field(default_factory=_nothing)
    total: Fraction = Fraction(0)
    capacity: int = EXACT

    @property
    def n(self) -> int:
        """The number of values seen."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean of the values, rounded once; NaN without values."""
        return float(self.total / self.n) if len(self.counts) else float("nan")

    @property
    def is_exact(self) -> bool:
        """Whether quantiles are actual values, not centers of bins."""
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
        """The sketch of the finite values of an array."""
        values = np.asarray(values, dtype=np.float64)
        values = values[np.isfinite(values)] + 0.0  # no negative zero
        total = _exact_sum(values)
        found = _distinct(values, capacity)
        if found is None:
            return cls(*_counted(_bins(values)), total, capacity)
        return cls(*found, total, capacity)._fitting()

    def merge(self, other: Quantiles) -> Quantiles:
        """The sketch of both sets of values."""
        total = self.total + other.total
        one, two = self, other
        if one.is_exact != two.is_exact:
            one, two = one._binned(), two._binned()
        keys, place = np.unique(np.concatenate([one.keys, two.keys]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, place, np.concatenate([one.counts, two.counts]))
        return Quantiles(keys, counts, total, self.capacity)._fitting()

    def at(self, shares: Iterable[float]) -> list[float]:
        """The quantiles at some shares, NaN where there is no value.

        The quantile at q is the smallest value that at least a share q of the values do not exceed.
        """
        if not len(self.keys):
            return [float("nan") for _ in shares]
        reached = np.cumsum(self.counts)
        # A share as it is written: 0.15 of 100 are 15, in floats and among 5,850,000,000 too.
        ranks = [max(1, ceil(Fraction(repr(float(q))) * int(reached[-1]))) for q in shares]
        keys = [self.keys[int(np.searchsorted(reached, r))].item() for r in ranks]
        return keys if self.is_exact else [_value(key) for key in keys]

    def _fitting(self) -> Quantiles:
        return self._binned() if self.is_exact and len(self.keys) > self.capacity else self

    def _binned(self) -> Quantiles:
        if not self.is_exact:
            return self
        bins = _bins(self.keys)  # ascend as the values do
        keys, starts = np.unique(bins, return_index=True)
        counts = np.add.reduceat(self.counts, starts) if len(starts) else self.counts
        return Quantiles(keys, counts, self.total, self.capacity)


def _bins(values: np.ndarray) -> np.ndarray:
    """The number of each value's bin, int64; ascending with the value."""
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        index = np.ceil(np.log(np.maximum(size, 1e-9)) / log(_GAMMA)) + _SHIFT
    return (np.where(size < 1e-9, 0, index) * np.sign(values)).astype(np.int64)


def _value(key: int) -> float:
    if key == 0:
        return 0.0
    size = exp(min((abs(key) - _SHIFT) * log(_GAMMA) + log(2 / (_GAMMA + 1)), _LOG_MAX))
    return size if key > 0 else -size


def _distinct(values: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The distinct values and how often each occurs; None when they are surely too many."""
    few = values[: 2 * capacity]
    if len(np.unique(few)) > capacity:
        return None
    if len(values) and (values == np.floor(values)).all() and np.ptp(values) < _SPAN:
        low = values.min()
        keys, counts = _counted((values - low).astype(np.int64))
        return keys + low, counts
    return np.unique(values, return_counts=True)


def _counted(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct whole numbers and how often each occurs; they lie too close to be sorted."""
    if len(index) == 0:
        return index, index
    low = index.min()
    counts = np.bincount(index - low)
    keys = np.flatnonzero(counts)
    return keys + low, counts[keys]


def _exact_sum(values: np.ndarray) -> Fraction:
    """The sum of finite float64 without rounding: their digits are added up by exponent.

    Digits go in two halves of at most 27 bits, so sums of up to 2**26 of them stay exact.
    """
    if len(values) == 0:
        return Fraction(0)
    digits, exponents = np.frexp(values)
    whole = np.ldexp(digits, 53).astype(np.int64)
    low = int(exponents.min())
    high_sums = np.bincount(exponents - low, (whole >> 27).astype(np.float64)).tolist()
    low_sums = np.bincount(exponents - low, (whole & (2**27 - 1)).astype(np.float64)).tolist()
    total = 0
    for i, (high, rest) in enumerate(zip(high_sums, low_sums, strict=True)):
        total += ((int(high) << 27) + int(rest)) << i
    return total * Fraction(2) ** (low - 53)
