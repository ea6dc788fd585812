"""The candidates of a batch of queries: rows of a partition that may be among the k nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.retrieval.exact.pairs import Candidates, Pairs, k_greatest
from laion_dask.retrieval.exact.shared_state import ScratchPool
from laion_dask.retrieval.exact.top_k import pairs_to_keep

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Queries that are processed together.
QUERIES_PER_BATCH = 1024
#: Less than every cosine, and greater than -inf, which marks missing values.
LOWEST = np.finfo(np.float32).min
#: Candidates held before they are pruned, as a multiple of k per query.
MAX_PENDING = 16


class QueryBatch:
    """The candidates of a batch of queries, collected block by block.

    Parameters
    ----------
    bounded : GemvCosines, GemmCosines or GpuBoundedCosines
        Computes the approximate cosines; has their ``bound``.
    floor : (queries,) float32 array
        Known lower bound of each query's k-th best cosine; -inf if unknown.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        number: int,
        k: int,
        embeddings: Embeddings,
        floor: np.ndarray,
        bounded,
        scratch: ScratchPool,
    ) -> None:
        self._vectors, self._number, self._k = vectors, number, k
        self._embeddings, self._scratch, self._cosines = embeddings, scratch, bounded
        #: (queries,) float32: no row with a smaller approximate cosine is among the k best.
        self._threshold = np.maximum(bounded.bound.threshold_of(floor), LOWEST)
        self._pending = max(1 << 20, MAX_PENDING * k * len(vectors))
        self._held: list[tuple[Pairs, np.ndarray]] = []
        self._n_held = 0
        self._best = np.full((len(vectors), k), -np.inf, np.float32)

    def __len__(self) -> int:
        """The number of queries."""
        return len(self._vectors)

    def _hold(
        self, query, position, cosine, shard: int | np.ndarray, rows: np.ndarray | range
    ) -> None:
        """Hold pairs of a query and a position in a block, with their approximate cosines.

        ``shard`` is that of the block, or of each of its rows.
        """
        n = len(query)
        row = position + rows.start if isinstance(rows, range) else rows[position]
        of_rows = shard[position] if isinstance(shard, np.ndarray) else np.full(n, shard, np.int32)
        where = of_rows, row, np.full(n, self._number, np.int32)
        self._held.append((Pairs(query, *where), cosine))
        self._n_held += n
        if self._n_held > self._pending:
            self._prune()

    def _raise_threshold(self, cosines: np.ndarray) -> None:
        """Raise the thresholds with the cosines of distinct rows of a block, (queries, any)."""
        self._best = k_greatest(np.concatenate([self._best, cosines], axis=1), self._k)
        cut = self._cosines.bound.threshold(self._best.min(axis=1))
        self._threshold = np.maximum(self._threshold, cut)

    def _above_threshold(self) -> tuple[Pairs, np.ndarray]:
        pairs = Pairs.join([pairs for pairs, _ in self._held])
        cosine = np.concatenate([np.empty(0, np.float32), *(c for _, c in self._held)])
        kept = cosine >= self._threshold[pairs.query]
        return pairs.take(kept), cosine[kept]

    def _prune(self) -> tuple[Pairs, np.ndarray]:
        """Prune the candidates; return those that remain, and their approximate cosines."""
        pairs, cosine = self._above_threshold()
        kept = pairs_to_keep(pairs, self._embeddings, self._vectors, self._k, self._scratch)
        self._held = [(pairs.take(kept), cosine[kept])]
        self._n_held = len(self._held[0][0])
        return self._held[0]

    def candidates(self, first: int) -> tuple[Pairs, np.ndarray, np.ndarray]:
        """Pairs, numbered from ``first``, their upper bounds, and k lower bounds per query."""
        pairs, cosine = self._prune()
        upper = self._cosines.bound.upper(cosine, pairs.query)
        renumbered = Pairs(pairs.query + np.int32(first), pairs.shard, pairs.row, pairs.part)
        return renumbered, upper, self._cosines.bound.lower(self._best)


def join_batches(batches: Sequence[QueryBatch], k: int, searched: int, unscored: int) -> Candidates:
    """Concatenate the candidates of consecutive query batches."""
    starts = np.cumsum([0, *map(len, batches)])
    candidates = [
        batch.candidates(int(start)) for batch, start in zip(batches, starts, strict=False)
    ]
    return Candidates(
        Pairs.join([pairs for pairs, _, _ in candidates]),
        np.concatenate([np.empty(0, np.float32), *(upper for _, upper, _ in candidates)]),
        np.concatenate([np.empty((0, k), np.float32), *(lower for _, _, lower in candidates)]),
        searched,
        unscored,
    )
