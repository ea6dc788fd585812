"""The rows of one partition that can be among the k nearest to each query."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.backend import gpu_count
from laion_dask.io.embeddings.row_ids import runs
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.retrieval.exact import bounded_cosines
from laion_dask.retrieval.exact.candidates_gpu import choose_on
from laion_dask.retrieval.exact.pairs import Chosen
from laion_dask.retrieval.exact.query_batch import LEAST, QUERIES, Lot, chosen
from laion_dask.retrieval.exact.shared_state import Together
from laion_dask.runtime import cancellation

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Cosines that are held at a time, rows times queries, and the most rows of these.
HELD, ROWS = 1 << 24, 1 << 17
#: The most rows where a copy is made of them, in the narrow numbers that a matrix product takes.
COPIED = 1 << 15
#: Rows a group: of a group only the best cosine is looked at, until that one is good enough.
GROUP = 16


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
    together = together or Together()
    floor = together.floor(len(vectors))
    with together.space() as space:
        given = part, number, embeddings, vectors, k, floor, space
        if gpu_count():
            found = choose_on("cuda", *given, together.search)
        elif bounded_cosines.goes_by_rows(len(vectors)):
            found = _choose(*given)
        else:  # in a thread of its own, which alone is sure to run torch on one thread
            with one_torch_thread(), ThreadPoolExecutor(1) as pool:
                found = pool.submit(cancellation.carried(_choose), *given).result()
    together.learn(number, found.lower)
    return found


def _choose(part, number: int, embeddings, vectors, k: int, floor, space) -> Chosen:
    lots = []
    for at in range(0, len(vectors), QUERIES):
        some = slice(at, at + QUERIES)
        rough_of = _rough(vectors[some], embeddings.dtype, space)
        lots.append(_Lot(vectors[some], number, k, embeddings, floor[some], rough_of, space))
    most = ROWS if bounded_cosines.goes_by_rows(len(vectors)) else min(ROWS, COPIED)
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
                cancellation.check()
                lot.add(x, scale, shard, here)
            searched, unscored = searched + len(here) - bad, unscored + bad
    return chosen(lots, k, searched, unscored)


def _rough(vectors: np.ndarray, dtype: str, space):
    if bounded_cosines.goes_by_rows(len(vectors)):
        return bounded_cosines.RowByRow(vectors, dtype, space)
    return bounded_cosines.ByMatrix(vectors, space)


class _Lot(Lot):
    """A lot whose rows are in main memory."""

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
        self._keep(query, position, cosine, shard, rows)

    def _over(self, lines, tops: np.ndarray):
        """(query, position in the block, rough cosine) of all that reach the cut."""
        width = tops.shape[1]
        if (self._cut == LEAST).any():  # not yet k rows for every query: all groups count
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


def _in_lines(query: np.ndarray, values: np.ndarray, m: int) -> np.ndarray:
    """Values by their queries, which ascend, as (m, most of one query); -inf fills the lines."""
    counts = np.bincount(query, minlength=m)
    lines = np.full((m, counts.max(initial=0)), -np.inf, np.float32)
    lines[query, np.arange(len(query)) - (np.cumsum(counts) - counts)[query]] = values
    return lines


def _at_least(values: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Where, counted through, a line reaches its cut."""
    return np.flatnonzero(values >= cut[:, None])
