"""Mergeable sketches: a distribution, and the most frequent labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, exp, log

import numpy as np

#: Relative error of every quantile that comes from a `Quantiles` sketch.
ACCURACY = 0.0005
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)


@dataclass
class Quantiles:
    """A mergeable sketch of a distribution, exact in its counts, its mean and its merge.

    Values fall into bins whose width is a fixed share of the value, so a quantile is off by at
    most `ACCURACY` of itself (values under 1e-9 count as 0), and whole numbers below 1,000 come
    back exactly once rounded. Merging adds counts, and sums that are kept as exact fractions: the
    answer does not depend on how the rows were partitioned.

    References
    ----------
    Masson, C., Rim, J. E., Lee, H. K. (2019). DDSketch: a fast and fully-mergeable quantile sketch
    with relative-error guarantees. PVLDB 12(12).
    """

    bins: dict[int, int] = field(default_factory=dict)
    total: Fraction = Fraction(0)

    @property
    def n(self) -> int:
        return sum(self.bins.values())

    @property
    def mean(self) -> float:
        return float(self.total / self.n) if self.bins else float("nan")

    @classmethod
    def of(cls, values: np.ndarray) -> Quantiles:
        """The sketch of the finite values of an array."""
        values = np.asarray(values, dtype=np.float64)
        values = values[np.isfinite(values)]
        size = np.abs(values)
        with np.errstate(divide="ignore"):
            index = np.ceil(np.log(np.maximum(size, 1e-9)) / log(_GAMMA)) + _SHIFT
        index = np.where(size < 1e-9, 0, index) * np.sign(values)
        keys, counts = _counted(index.astype(np.int64))
        return cls(dict(zip(keys.tolist(), counts.tolist(), strict=True)), _exact_sum(values))

    def merge(self, other: Quantiles) -> Quantiles:
        """The sketch of both sets of values."""
        bins = dict(self.bins)
        for key, count in other.bins.items():
            bins[key] = bins.get(key, 0) + count
        return Quantiles(bins, self.total + other.total)

    def at(self, shares: Iterable[float]) -> list[float]:
        """The quantiles at some shares, NaN where there is no value.

        The quantile at q is the smallest value that at least a share q of the values do not exceed.
        """
        keys = sorted(self.bins)
        if not keys:
            return [float("nan") for _ in shares]
        reached = np.cumsum([self.bins[k] for k in keys])
        ranks = [max(1, ceil(q * reached[-1] - 1e-9)) for q in shares]
        return [_value(keys[int(np.searchsorted(reached, r))]) for r in ranks]


#: Bin 0 is zero; the bins of positive values start above it.
_SHIFT = ceil(-log(1e-9) / log(_GAMMA)) + 2
_LOG_MAX = log(np.finfo(np.float64).max)


def _value(key: int) -> float:
    if key == 0:
        return 0.0
    size = exp(min((abs(key) - _SHIFT) * log(_GAMMA) + log(2 / (_GAMMA + 1)), _LOG_MAX))
    return size if key > 0 else -size


def _counted(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct bins and how often each occurs; the bins lie so close that none is sorted."""
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


@dataclass
class Top:
    """The most frequent labels, with a bound on what was forgotten.

    At most ``capacity`` labels are held. ``undercount`` is the most by which any count can be too
    low, and the most that a label which is not listed can have; 0 while nothing was forgotten.

    References
    ----------
    Agarwal, P. K. et al. (2012). Mergeable summaries. PODS.
    """

    counts: dict[str, int] = field(default_factory=dict)
    undercount: int = 0
    capacity: int = 100_000

    def merge(self, other: Top) -> Top:
        """The most frequent labels of both."""
        counts = dict(self.counts)
        for label, n in other.counts.items():
            counts[label] = counts.get(label, 0) + n
        merged = Top(counts, self.undercount + other.undercount, self.capacity)
        return merged.pruned()

    def pruned(self) -> Top:
        """The same, within capacity; ties are broken by the label."""
        if len(self.counts) <= self.capacity:
            return self
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        forgotten = ranked[self.capacity][1]
        return Top(dict(ranked[: self.capacity]), self.undercount + forgotten, self.capacity)

    def most(self, k: int) -> list[tuple[str, int]]:
        """The k most frequent, most frequent first."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:k]
