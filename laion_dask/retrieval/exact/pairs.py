"""Pairs of a query and a row, as columns, and those that partitions propose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from laion_dask.io.embeddings.row_ids import runs


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query and a row, as columns of the same length.

    Attributes
    ----------
    query : int32 array
    shard : int32 array
    row : int64 array
    part : int32 array
        The partition that the row is in.
    """

    query: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    part: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    def take(self, which: np.ndarray | slice) -> Pairs:
        """Some of them: a mask, or positions in an order."""
        return Pairs(*(getattr(self, f.name)[which] for f in fields(self)))

    def numbered(self, query: np.ndarray) -> Pairs:
        """The same pairs, query i named ``query[i]``."""
        return replace(self, query=query[self.query].astype(np.int32, copy=False))

    @classmethod
    def join(cls, several: Sequence[Pairs]) -> Pairs:
        """All of them, end to end."""
        columns = [[getattr(pairs, f.name) for pairs in several] for f in fields(cls)]
        types = (np.int32, np.int32, np.int64, np.int32)
        joined = zip(types, columns, strict=True)
        return cls(*(np.concatenate([np.empty(0, dtype), *column]) for dtype, column in joined))


@dataclass(frozen=True)
class Chosen:
    """The rows of some partitions that can still be among the k best.

    Attributes
    ----------
    pairs : Pairs
    upper : float32 array
        What the cosine of each pair is at most.
    lower : (m, k) float32 array
        What the cosines of k different rows are at least, for each query, in no order; -inf where
        there are fewer rows that are worth a pair.
    searched, unscored : int
        Rows with a direction, and without.
    """

    pairs: Pairs
    upper: np.ndarray
    lower: np.ndarray
    searched: int
    unscored: int


@dataclass(frozen=True)
class Found:
    """The best pairs, by query and rank.

    Attributes
    ----------
    pairs : Pairs
    rank : int64 array
        From 0.
    cosine : float32 array
    searched, unscored : int
        Rows that were looked at, with a direction and without.
    """

    pairs: Pairs
    rank: np.ndarray
    cosine: np.ndarray
    searched: int = 0
    unscored: int = 0

    def take(self, which: np.ndarray) -> Found:
        """Some of them: a mask, or positions in an order."""
        pairs = self.pairs.take(which)
        return replace(self, pairs=pairs, rank=self.rank[which], cosine=self.cosine[which])

    def numbered(self, query: np.ndarray) -> Found:
        """The same, query i named ``query[i]``."""
        return replace(self, pairs=self.pairs.numbered(query))

    @classmethod
    def join(cls, several: Sequence[Found]) -> Found:
        """All of them, end to end: other queries in the same rows."""
        return cls(
            Pairs.join([found.pairs for found in several]),
            np.concatenate([np.empty(0, np.int64), *(found.rank for found in several)]),
            np.concatenate([np.empty(0, np.float32), *(found.cosine for found in several)]),
            max((found.searched for found in several), default=0),
            max((found.unscored for found in several), default=0),
        )


def greatest(values: np.ndarray, k: int) -> np.ndarray:
    """The k greatest of each line, in no order; (m, k) of (m, at least k)."""
    n = values.shape[1]
    return values if n == k else np.partition(values, n - k, axis=1)[:, n - k :]


def among(part, number: int, wanted: Pairs) -> Pairs:
    """Those of some pairs whose row is in a partition, which they are told.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``, or (shard, start, stop)
    number : int
        The partition's.
    wanted : Pairs
    """
    kept = np.zeros(len(wanted), bool)
    for shard, rows in runs(part):
        here = np.flatnonzero(wanted.shard == shard)
        kept[here] = _is_among(wanted.row[here], rows)
    found = wanted.take(kept)
    return Pairs(found.query, found.shard, found.row, np.full(len(found), number, np.int32))


def _is_among(row: np.ndarray, rows: np.ndarray | range) -> np.ndarray:
    """Whether each row is one of others, which ascend."""
    if isinstance(rows, range):
        return (row >= rows.start) & (row < rows.stop)
    at = np.minimum(np.searchsorted(rows, row), len(rows) - 1)
    return rows[at] == row
