"""Pairs of a query and a row as columns: the candidates of partitions, and the best pairs."""

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
        Number of the partition that the row is in.
    """

    query: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    part: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    def take(self, selection: np.ndarray | slice) -> Pairs:
        """A subset of the pairs, by a mask, positions or a slice."""
        return Pairs(*(getattr(self, f.name)[selection] for f in fields(self)))

    def renumbered(self, query: np.ndarray) -> Pairs:
        """The same pairs, with query i renumbered ``query[i]``."""
        return replace(self, query=query[self.query].astype(np.int32, copy=False))

    @classmethod
    def join(cls, several: Sequence[Pairs]) -> Pairs:
        """Concatenate several Pairs."""
        columns = [[getattr(pairs, f.name) for pairs in several] for f in fields(cls)]
        types = (np.int32, np.int32, np.int64, np.int32)
        joined = zip(types, columns, strict=True)
        return cls(*(np.concatenate([np.empty(0, dtype), *column]) for dtype, column in joined))


@dataclass(frozen=True)
class Candidates:
    """Rows of one or more partitions that may be among the k best.

    Attributes
    ----------
    pairs : Pairs
    upper : float32 array
        Upper bound of the cosine of each pair.
    lower : (m, k) float32 array
        For each query, lower bounds of the cosines of k distinct rows, unordered; -inf where there
        are fewer rows.
    searched, unscored : int
        Numbers of rows with and without a direction.
    """

    pairs: Pairs
    upper: np.ndarray
    lower: np.ndarray
    searched: int
    unscored: int


@dataclass(frozen=True)
class Hits:
    """The best pairs, ordered by query and rank.

    Attributes
    ----------
    pairs : Pairs
    rank : int64 array
        From 0.
    cosine : float32 array
    searched, unscored : int
        Numbers of searched rows with and without a direction.
    """

    pairs: Pairs
    rank: np.ndarray
    cosine: np.ndarray
    searched: int = 0
    unscored: int = 0

    def take(self, selection: np.ndarray) -> Hits:
        """A subset of the hits, by a mask, positions or a slice."""
        pairs = self.pairs.take(selection)
        return replace(self, pairs=pairs, rank=self.rank[selection], cosine=self.cosine[selection])

    def renumbered(self, query: np.ndarray) -> Hits:
        """The same hits, with query i renumbered ``query[i]``."""
        return replace(self, pairs=self.pairs.renumbered(query))

    @classmethod
    def join(cls, several: Sequence[Hits]) -> Hits:
        """Concatenate the hits of different queries on the same rows."""
        return cls(
            Pairs.join([hits.pairs for hits in several]),
            np.concatenate([np.empty(0, np.int64), *(hits.rank for hits in several)]),
            np.concatenate([np.empty(0, np.float32), *(hits.cosine for hits in several)]),
            max((hits.searched for hits in several), default=0),
            max((hits.unscored for hits in several), default=0),
        )


def k_greatest(values: np.ndarray, k: int) -> np.ndarray:
    """The k greatest values of each row, unordered; (m, k) of (m, at least k)."""
    n = values.shape[1]
    return values if n == k else np.partition(values, n - k, axis=1)[:, n - k :]


def pairs_in_partition(partition, number: int, pairs: Pairs) -> Pairs:
    """The pairs whose row lies in this partition, with ``part`` set.

    Parameters
    ----------
    partition : frame with ``shard`` and ``row``, or tuple of (shard, start, stop)
    number : int
        Number of the partition.
    pairs : Pairs
    """
    kept = np.zeros(len(pairs), bool)
    order = np.argsort(pairs.shard, kind="stable")
    ordered = pairs.shard[order]
    for shard, rows in runs(partition):
        positions = order[slice(*np.searchsorted(ordered, (shard, shard + 1)))]
        kept[positions] = _is_in(pairs.row[positions], rows)
    result = pairs.take(kept)
    return Pairs(result.query, result.shard, result.row, np.full(len(result), number, np.int32))


def _is_in(row: np.ndarray, rows: np.ndarray | range) -> np.ndarray:
    """Whether each row is in a range, or in a sorted array of rows."""
    if isinstance(rows, range):
        return (row >= rows.start) & (row < rows.stop)
    at = np.minimum(np.searchsorted(rows, row), len(rows) - 1)
    return rows[at] == row
