"""The most frequent of many labels: exact while they fit, then a mergeable sketch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import e, exp
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.display.overview import Displayed, Overview

#: Maximum number of labels counted exactly: about 40 MB.
CAPACITY = 1_000_000
#: Dimensions of the sketch (15 MB): rows, and counters per row.
DEPTH, WIDTH = 7, 1 << 18
#: An estimate exceeds the true count by more than this share of all rows only with probability
#: `FAILURE`.
ERROR = e / WIDTH
FAILURE = exp(-DEPTH)
#: Number of labels kept with the sketch; a label with a larger share of the rows is among them.
_CANDIDATES = 1 << 17
#: Number of smallest hashes kept, from which the number of labels is estimated.
_SMALLEST = 1 << 14
_BLOCK = 1 << 16  # labels converted to Python objects at a time
_KEY = "laion_dask.2026."  # 16 bytes of pandas' SipHash
#: The first outputs of SplitMix64 with seed 1, made odd, one per row (Steele, G. L. et al. (2014).
#: Fast splittable pseudorandom number generators. OOPSLA).
_ODD = np.array(
    [
        0x910A2DEC89025CC1, 0xBEEB8DA1658EEC67, 0xF893A2EEFB32555F, 0x71C18690EE42C90B,
        0x71BB54D8D101B5B9, 0xC34D0BFF90150281, 0xE099EC6CD7363CA5,
    ],
    np.uint64,
)  # fmt: skip


class LabelTable(Protocol):
    """Distinct labels of many states of one process."""

    def take(self, codes: np.ndarray) -> pa.Array:
        """The labels at some positions; large_string."""


#: A table of labels, and the positions there of a state's labels, (n,) int64.
Entries = tuple[LabelTable, np.ndarray]


@dataclass(frozen=True, eq=False)
class HeavyHitters(Displayed):
    """Counts of many labels.

    With at most ``capacity`` labels, every count is exact. With more, counts are kept in a
    count-min sketch, which is additive and therefore independent of the partitioning, together with
    candidate labels selected by the algorithm of Misra and Gries. A label is reported if the sketch
    shows that its share of the rows exceeds `threshold`. Every such label is kept regardless of
    partitioning and order, so the answer is the same, except with the probability `FAILURE` that an
    estimate exceeds its bound.

    Attributes
    ----------
    labels : large_string array
        All labels, or the candidates for frequent labels.
    counts : (len(labels),) int64 array
        Exact counts, or Misra-Gries weights.
    n : int
        Number of rows counted.
    capacity : int
    sketch : (DEPTH, WIDTH) int64 array, or None while counts are exact
    smallest : (at most 16,384,) uint64 array, or None
        The smallest label hashes, ascending.
    entries : (LabelTable, int64 array), or None
        Where the labels are in a table. States of the same table are merged without looking at
        their labels. Not pickled.

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
    entries: Entries | None = None

    def _overview(self) -> Overview:
        facts = {
            "rows": f"{self.n:,}",
            "labels": f"{len(self.labels):,}",
            "counts": "exact" if self.sketch is None else "estimated, with a bound",
        }
        return Overview("Counts of labels", facts)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "entries": None}

    @classmethod
    def of(
        cls,
        labels: pa.Array,
        counts: np.ndarray,
        capacity: int = CAPACITY,
        entries: Entries | None = None,
    ) -> HeavyHitters:
        """State of a set of rows.

        Parameters
        ----------
        labels : array of text
            Distinct.
        counts : (len(labels),) int64 array
            Non-negative.
        capacity : int
        entries : (LabelTable, int64 array), optional
        """
        counts = np.asarray(counts, np.int64)
        positive = counts > 0
        labels = labels.cast(pa.large_string())
        if not positive.all():
            labels, counts = labels.filter(pa.array(positive)), counts[positive]
            entries = entries and (entries[0], entries[1][positive])
        state = cls(labels, counts, int(counts.sum()), capacity, entries=entries)
        return state if len(labels) <= capacity else state._sketched([state])

    @classmethod
    def merged(cls, states: Sequence[HeavyHitters]) -> HeavyHitters:
        """Merge one or more states of equal capacity."""
        if len(states) == 1:
            return states[0]
        labels, counts, entries = _summed_entries(states) or (*_summed(states), None)
        n, capacity = sum(s.n for s in states), states[0].capacity
        merged_state = cls(labels, counts, n, capacity, entries=entries)
        if all(s.is_exact for s in states) and len(labels) <= merged_state.capacity:
            return merged_state
        return merged_state._sketched(states)

    def _sketched(self, states: Sequence[HeavyHitters]) -> HeavyHitters:
        """Sketch of states whose summed labels and weights are in this state."""
        sketch = np.zeros((DEPTH, WIDTH), np.int64)
        hashes: list[np.ndarray] = []
        for state in [self] if all(s.is_exact for s in states) else states:
            if state.sketch is None:
                hashed = text_hashes(state.labels)
                for row, odd in zip(sketch, _ODD, strict=True):  # sums below 2**53 are exact
                    row += np.bincount(_cells(hashed, odd), state.counts, WIDTH).astype(np.int64)
                hashes.append(hashed)
            else:
                assert state.smallest is not None  # kept together with the sketch
                sketch += state.sketch
                hashes.append(state.smallest)
        smallest = np.unique(np.concatenate(hashes))[:_SMALLEST]
        labels, counts = self._thinned()
        return HeavyHitters(labels, counts, self.n, self.capacity, sketch, smallest)

    def _thinned(self) -> tuple[pa.Array, np.ndarray]:
        """At most `candidates` labels, after subtracting the largest dropped weight from all."""
        limit = self.candidates
        if len(self.counts) <= limit:
            return self.labels, self.counts
        subtracted = np.partition(self.counts, len(self.counts) - limit - 1)[
            len(self.counts) - limit - 1
        ]
        kept = self.counts > subtracted
        return self.labels.filter(pa.array(kept)), self.counts[kept] - subtracted

    @property
    def candidates(self) -> int:
        """Maximum number of labels kept with the sketch."""
        return min(self.capacity, _CANDIDATES)

    @property
    def is_exact(self) -> bool:
        return self.sketch is None

    @property
    def error(self) -> float:
        """Maximum overestimate, in rows, except with probability `FAILURE`."""
        return 0.0 if self.is_exact else ERROR * self.n

    @property
    def threshold(self) -> float:
        """Share of the rows above which a label is certain to be kept; 0 while counts are exact."""
        return 0.0 if self.is_exact else max(ERROR, 1 / self.candidates)

    @property
    def unseen(self) -> float:
        """Maximum number of rows of a label that `heavy` does not return."""
        return self.threshold * self.n + self.error

    def heavy(self, most: int | None = None) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """The frequent labels, most frequent first; ties are ordered by label.

        Parameters
        ----------
        most : int, optional
            Maximum number of labels to return.

        Returns
        -------
        labels : large_string array
        lowest, highest : int64 arrays
            Bounds on the count of each label; equal while counts are exact. The estimate is
            ``highest``, which is never too low.
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
        assert self.sketch is not None  # callers use exact counts while there are any
        hashed = text_hashes(labels)
        row_counts = [row[_cells(hashed, odd)] for row, odd in zip(self.sketch, _ODD, strict=True)]
        estimates: np.ndarray = np.minimum.reduce(row_counts)
        return estimates

    def distinct(self) -> tuple[float, float]:
        """Number of distinct labels, and its relative standard error; 0 if exact."""
        if self.smallest is None:
            return float(len(self.labels)), 0.0
        k = len(self.smallest)
        if k < _SMALLEST:  # fewer labels than hashes that can be kept, so all are present
            return float(k), 0.0
        return (k - 1) / (float(self.smallest[-1]) / 2.0**64), (k - 2) ** -0.5


def _summed_entries(
    states: Sequence[HeavyHitters],
) -> tuple[pa.Array, np.ndarray, Entries] | None:
    """As `_summed`, with the labels' entries; None if the states have no table in common."""
    entries = [s.entries for s in states if s.entries is not None and s.is_exact]
    if len(entries) < len(states) or len({id(table) for table, _ in entries}) > 1:
        return None
    table, weights = entries[0][0], np.concatenate([s.counts for s in states])
    counts = np.bincount(np.concatenate([at for _, at in entries]), weights).astype(np.int64)
    positions = np.flatnonzero(counts)
    return table.take(positions), counts[positions], (table, positions)


