"""How many values are distinct, and how many occur once: exact while they fit, else estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Values that are counted one by one: 1 MB.
CAPACITY = 1 << 16
_RANGE = 2.0**64


@dataclass(frozen=True, eq=False)
class BottomK:
    """The values of the smallest hashes, each with how often it occurs.

    A value is kept by its hash alone, never by its order or its count: the values that are kept of
    all rows are kept of every part in which they occur, so their counts are exact, and the state is
    the same however rows are parted. While there are at most ``capacity`` values it has them all;
    beyond, it has a uniform sample of the distinct values.

    Attributes
    ----------
    hashes : (at most capacity,) uint64 array
        Ascending. Two values of one hash count as one: of a billion values, with 1 in 40.
    counts : (len(hashes),) int64 array
    n : int
        Rows counted.
    capacity : int
    is_exact : bool
        Whether all values are there.

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
        """The state of rows whose values have these hashes, one per row."""
        return cls._smallest(hashes, None, len(hashes), capacity, True)

    @classmethod
    def merged(cls, states: Sequence[BottomK]) -> BottomK:
        """One state from several, at least one, of equal capacity."""
        hashes, counts = (np.concatenate([getattr(s, n) for s in states]) for n in _ARRAYS)
        n, exact = sum(s.n for s in states), all(s.is_exact for s in states)
        return cls._smallest(hashes, counts, n, states[0].capacity, exact)

    @classmethod
    def _smallest(cls, hashes, counts, n: int, capacity: int, exact: bool) -> BottomK:
        found, places = np.unique(hashes, return_inverse=True)
        weights = None if counts is None else counts.astype(np.float64)  # exact below 2**53
        counts = np.bincount(places, weights, len(found)).astype(np.int64)
        exact = exact and len(found) <= capacity
        return cls(found[:capacity].copy(), counts[:capacity].copy(), n, capacity, exact)

    def distinct(self, level: float = 0.95) -> tuple[float, float, float]:
        """The distinct values, with their interval.

        (k - 1) / h, h being the k-th smallest hash as a share of their range; relative standard
        error (k - 2) ** -0.5. h times the number is distributed as a gamma of shape k.
        """
        k = len(self.hashes)
        if self.is_exact:
            return float(k), float(k), float(k)
        share = self._share()
        lo, hi = (end / share for end in _gamma(k, k, level))
        return tuple(min(max(end, float(k)), float(self.n)) for end in ((k - 1) / share, lo, hi))

    def singletons(self, level: float = 0.95) -> tuple[float, float, float]:
        """The values that occur once, with their interval.

        Of those kept, but the last, over its hash as a share of the range: a Poisson's interval
        (Garwood 1936), since the relative variance is one over their number.
        """
        some = int(np.count_nonzero(self.counts == 1))
        if self.is_exact:
            return float(some), float(some), float(some)
        some -= int(self.counts[-1] == 1)
        share = self._share()
        lo, hi = (end / share for end in _gamma(some, some + 1, level))
        return tuple(min(end, float(self.n)) for end in (some / share, lo, hi))

    def _share(self) -> float:
        return float(self.hashes[-1]) / _RANGE


_ARRAYS = ("hashes", "counts")


def _gamma(low: int, high: int, level: float) -> tuple[float, float]:
    from scipy.special import gammaincinv

    lo = float(gammaincinv(low, (1 - level) / 2)) if low else 0.0
    return lo, float(gammaincinv(high, (1 + level) / 2))
