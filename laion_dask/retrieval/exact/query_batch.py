"""The candidates of some queries in one partition: which rows can still be among the k nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.retrieval.exact.pairs import Chosen, Pairs, greatest
from laion_dask.retrieval.exact.shared_state import Space
from laion_dask.retrieval.exact.top_k import settled

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Queries that are looked at together.
QUERIES = 1024
#: Less than every cosine, and more than what stands for none.
LEAST = np.finfo(np.float32).min
#: Candidates that are held before they are looked through: so many times k of each query.
PENDING = 16


class Lot:
    """The candidates of some queries, block by block.

    Parameters
    ----------
    rough
        Gives the rough cosines, and their ``bound``.
    floor : (queries,) float32 array
        What the k-th best cosine of each is at least, as far as is known.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        number: int,
        k: int,
        embeddings: Embeddings,
        floor: np.ndarray,
        rough,
        space: Space,
    ) -> None:
        self._vectors, self._number, self._k = vectors, number, k
        self._embeddings, self._space, self._rough = embeddings, space, rough
        #: (queries,) float32: the least rough cosine that will do, as far as is known.
        self._cut = np.maximum(rough.bound.reach(floor), LEAST)
        self._pending = max(1 << 20, PENDING * k * len(vectors))
        self._found: list[tuple[Pairs, np.ndarray]] = []
        self._best = np.full((len(vectors), k), -np.inf, np.float32)

    def __len__(self) -> int:
        """How many queries there are."""
        return len(self._vectors)

    def _keep(self, query, position, cosine, shard: int, rows: np.ndarray | range) -> None:
        """Hold pairs of a query and a position in a block, and their rough cosines."""
        n = len(query)
        row = position + rows.start if isinstance(rows, range) else rows[position]
        where = np.full(n, shard, np.int32), row, np.full(n, self._number, np.int32)
        self._found.append((Pairs(query, *where), cosine))
        if sum(len(pairs) for pairs, _ in self._found) > self._pending:
            self._settle()

    def _learn(self, cosines: np.ndarray) -> None:
        """Take in the rough cosines of rows of a block, (queries, any), each row's once."""
        self._best = greatest(np.concatenate([self._best, cosines], axis=1), self._k)
        cut = self._rough.bound.cut(self._best.min(axis=1))
        self._cut = np.maximum(self._cut, cut)

    def _compacted(self) -> tuple[Pairs, np.ndarray]:
        pairs = Pairs.join([pairs for pairs, _ in self._found])
        cosine = np.concatenate([np.empty(0, np.float32), *(c for _, c in self._found)])
        kept = cosine >= self._cut[pairs.query]
        return pairs.take(kept), cosine[kept]

    def _settle(self) -> tuple[Pairs, np.ndarray]:
        """What is left of the candidates, and their rough cosines."""
        pairs, cosine = self._compacted()
        few = settled(pairs, self._embeddings, self._vectors, self._k, self._space)
        self._found = [(pairs.take(few), cosine[few])]
        return self._found[0]

    def candidates(self, first: int) -> tuple[Pairs, np.ndarray, np.ndarray]:
        """Pairs, numbered from the first query on, and their upper and the k lower bounds."""
        pairs, cosine = self._settle()
        upper = self._rough.bound.above(cosine, pairs.query)
        numbered = Pairs(pairs.query + np.int32(first), pairs.shard, pairs.row, pairs.part)
        return numbered, upper, self._rough.bound.below(self._best)


def chosen(lots: Sequence[Lot], k: int, searched: int, unscored: int) -> Chosen:
    """What lots have found together, whose queries follow one another."""
    starts = np.cumsum([0, *map(len, lots)])
    found = [lot.candidates(int(start)) for lot, start in zip(lots, starts, strict=False)]
    return Chosen(
        Pairs.join([pairs for pairs, _, _ in found]),
        np.concatenate([np.empty(0, np.float32), *(upper for _, upper, _ in found)]),
        np.concatenate([np.empty((0, k), np.float32), *(lower for _, _, lower in found)]),
        searched,
        unscored,
    )
