"""The rows of one partition that can be among the k nearest to each query."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.backend import gpu_count
from laion_dask.io.embeddings.vector_blocks import scaled_blocks
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.retrieval.exact import bounded_cosines
from laion_dask.retrieval.exact.candidates_gpu import select_candidates_on
from laion_dask.retrieval.exact.int8_batch import ROWS, Int8QueryBatch, uses_int8
from laion_dask.retrieval.exact.int8_rows import EncodedQueries
from laion_dask.retrieval.exact.pairs import Candidates
from laion_dask.retrieval.exact.query_batch import (
    LOWEST,
    QUERIES_PER_BATCH,
    QueryBatch,
    join_batches,
)
from laion_dask.retrieval.exact.shared_state import SearchState
from laion_dask.runtime import cancellation

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Cosines held at a time (rows times queries), and the most rows at a time.
MAX_COSINES, MAX_ROWS = 1 << 24, 1 << 17
#: Maximum number of rows at a time when they are converted to the narrow dtype of a matrix product.
MAX_CONVERTED_ROWS = 1 << 15
#: Rows per group. Only the maximum cosine of a group is compared, until it reaches the threshold.
GROUP = 16


def select_candidates(
    partition,
    number: int,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    state: SearchState | None = None,
) -> Candidates:
    """The rows of one partition that can be among the k nearest to each query.

    Parameters
    ----------
    partition : frame with ``shard`` and ``row``, or tuple of (shard, start, stop)
    number : int
        Number of the partition.
    embeddings : Embeddings
    vectors : (m, dim) float32 array
        Unit norm.
    k : int
    state : SearchState, optional
        Shared by the tasks of a search.
    """
    state = state or SearchState()
    floor = state.floor(len(vectors))
    with state.scratch() as scratch:
        arguments = partition, number, embeddings, vectors, k, floor, scratch
        if gpu_count():
            candidates = select_candidates_on("cuda", *arguments, state.search)
        elif bounded_cosines.uses_gemv(len(vectors)):
            candidates = _select_on_cpu(*arguments, state)
        else:  # in a new thread: only new threads are sure to run torch on one thread
            with one_torch_thread(), ThreadPoolExecutor(1) as pool:
                candidates = pool.submit(
                    cancellation.carried(_select_on_cpu), *arguments, state
                ).result()
    state.add_bounds(number, candidates.lower)
    return candidates


def _select_on_cpu(
    partition, number: int, embeddings, vectors, k: int, floor, scratch, state: SearchState
) -> Candidates:
    batches: list[CpuQueryBatch | Int8QueryBatch] = []
    is_int8 = uses_int8(len(vectors), vectors.shape[1])
    for at in range(0, len(vectors), QUERIES_PER_BATCH):
        queries = slice(at, at + QUERIES_PER_BATCH)
        arguments = number, k, embeddings, floor[queries]
        if is_int8:
            encoded = state.once(("encoded", at), partial(EncodedQueries, vectors[queries]))
            exchange = partial(state.exchange, number, at)
            batches.append(Int8QueryBatch(encoded, *arguments, scratch, exchange))
        else:
            cosines = _bounded_cosines(vectors[queries], embeddings.dtype, scratch)
            batches.append(CpuQueryBatch(vectors[queries], *arguments, cosines, scratch))
    step = ROWS if is_int8 else _rows_at_a_time(len(vectors))
    searched, unscored = 0, 0
    for x, scale, shard, rows in scaled_blocks(partition, embeddings, step):
        n_undefined = 0 if scale is None else int(np.count_nonzero(np.isnan(scale)))
        for batch in batches:
            cancellation.check()
            batch.add(x, scale, shard, rows)
        searched, unscored = searched + len(rows) - n_undefined, unscored + n_undefined
    return join_batches(batches, k, searched, unscored)


def _bounded_cosines(vectors: np.ndarray, dtype: str, scratch):
    if bounded_cosines.uses_gemv(len(vectors)):
        return bounded_cosines.GemvCosines(vectors, dtype, scratch)
    return bounded_cosines.GemmCosines(vectors, scratch)


def _rows_at_a_time(m: int) -> int:
    max_rows = MAX_ROWS if bounded_cosines.uses_gemv(m) else min(MAX_ROWS, MAX_CONVERTED_ROWS)
    return min(max_rows, max(2048, MAX_COSINES // min(QUERIES_PER_BATCH, max(1, m))))


class CpuQueryBatch(QueryBatch):
    """A query batch whose rows are in main memory."""

    def add(self, x: np.ndarray, scale, shard: int | np.ndarray, rows: np.ndarray | range) -> None:
        """Add a block: its rows and their scales, as `compute` accepts them."""
        # With few groups, the k-th best group maximum would say little about the k-th best row.
        group = GROUP
        while group > 1 and len(rows) < 4 * self._k * group:
            group //= 2
        width = -(-len(rows) // group)
        scores = self._cosines.allocate(width * group)
        self._cosines.compute(x, scale, scores)
        scores[:, len(rows) :] = -np.inf
        # Row i is in group i % width, which separates equal rows, as these are often adjacent.
        lines = scores.reshape(len(scores), group, width)
        tops = self._cosines.group_max(lines, self._threshold.min(initial=np.inf))
        query, position, cosine = self._reaching(lines, tops)
        self._hold(query, position, cosine, shard, rows)

    def _reaching(self, lines, tops: np.ndarray):
        """(query, position in the block, approximate cosine) of all rows above the threshold."""
        width = tops.shape[1]
        if (
            self._threshold == LOWEST
        ).any():  # some queries have fewer than k rows so far: use all groups
            self._raise_threshold(tops)
            query, group = np.divmod(_flat_indices_reaching(tops, self._threshold), width)
        else:
            query, group = np.divmod(_flat_indices_reaching(tops, self._threshold), width)
            self._raise_threshold(_in_lines(query, tops[query, group], len(tops)))
            kept = tops[query, group] >= self._threshold[query]
            query, group = query[kept], group[kept]
        members = self._cosines.group_rows(lines, query, group)
        at, member = np.divmod(
            _flat_indices_reaching(members, self._threshold[query]), members.shape[1]
        )
        return query[at].astype(np.int32), group[at] + member * width, members[at, member]


def _in_lines(query: np.ndarray, values: np.ndarray, m: int) -> np.ndarray:
    """Values by ascending query as a matrix (m, most values per query), padded with -inf."""
    counts = np.bincount(query, minlength=m)
    lines = np.full((m, counts.max(initial=0)), -np.inf, np.float32)
    lines[query, np.arange(len(query)) - (np.cumsum(counts) - counts)[query]] = values
    return lines


def _flat_indices_reaching(values: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Flat indices of the entries that reach their row's threshold."""
    return np.flatnonzero(values >= cut[:, None])
