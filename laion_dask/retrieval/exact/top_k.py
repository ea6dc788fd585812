"""The rows nearest to each query: scored exactly, cut once, in one order; no Dask in sight.

`kernels.choose` finds, in every partition, the rows that can still be among the k best, by cosines
whose error is bounded. What is left of all partitions is scored here in float64, row by row, and
only then cut to k. So the answer is that of a loop in float64: it does not depend on partitions,
blocks, devices or workers. Cosines stay in float64 until they are in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.io.embeddings.row_ids import multiplied
from laion_dask.numerics.dot_products import cosines
from laion_dask.retrieval.exact.pairs import Chosen, Found, Pairs, greatest
from laion_dask.retrieval.exact.shared_state import Space, Together
from laion_dask.runtime import cancellation

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Pairs of a row and a query that are scored at a time: 6 MiB of float32 a side at 768 dimensions.
_PAIRS = 2048


def merge(several: Sequence[Chosen], embeddings: Embeddings, vectors: np.ndarray) -> Chosen:
    """What is left of the rows that were chosen in several partitions."""
    k = several[0].lower.shape[1]
    lower = greatest(np.concatenate([c.lower for c in several], axis=1), k)
    kth = lower.min(axis=1)
    kept = [c.upper >= kth[c.pairs.query] for c in several]
    pairs = Pairs.join([c.pairs.take(mask) for c, mask in zip(several, kept, strict=True)])
    upper = np.concatenate([c.upper[mask] for c, mask in zip(several, kept, strict=True)])
    few = settled(pairs, embeddings, vectors, k)
    searched, unscored = (sum(getattr(c, n) for c in several) for n in ("searched", "unscored"))
    return Chosen(pairs.take(few), upper[few], lower, searched, unscored)


def settled(
    pairs: Pairs,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    space: Space | None = None,
):
    """Positions of the pairs that are worth keeping, which no number of equal rows makes many.

    All of them, unless there are far more than k a query, as where a picture is there a thousand
    times; then the exact cosines decide at once. One more than k are kept, which shows whether the
    k-th row has a copy in another partition.
    """
    if len(pairs) <= 8 * k * len(vectors) + _PAIRS:
        return slice(None)
    return order(pairs, score_pairs(pairs, embeddings, vectors, space), k + 1)[0]


def by_query(chosen: Chosen, number: int) -> Chosen:
    """The same, pairs in the order of their queries."""
    at = np.argsort(chosen.pairs.query, kind="stable")
    return replace(chosen, pairs=chosen.pairs.take(at), upper=chosen.upper[at])


def best(
    pairs: Pairs,
    upper: np.ndarray,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    space: Space | None = None,
) -> Found:
    """The k best pairs of each query by exact cosine.

    The k that promise most are scored first. The least of theirs is what every other row must be
    able to reach, which most are not.

    Parameters
    ----------
    pairs : Pairs
    upper : (n,) float32 array
        What the cosine of each pair is at most; inf says nothing of it.
    embeddings : Embeddings
    vectors : (m, dim) float32 array
        Of length one.
    k : int
    space : Space, optional

    Raises
    ------
    ProvenanceError
        When a row is among the best twice: the frame has it several times.
    """
    if len(pairs) <= _PAIRS:
        return _cut(pairs, score_pairs(pairs, embeddings, vectors, space), k)
    cosine = np.full(len(pairs), np.nan)
    first, rank = order(pairs, upper, k)
    cosine[first] = score_pairs(pairs.take(first), embeddings, vectors, space)
    least = np.full(len(vectors), -np.inf, np.float32)
    starts = np.flatnonzero(rank == 0)
    whole = np.diff([*starts, len(first)]) == k
    if whole.any():
        of_query = np.minimum.reduceat(cosine[first], starts)[whole]
        least[pairs.query[first[starts[whole]]]] = of_query  # NaN leaves nothing out
    able = ~(upper < least[pairs.query])
    able[first] = False
    rest = np.flatnonzero(able)
    cosine[rest] = score_pairs(pairs.take(rest), embeddings, vectors, space)
    return _cut(pairs, cosine, k)


def best_of(
    span: tuple[int, int],
    number: int,
    chosen: Chosen,
    embeddings: Embeddings,
    vectors: np.ndarray,
    k: int,
    together: Together,
) -> Found:
    """`best` of the queries from ``span[0]`` to before ``span[1]``, of all that were chosen.

    Unless that is every query, they come in the order of `by_query`.
    """
    every = span == (0, len(vectors))
    mine = slice(None) if every else slice(*np.searchsorted(chosen.pairs.query, span))
    pairs = chosen.pairs.take(mine)
    pairs = replace(pairs, query=pairs.query - np.int32(span[0]))
    with together.space() as space:
        found = best(pairs, chosen.upper[mine], embeddings, vectors[slice(*span)], k, space)
    found = replace(found, searched=chosen.searched, unscored=chosen.unscored)
    return found.numbered(np.arange(*span))


def _cut(pairs: Pairs, cosine: np.ndarray, k: int) -> Found:
    """The k best; one more is looked at, since the k-th may be the first of two copies."""
    at, rank = order(pairs, cosine, k + 1)
    found = pairs.take(at)
    same = np.ones(max(0, len(found) - 1), bool)
    for values in (found.query, found.shard, found.row):
        same &= values[1:] == values[:-1]
    if same.any():
        raise multiplied()
    kept = rank < k
    return Found(found.take(kept), rank[kept], cosine[at[kept]].astype(np.float32))


def score_pairs(
    pairs: Pairs, embeddings: Embeddings, vectors: np.ndarray, space: Space | None = None
) -> np.ndarray:
    """The exact cosine of each pair, `products.cosines` of every row alone.

    Parameters
    ----------
    pairs : Pairs
    embeddings : Embeddings
    vectors : (m, dim) float32 array
    space : Space, optional

    Returns
    -------
    (n,) float64
        In [-1, 1]; NaN for a row without direction.
    """
    out = np.empty(len(pairs), np.float64)
    by_row = np.lexsort((pairs.row, pairs.shard))
    most = min(_PAIRS, len(pairs))
    space, dim, dtype = space or Space(), vectors.shape[1], embeddings.dtype
    wanted = space.array("wanted", most * dim).reshape(most, dim)
    rows_of = space.array("rows of", most * dim, dtype).reshape(most, dim)
    for at in range(0, len(pairs), _PAIRS):
        cancellation.check()
        some = by_row[at : at + _PAIRS]
        n = len(some)
        _read_into(rows_of[:n], pairs.shard[some], pairs.row[some], embeddings)
        np.take(vectors, pairs.query[some], axis=0, out=wanted[:n], mode="clip")
        out[some] = cosines(rows_of[:n], wanted[:n])
    return out


def _read_into(out: np.ndarray, shard: np.ndarray, row: np.ndarray, embeddings) -> None:
    """The embeddings of rows that are in order, each read once; (n, dim)."""
    starts = np.flatnonzero(np.diff(shard, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(shard)], strict=True):
        wanted = row[start:stop]
        new = np.diff(wanted, prepend=-1) != 0
        x = embeddings.read(int(shard[start]), wanted[new]).astype(out.dtype, copy=False)
        np.take(x, np.cumsum(new) - 1, axis=0, out=out[start:stop], mode="clip")


def order(pairs: Pairs, cosine: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best pairs of each query: their positions, by query and rank, and their ranks from 0.

    Ties, in the digits that the cosines are given in, go to the smaller (shard, row). A pair whose
    cosine is NaN is never among them.
    """
    known = np.flatnonzero(~np.isnan(cosine))
    query = pairs.query[known]
    # One integer that grows with the query, and within it as the cosine falls, but for cosines
    # that are equal in float32: bits of floats grow with their size, so those of negative ones
    # are turned round.
    bits = (cosine[known].astype(np.float32) + np.float32(0)).view(np.uint32)
    falling = np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF)).astype(np.int64)
    key = (query.astype(np.int64) << 32) | falling
    falls = np.argsort(key, kind="stable")
    # Of each query those at least as good as the k-th, then these few in full order.
    stops = np.flatnonzero(np.diff(query[falls], append=-1)) + 1
    counts = np.diff(stops, prepend=0)
    kth = np.repeat(key[falls[np.minimum(stops - counts + k, stops) - 1]], counts)
    falls = falls[key[falls] <= kth]
    kept = known[falls]
    by = pairs.row[kept], pairs.shard[kept], -cosine[kept], pairs.query[kept]
    final = kept[np.lexsort(by)]
    query = pairs.query[final]
    rank = np.arange(len(final)) - np.searchsorted(query, query)
    return final[rank < k], rank[rank < k]
