"""The rows nearest to each query, scored exactly and cut to k once; independent of Dask.

`select_candidates` finds, in every partition, the rows that may be among the k best, by cosines
with known error bounds. The candidates of all partitions are scored here in float64, row by row,
and only then cut to k. So the answer equals that of a loop in float64: it does not depend on
partitions, blocks, devices or workers. Cosines stay in float64 until they are sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.io.embeddings.row_ids import duplicate_rows_error
from laion_dask.numerics.dot_products import cosines
from laion_dask.retrieval.exact.pairs import Candidates, Hits, Pairs, k_greatest
from laion_dask.retrieval.exact.shared_state import ScratchPool, SearchState
from laion_dask.runtime import cancellation

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Pairs scored at a time: 6 MiB of float32 for the rows, and for the queries, at 768 dimensions.
_PAIRS = 2048


def merge(several: Sequence[Candidates], embeddings: Embeddings, vectors: np.ndarray) -> Candidates:
    """The candidates of several partitions that may still be among the k best of all of them."""
    k = several[0].lower.shape[1]
    lower = k_greatest(np.concatenate([c.lower for c in several], axis=1), k)
    kth = lower.min(axis=1)
    kept = [c.upper >= kth[c.pairs.query] for c in several]
    pairs = Pairs.join([c.pairs.take(mask) for c, mask in zip(several, kept, strict=True)])
    upper = np.concatenate([c.upper[mask] for c, mask in zip(several, kept, strict=True)])
    kept_pairs = pairs_to_keep(pairs, embeddings, vectors, k)
    searched, unscored = (sum(getattr(c, n) for c in several) for n in ("searched", "unscored"))
    return Candidates(pairs.take(kept_pairs), upper[kept_pairs], lower, searched, unscored)


def pairs_to_keep(
    pairs: Pairs,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    scratch: ScratchPool | None = None,
):
    """Indices of the pairs to keep; O(k) per query even when many rows are identical.

    All pairs, unless there are far more than k per query, for example because an image occurs a
    thousand times; in that case, exact cosines are computed first. k + 1 pairs are kept, to show
    whether the k-th row has a copy in another partition.
    """
    if len(pairs) <= 8 * k * len(vectors) + _PAIRS:
        return slice(None)
    return order(pairs, score_pairs(pairs, embeddings, vectors, scratch), k + 1)[0]


def sort_by_query(candidates: Candidates, number: int) -> Candidates:
    """The same candidates, ordered by query."""
    at = np.argsort(candidates.pairs.query, kind="stable")
    return replace(candidates, pairs=candidates.pairs.take(at), upper=candidates.upper[at])


def best(
    pairs: Pairs,
    upper: np.ndarray,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    scratch: ScratchPool | None = None,
) -> Hits:
    """The k best pairs of each query by exact cosine.

    The k with the greatest upper bounds are scored first. Any other pair whose upper bound is below
    the k-th of these scores cannot be among the best, and is not scored.

    Parameters
    ----------
    pairs : Pairs
    upper : (n,) float32 array
        Upper bound of the cosine of each pair; inf if unknown.
    embeddings : Embeddings
    vectors : (m, dim) float32 array
        Unit norm.
    k : int
    scratch : ScratchPool, optional

    Raises
    ------
    ProvenanceError
        When a row is among the best twice, so the frame contains it more than once.
    """
    if len(pairs) <= _PAIRS:
        return _truncate(pairs, score_pairs(pairs, embeddings, vectors, scratch), k)
    cosine = np.full(len(pairs), np.nan)
    first, rank = order(pairs, upper, k)
    cosine[first] = score_pairs(pairs.take(first), embeddings, vectors, scratch)
    lowest = np.full(len(vectors), -np.inf, np.float32)
    starts = np.flatnonzero(rank == 0)
    is_full = np.diff([*starts, len(first)]) == k
    if is_full.any():
        of_query = np.minimum.reduceat(cosine[first], starts)[is_full]
        lowest[pairs.query[first[starts[is_full]]]] = (
            of_query  # a NaN bound does not exclude any pair
        )
    is_possible = ~(upper < lowest[pairs.query])
    is_possible[first] = False
    remaining = np.flatnonzero(is_possible)
    cosine[remaining] = score_pairs(pairs.take(remaining), embeddings, vectors, scratch)
    return _truncate(pairs, cosine, k)


def best_of_queries(
    span: tuple[int, int],
    number: int,
    candidates: Candidates,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    state: SearchState,
) -> Hits:
    """`best` for the candidates of queries ``span[0]`` to ``span[1]``, the latter excluded.

    Unless that is every query, the candidates must be ordered by `sort_by_query`.
    """
    is_all = span == (0, len(vectors))
    selection = slice(None) if is_all else slice(*np.searchsorted(candidates.pairs.query, span))
    pairs = candidates.pairs.take(selection)
    pairs = replace(pairs, query=pairs.query - np.int32(span[0]))
    with state.scratch() as scratch:
        hits = best(
            pairs, candidates.upper[selection], embeddings, vectors[slice(*span)], k, scratch
        )
    hits = replace(hits, searched=candidates.searched, unscored=candidates.unscored)
    return hits.renumbered(np.arange(*span))


def _truncate(pairs: Pairs, cosine: np.ndarray, k: int) -> Hits:
    """The k best pairs; raises if one of the first k + 1 is a copy of the one before."""
    positions, rank = order(pairs, cosine, k + 1)
    best_pairs = pairs.take(positions)
    same = np.ones(max(0, len(best_pairs) - 1), bool)
    for values in (best_pairs.query, best_pairs.shard, best_pairs.row):
        same &= values[1:] == values[:-1]
    if same.any():
        raise duplicate_rows_error()
    kept = rank < k
    return Hits(best_pairs.take(kept), rank[kept], cosine[positions[kept]].astype(np.float32))


def score_pairs(
    pairs: Pairs, embeddings: Embeddings, vectors: np.ndarray, scratch: ScratchPool | None = None
) -> np.ndarray:
    """The exact cosine of each pair, computed row by row with `dot_products.cosines`.

    Parameters
    ----------
    pairs : Pairs
    embeddings : Embeddings
    vectors : (m, dim) float32 array
    scratch : ScratchPool, optional

    Returns
    -------
    (n,) float64
        In [-1, 1]; NaN for a row without direction.
    """
    out = np.empty(len(pairs), np.float64)
    by_row = np.lexsort((pairs.row, pairs.shard))
    max_rows = min(_PAIRS, len(pairs))
    scratch, dim, dtype = scratch or ScratchPool(), vectors.shape[1], embeddings.dtype
    query_vectors = scratch.array("wanted", max_rows * dim).reshape(max_rows, dim)
    rows_of = scratch.array("rows of", max_rows * dim, dtype).reshape(max_rows, dim)
    for at in range(0, len(pairs), _PAIRS):
        cancellation.check()
        chunk = by_row[at : at + _PAIRS]
        n = len(chunk)
        _read_into(rows_of[:n], pairs.shard[chunk], pairs.row[chunk], embeddings)
        np.take(vectors, pairs.query[chunk], axis=0, out=query_vectors[:n], mode="clip")
        out[chunk] = cosines(rows_of[:n], query_vectors[:n])
    return out


def _read_into(out: np.ndarray, shard: np.ndarray, row: np.ndarray, embeddings) -> None:
    """Read the embeddings of ascending rows into ``out``, (n, dim), each row once."""
    starts = np.flatnonzero(np.diff(shard, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(shard)], strict=True):
        rows = row[start:stop]
        new = np.diff(rows, prepend=-1) != 0
        x = embeddings.read(int(shard[start]), rows[new]).astype(out.dtype, copy=False)
        np.take(x, np.cumsum(new) - 1, axis=0, out=out[start:stop], mode="clip")


def order(pairs: Pairs, cosine: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best pairs of each query: positions ordered by query and rank, and ranks from 0.

    Ties, at the precision of the given cosines, go to the smaller (shard, row). A pair whose cosine
    is NaN is never returned.
    """
    scored = np.flatnonzero(~np.isnan(cosine))
    query = pairs.query[scored]
    # One integer that increases with the query and, within a query, as the cosine decreases, up to
    # ties in float32. The bits of floats increase with magnitude, so the bits of positive floats
    # are inverted.
    bits = (cosine[scored].astype(np.float32) + np.float32(0)).view(np.uint32)
    falling = np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF)).astype(np.int64)
    key = (query.astype(np.int64) << 32) | falling
    falls = np.argsort(key, kind="stable")
    # For each query, select those at least as good as the k-th; then sort these few completely.
    stops = np.flatnonzero(np.diff(query[falls], append=-1)) + 1
    counts = np.diff(stops, prepend=0)
    kth = np.repeat(key[falls[np.minimum(stops - counts + k, stops) - 1]], counts)
    falls = falls[key[falls] <= kth]
    kept = scored[falls]
    by = pairs.row[kept], pairs.shard[kept], -cosine[kept], pairs.query[kept]
    final = kept[np.lexsort(by)]
    query = pairs.query[final]
    rank = np.arange(len(final)) - np.searchsorted(query, query)
    return final[rank < k], rank[rank < k]
