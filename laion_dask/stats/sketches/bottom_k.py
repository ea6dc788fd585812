"""Numbers of distinct values and of values that occur once: exact while small, else estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Maximum number of values counted individually: 1 MB.
CAPACITY = 1 << 16
_RANGE = 2.0**64


@dataclass(frozen=True, eq=False)
class BottomK:
    """The values with the smallest hashes, and how often each occurs.

    Only its hash decides whether a value is kept, not its order or count. A value that is kept for
    all rows is therefore kept for every subset in which it occurs, so its count is exact, and the
    state does not depend on the partitioning. With at most ``capacity`` values, all are kept; with
    more, the state is a uniform sample of the distinct values.

    Attributes
    ----------
    hashes : (at most capacity,) uint64 array
        Ascending. Values with equal hashes count as one: for a billion values, a chance of 1 in 40.
    counts : (len(hashes),) int64 array
    n : int
        Number of rows counted.
    capacity : int
    is_exact : bool
        Whether all values are kept.

    References
    ----------
    Bar-Yossef, Z. et al. (2002). Counting distinct elements in a data stream. RANDOM. Beyer, K. et
    al. (2007). On synopses for distinct-value estimation under multiset operations. SIGMOD.
    """

    hashes: np.ndarray
    counts: np.ndarray
    n: int
    capacity: int = CAPACITY
    is_exact: bool = True

    @classmethod
    def of(cls, hashes: np.ndarray, capacity: int = CAPACITY) -> BottomK:
        """State of rows whose values have the given hashes, one per row."""
        return cls._smallest(hashes, None, len(hashes), capacity, True)

    @classmethod
    def merged(cls, states: Sequence[BottomK]) -> BottomK:
        """Merge one or more states of equal capacity."""
        hashes, counts = (np.concatenate([getattr(s, n) for s in states]) for n in _ARRAYS)
        n, exact = sum(s.n for s in states), all(s.is_exact for s in states)
        return cls._smallest(hashes, counts, n, states[0].capacity, exact)

    @classmethod
    def _smallest(
        cls, hashes: np.ndarray, counts: np.ndarray | None, n: int, capacity: int, exact: bool
    ) -> BottomK:
        distinct, position = np.unique(hashes, return_inverse=True)
        weights = None if counts is None else counts.astype(np.float64)  # exact below 2**53
        counts = np.bincount(position, weights, len(distinct)).astype(np.int64)
        exact = exact and len(distinct) <= capacity
        return cls(distinct[:capacity].copy(), counts[:capacity].copy(), n, capacity, exact)

    def distinct(self, level: float = 0.95) -> tuple[float, float, float]:
        """Number of distinct values, with its interval.

        (k - 1) / h, where h is the k-th smallest hash as a share of the hash range; the relative
        standard error is (k - 2) ** -0.5. h times the number is gamma-distributed with shape k.
        """
        k = len(self.hashes)
        if self.is_exact:
            return float(k), float(k), float(k)
        share = self._share()
        ends = ((k - 1) / share, *(end / share for end in _gamma(k, k, level)))
        estimate, lo, hi = (min(max(end, float(k)), float(self.n)) for end in ends)
        return estimate, lo, hi

    def singletons(self, level: float = 0.95) -> tuple[float, float, float]:
        """Number of values that occur once, with its interval.

        The number of kept values that occur once, without the last value, divided by the last hash
        as a share of the hash range. The interval is a Poisson interval (Garwood 1936).
        """
        n_single = int(np.count_nonzero(self.counts == 1))
        if self.is_exact:
            return float(n_single), float(n_single), float(n_single)
        n_single -= int(self.counts[-1] == 1)
        share = self._share()
        ends = (n_single / share, *(end / share for end in _gamma(n_single, n_single + 1, level)))
        estimate, lo, hi = (min(end, float(self.n)) for end in ends)
        return estimate, lo, hi

    def _share(self) -> float:
        return float(self.hashes[-1]) / _RANGE


_ARRAYS = ("hashes", "counts")


def _gamma(low: int, high: int, level: float) -> tuple[float, float]:
    from scipy.special import gammaincinv

    lo = float(gammaincinv(low, (1 - level) / 2)) if low else 0.0
    return lo, float(gammaincinv(high, (1 + level) / 2))
