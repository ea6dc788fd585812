"""Nearest rows from an approximate index, whose candidates are scored exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from laion_dask.errors import must_be
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.retrieval import fetch
from laion_dask.retrieval.exact.pairs import Hits, Pairs, pairs_in_partition

#: Candidates held at a time for all queries together, at about 60 bytes each.
_MAX_CANDIDATES = 10_000_000
#: The candidates per query are limited to the larger of 64 per result and 100,000.
_PER_RESULT, _PER_QUERY = 64, 100_000


@runtime_checkable
class _Index(Protocol):
    """The methods of an index that `search` calls; see `laion_dask.retrieval.index.index.Index`."""

    def check(self, embeddings: Embeddings) -> None: ...

    def n_candidates(self, k: int) -> int: ...

    def candidates(self, queries: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]: ...


def check(index) -> None:
    """Raise unless ``index`` is an Index or None."""
    if index is not None:
        must_be("index", index, _Index, "what ld.open_index(...) returns")


def nearest(
    provenance: Provenance,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    index,
    best: Callable,
) -> Hits:
    """The k nearest rows of a frame to each query among the candidates of an index. Eager.

    Queries with fewer than k results are retried with four times as many candidates, until they
    have k results, the index has no more candidates, or the limit is reached.

    Parameters
    ----------
    provenance : Provenance
        Provenance of the frame.
    embeddings : Embeddings
        Embeddings in the order of the frame's shards.
    vectors : (m, dim) float32 array
        Unit norm.
    k : int
    index : Index
    best : callable
        ``best(pairs, embeddings, vectors, k)`` returns the k best pairs as Hits.
    """
    index.check(embeddings)
    n = index.n_candidates(k)
    limit = min(max(1, len(embeddings)), max(n, _PER_RESULT * k, _PER_QUERY))
    remaining, results = np.arange(len(vectors), dtype=np.int32), []
    while len(remaining):
        n, step, retry = min(n, limit), max(1, _MAX_CANDIDATES // min(n, limit)), []
        for at in range(0, len(remaining), step):
            batch = remaining[at : at + step]
            pairs, is_unfinished = _proposed(provenance, index, vectors[batch], n)
            hits = best(pairs, embeddings, vectors[batch], k)
            short = np.bincount(hits.pairs.query, minlength=len(batch)) < k
            short &= is_unfinished & (n < limit)
            results.append(hits.renumbered(batch).take(~short[hits.pairs.query]))
            retry.append(batch[short])
        remaining, n = np.concatenate(retry), 4 * n
    hits = Hits.join(results)
    return hits.take(np.argsort(hits.pairs.query, kind="stable"))


def _proposed(
    provenance: Provenance, index, vectors: np.ndarray, n: int
) -> tuple[Pairs, np.ndarray]:
    """Up to n candidates per query that are in the frame, and which queries may have more."""
    shard, row = index.candidates(vectors, n)
    is_valid = shard >= 0
    query = np.nonzero(is_valid)[0].astype(np.int32)
    number = np.zeros(len(query), np.int32)
    pairs = Pairs(query, shard[is_valid], row[is_valid], number)
    return fetch.within(provenance, pairs, pairs_in_partition), is_valid.all(axis=1)
