"""The rows of one partition that can be among the k nearest to each query."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.backend import gpu_count
from laion_dask.kernels import rough
from laion_dask.kernels.pairs import Chosen, Pairs, greatest
from laion_dask.kernels.places import runs
from laion_dask.kernels.search import settled
from laion_dask.kernels.together import Space, Together
from laion_dask.models.torch_threads import one_torch_thread

if TYPE_CHECKING:
    from laion_dask.io.embeddings import Embeddings

#: Cosines that are held at a time, rows times queries, and the most rows and queries of these.
HELD, ROWS, QUERIES = 1 << 24, 1 << 17, 1024
#: The most rows where a copy is made of them, in the narrow numbers that a matrix product takes.
COPIED = 1 << 15
#: Rows a group: of a group only the best cosine is looked at, until that one is good enough.
GROUP = 16
#: Less than every cosine, and more than what stands for none.
_LEAST = np.finfo(np.float32).min
#: Candidates that are held before they are looked through: so many times k of each query.
PENDING = 16


def choose(
    part,
    number: int,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    together: Together | None = None,
) -> Chosen:
    """The rows of one partition that can be among the k nearest to each query.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``, or (shard, start, stop)
    number : int
        The partition's.
    embeddings : Embeddings
    vectors : (m, dim) float32 array
        Of length one.
    k : int
    together : Together, optional
        Of the tasks of a search.
    """
    device = "cuda" if gpu_count() else "cpu"
    together = together or Together()
    floor = together.floor(len(vectors))
    with together.space() as space:
        given = part, number, embeddings, vectors, k, floor, device, space
        if rough.goes_by_rows(len(vectors), device):
            chosen = _choose(*given)
        else:  # in a thread of its own, which alone is sure to run torch on one thread
            with one_torch_thread(), ThreadPoolExecutor(1) as pool:
                chosen = pool.submit(_choose, *given).result()
    together.learn(number, chosen.lower)
    return chosen


def _choose(part, number: int, embeddings, vectors, k: int, floor, device, space) -> Chosen:
    parts = [slice(at, at + QUERIES) for at in range(0, len(vectors), QUERIES)]
    lots = [_Lot(vectors[s], number, k, embeddings, floor[s], device, space) for s in parts]
    most = ROWS if rough.goes_by_rows(len(vectors), device) else min(ROWS, COPIED)
    step = min(most, max(2048, HELD // min(QUERIES, max(1, len(vectors)))))
    searched, unscored, dtype = 0, 0, embeddings.dtype
    for shard, rows in runs(part):
        for at in range(0, len(rows), step):
            here = rows[at : at + step]
            x, scale = embeddings.read_scaled(shard, here)
            x, bad = x.astype(dtype, copy=False), 0
            if scale is not None:
                bad = int(np.count_nonzero(np.isnan(scale)))
            for lot in lots:
                lot.add(x, scale, shard, here)
            searched, unscored = searched + len(here) - bad, unscored + bad
    found = [lot.candidates(some.start) for lot, some in zip(lots, parts, strict=True)]
    return Chosen(
        Pairs.join([pairs for pairs, _, _ in found]),
        np.concatenate([np.empty(0, np.float32), *(upper for _, upper, _ in found)]),
        np.concatenate([np.empty((0, k), np.float32), *(lower for _, _, lower in found)]),
        searched,
        unscored,
    )


class _Lot:
    """The candidates of some queries, block by block."""

    def __init__(
        self,
        vectors: np.ndarray,
        number: int,
        k: int,
        embeddings: Embeddings,
        floor: np.ndarray,
        device: str,
        space: Space,
    ) -> None:
        self._vectors, self._number, self._k = vectors, number, k
        self._embeddings, self._space = embeddings, space
        if rough.goes_by_rows(len(vectors), device):
            self._rough = rough.RowByRow(vectors, embeddings.dtype, space)
        else:
            self._rough = rough.ByMatrix(vectors, device, space)
        #: (queries,) float32: the least rough cosine that will do, as far as is known.
        self._cut = np.maximum(self._rough.bound.reach(floor), _LEAST)
        self._pending = max(1 << 20, PENDING * k * len(vectors))
        self._found: list[tuple[Pairs, np.ndarray]] = []
        self._best = np.full((len(vectors), k), -np.inf, np.float32)

    def add(self, x: np.ndarray, scale, shard: int, rows: np.ndarray | range) -> None:
        """Look at a block: its rows, and what brings each to length one, as `fill` takes both."""
        # Groups must be many more than k, or their best would say little of the k-th best row.
        group = GROUP
        while group > 1 and len(rows) < 4 * self._k * group:
            group //= 2
        width = -(-len(rows) // group)
        scores = self._rough.room(width * group)
        self._rough.fill(x, scale, scores)
        scores[:, len(rows) :] = -np.inf
        # Row i is in group i % width, so that equal rows, which often lie together, are apart.
        lines = scores.reshape(len(scores), group, width)
        tops = self._rough.tops(lines, self._cut.min(initial=np.inf))
        query, position, cosine = self._over(lines, tops)
        n = len(query)
        row = position + rows.start if isinstance(rows, range) else rows[position]
        where = np.full(n, shard, np.int32), row, np.full(n, self._number, np.int32)
        self._found.append((Pairs(query, *where), cosine))
        if sum(len(pairs) for pairs, _ in self._found) > self._pending:
            self._settle()

    def _over(self, lines, tops: np.ndarray):
        """(query, position in the block, rough cosine) of all that reach the cut."""
        width = tops.shape[1]
        if (self._cut == _LEAST).any():  # not yet k rows for every query: all groups count
            self._learn(tops)
            query, which = np.divmod(_at_least(tops, self._cut), width)
        else:
            query, which = np.divmod(_at_least(tops, self._cut), width)
            self._learn(_in_lines(query, tops[query, which], len(tops)))
            kept = tops[query, which] >= self._cut[query]
            query, which = query[kept], which[kept]
        members = self._rough.members(lines, query, which)
        at, member = np.divmod(_at_least(members, self._cut[query]), members.shape[1])
        return query[at].astype(np.int32), which[at] + member * width, members[at, member]

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


def _in_lines(query: np.ndarray, values: np.ndarray, m: int) -> np.ndarray:
    """Values by their queries, which ascend, as (m, most of one query); -inf fills the lines."""
    counts = np.bincount(query, minlength=m)
    lines = np.full((m, counts.max(initial=0)), -np.inf, np.float32)
    lines[query, np.arange(len(query)) - (np.cumsum(counts) - counts)[query]] = values
    return lines


def _at_least(values: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Where, counted through, a line reaches its cut."""
    return np.flatnonzero(values >= cut[:, None])
