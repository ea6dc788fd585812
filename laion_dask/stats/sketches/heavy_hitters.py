"""The most frequent of very many labels: exact while they fit, then a sketch that merges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import e, exp

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

#: Labels that are counted exactly, at most: some 40 MB.
CAPACITY = 1_000_000
#: Counters of the sketch, 15 MB of them: rows, and counters in each.
DEPTH, WIDTH = 7, 1 << 18
#: An estimate is too high by more than this share of all rows with a probability of `FAILURE`.
ERROR = e / WIDTH
FAILURE = exp(-DEPTH)
#: Labels that are kept beside the sketch; one with a larger share of the rows is among them.
_CANDIDATES = 1 << 17
#: Smallest hashes that are kept, from which the number of labels is estimated.
_SMALLEST = 1 << 14
_BLOCK = 1 << 16  # labels that are Python's at a time
_KEY = "laion_dask.2026."  # 16 bytes of pandas' SipHash
#: The first numbers of SplitMix64 from 1, made odd, one a row (Steele, G. L. et al. (2014). Fast
#: splittable pseudorandom number generators. OOPSLA).
_ODD = np.array(
    [
        0x910A2DEC89025CC1, 0xBEEB8DA1658EEC67, 0xF893A2EEFB32555F, 0x71C18690EE42C90B,
        0x71BB54D8D101B5B9, 0xC34D0BFF90150281, 0xE099EC6CD7363CA5,
    ],
    np.uint64,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class HeavyHitters:
    """How often each of many labels occurs.

    Up to ``capacity`` labels every count is exact. Beyond, counts are kept in a count-min sketch,
    which adds up and so does not depend on the partitioning, beside labels that may be frequent,
    by the rule of Misra and Gries. A label is reported when the sketch shows that its share of the
    rows is larger than `threshold`. Any such label is kept whatever the partitions and their order,
    so the result is the same, except with probability `FAILURE`, that an estimate is off by more
    than its bound.

    Attributes
    ----------
    labels : large_string array
        All, or those that may be frequent.
    counts : (len(labels),) int64 array
        Exact, or the weights of Misra and Gries.
    n : int
        Rows counted.
    capacity : int
    sketch : (DEPTH, WIDTH) int64 array, or None while counts are exact
    smallest : (at most 16,384,) uint64 array, or None
        The smallest hashes of labels, ascending.

    References
    ----------
    Cormode, G., Muthukrishnan, S. (2005). An improved data stream summary: the count-min sketch
    and its applications. Journal of Algorithms 55, 58-75.
    Agarwal, P. K. et al. (2012). Mergeable summaries. PODS (Misra-Gries, section 3).
    Beyer, K. et al. (2007). On synopses for distinct-value estimation under multiset operations.
    SIGMOD (the unbiased estimator from the k smallest values).
    """

    labels: pa.Array
    counts: np.ndarray
    n: int
    capacity: int = CAPACITY
    sketch: np.ndarray | None = None
    smallest: np.ndarray | None = None

    @classmethod
    def of(cls, labels: pa.Array, counts: np.ndarray, capacity: int = CAPACITY) -> HeavyHitters:
        """The state of some rows.

        Parameters
        ----------
        labels : array of text
            No two equal.
        counts : (len(labels),) int64 array
            From 0.
        capacity : int
        """
        counts = np.asarray(counts, np.int64)
        some = counts > 0
        labels = labels.cast(pa.large_string())
        if not some.all():
            labels, counts = labels.filter(pa.array(some)), counts[some]
        found = cls(labels, counts, int(counts.sum()), capacity)
        return found if len(labels) <= capacity else found._sketched([found])

    @classmethod
    def merged(cls, states: Sequence[HeavyHitters]) -> HeavyHitters:
        """One state from several, at least one, of equal capacity."""
        if len(states) == 1:
            return states[0]
        labels, counts = _summed(states)
        whole = cls(labels, counts, sum(s.n for s in states), states[0].capacity)
        if all(s.is_exact for s in states) and len(labels) <= whole.capacity:
            return whole
        return whole._sketched(states)

    def _sketched(self, states: Sequence[HeavyHitters]) -> HeavyHitters:
        """The sketch of states whose labels and weights, added up, are these."""
        sketch = np.zeros((DEPTH, WIDTH), np.int64)
        hashes = []
        for state in [self] if all(s.is_exact for s in states) else states:
            if state.sketch is None:
                hashed = text_hashes(state.labels)
                for row, odd in zip(sketch, _ODD, strict=True):  # sums below 2**53 are exact
                    row += np.bincount(_cells(hashed, odd), state.counts, WIDTH).astype(np.int64)
                hashes.append(hashed)
            else:
                sketch += state.sketch
                hashes.append(state.smallest)
        smallest = np.unique(np.concatenate(hashes))[:_SMALLEST]
        labels, counts = self._thinned()
        return HeavyHitters(labels, counts, self.n, self.capacity, sketch, smallest)

    def _thinned(self) -> tuple[pa.Array, np.ndarray]:
        """At most `candidates` labels: the weight of the first too many is taken off them all."""
        most = self.candidates
        if len(self.counts) <= most:
            return self.labels, self.counts
        off = np.partition(self.counts, len(self.counts) - most - 1)[len(self.counts) - most - 1]
        kept = self.counts > off
        return self.labels.filter(pa.array(kept)), self.counts[kept] - off

    @property
    def candidates(self) -> int:
        """Labels that are kept beside the sketch, at most."""
        return min(self.capacity, _CANDIDATES)

    @property
    def is_exact(self) -> bool:
        return self.sketch is None

    @property
    def error(self) -> float:
        """The most by which an estimate is too high, in rows, but with probability `FAILURE`."""
        return 0.0 if self.is_exact else ERROR * self.n

    @property
    def threshold(self) -> float:
        """The share of the rows from which a label is sure to be kept; 0 while all are."""
        return 0.0 if self.is_exact else max(ERROR, 1 / self.candidates)

    @property
    def unseen(self) -> float:
        """The most rows of a label that `heavy` does not report."""
        return self.threshold * self.n + self.error

    def heavy(self, most: int | None = None) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """The frequent labels, most frequent first, ties by the label.

        Parameters
        ----------
        most : int, optional
            So many of them.

        Returns
        -------
        labels : large_string array
        lowest, highest : int64 arrays
            Bounds on how often each occurs; equal while counts are exact. The estimate is the
            upper one, which is never too low.
        """
        counts, low = self.counts, self.counts
        labels = self.labels
        if not self.is_exact:
            counts = self._estimates(labels)
            reported = counts >= self.unseen
            labels, counts = labels.filter(pa.array(reported)), counts[reported]
            low = np.maximum(np.ceil(counts - self.error), 1).astype(np.int64)
        order = _ranked(labels, counts, len(counts) if most is None else most)
        return labels.take(order), low[order], counts[order]

    def _estimates(self, labels: pa.Array) -> np.ndarray:
        hashed = text_hashes(labels)
        found = [row[_cells(hashed, odd)] for row, odd in zip(self.sketch, _ODD, strict=True)]
        return np.minimum.reduce(found)

    def distinct(self) -> tuple[float, float]:
        """The number of labels, and its relative standard error; 0 when exact."""
        if self.is_exact:
            return float(len(self.labels)), 0.0
        k = len(self.smallest)
        if k < _SMALLEST:  # fewer labels than hashes are kept: all are there
            return float(k), 0.0
        return (k - 1) / (float(self.smallest[-1]) / 2.0**64), (k - 2) ** -0.5


def _summed(states: Sequence[HeavyHitters]) -> tuple[pa.Array, np.ndarray]:
    """The labels of all, each once, and their counts added up."""
    coded = pa.concat_arrays([s.labels for s in states]).dictionary_encode()
    weights = np.concatenate([s.counts for s in states])  # sums below 2**53 are exact
    counts = np.bincount(coded.indices.to_numpy(), weights, len(coded.dictionary))
    return coded.dictionary, counts.astype(np.int64)


def _ranked(labels: pa.Array, counts: np.ndarray, most: int) -> np.ndarray:
    """Positions by falling count; equal counts by the label, in the order of code points."""
    some = np.arange(len(counts))
    if 0 < most < len(counts):
        least = np.partition(counts, len(counts) - most)[len(counts) - most]
        some = np.flatnonzero(counts >= least)
    table = pa.table({"n": -counts[some], "label": labels.take(pa.array(some))})
    order = pc.sort_indices(table, [("n", "ascending"), ("label", "ascending")])
    return some[order.to_numpy()][:most]


def text_hashes(labels: pa.Array) -> np.ndarray:
    """64-bit hashes of texts, the same in every process."""
    found = np.empty(len(labels), np.uint64)
    for at in range(0, len(labels), _BLOCK):
        some = labels.slice(at, _BLOCK).to_numpy(zero_copy_only=False).astype(object)
        found[at : at + _BLOCK] = pd.util.hash_array(some, hash_key=_KEY, categorize=False)
    return found


def _cells(hashes: np.ndarray, odd: np.uint64) -> np.ndarray:
    """The counter of each hash in a row of the sketch, (n,) int64, by multiply-shift hashing.

    Dietzfelbinger, M. et al. (1997). A reliable randomized algorithm for the closest-pair problem.
    Journal of Algorithms 25.
    """
    shift = np.uint64(64 - (WIDTH.bit_length() - 1))
    return ((odd * hashes) >> shift).astype(np.int64)