def _summed(states: Sequence[HeavyHitters]) -> tuple[pa.Array, np.ndarray]:
    """The distinct labels of all states, with summed counts."""
    coded = pa.concat_arrays([s.labels for s in states]).dictionary_encode()
    weights = np.concatenate([s.counts for s in states])  # sums below 2**53 are exact
    counts = np.bincount(coded.indices.to_numpy(), weights, len(coded.dictionary))
    return coded.dictionary, counts.astype(np.int64)


def _ranked(labels: pa.Array, counts: np.ndarray, limit: int) -> np.ndarray:
    """Positions by descending count; equal counts are ordered by label, by code points."""
    positions = np.arange(len(counts))
    if 0 < limit < len(counts):
        threshold = np.partition(counts, len(counts) - limit)[len(counts) - limit]
        positions = np.flatnonzero(counts >= threshold)
    table = pa.table({"n": -counts[positions], "label": labels.take(pa.array(positions))})
    order = pc.sort_indices(table, [("n", "ascending"), ("label", "ascending")])
    ranked: np.ndarray = positions[order.to_numpy()]
    return ranked[:limit]


def text_hashes(labels: pa.Array) -> np.ndarray:
    """64-bit hashes of texts, equal in every process."""
    hashes = np.empty(len(labels), np.uint64)
    for at in range(0, len(labels), _BLOCK):
        chunk = labels.slice(at, _BLOCK).to_numpy(zero_copy_only=False).astype(object)
        hashes[at : at + _BLOCK] = pd.util.hash_array(chunk, hash_key=_KEY, categorize=False)
    return hashes


def _cells(hashes: np.ndarray, odd: np.uint64) -> np.ndarray:
    """The counter of each hash in a row of the sketch, (n,) int64, by multiply-shift hashing.

    Dietzfelbinger, M. et al. (1997). A reliable randomized algorithm for the closest-pair problem.
    Journal of Algorithms 25.
    """
    shift = np.uint64(64 - (WIDTH.bit_length() - 1))
    return ((odd * hashes) >> shift).astype(np.int64)
