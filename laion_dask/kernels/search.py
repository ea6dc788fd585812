"""The rows nearest to each query: scored exactly, cut once, in one order; no Dask in sight.

`kernels.choose` finds, in every partition, the rows that can still be among the k best, by cosines
whose error is bounded. What is left of all partitions is scored here in float64, row by row, and
only then cut to k. So the answer is that of a loop in float64: it does not depend on partitions,
blocks, devices or workers. Cosines stay in float64 until they are in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.backend import to_numpy
from laion_dask.errors import ProvenanceError
from laion_dask.products import widen

if TYPE_CHECKING:
    from laion_dask.io.embeddings import Embeddings

#: Pairs of a row and a query that are scored at a time: 6 MiB of float32 a side at 768 dimensions.
_PAIRS = 2048
#: Of these, as many as stay in a core's cache while products are taken.
_FEW = 256


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
        there are fewer rows.
    searched, unscored : int
        Rows with a direction, and without.
    """

    pairs: Pairs
    upper: np.ndarray
    lower: np.ndarray
    searched: int
    unscored: int


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


def settled(pairs: Pairs, embeddings: Embeddings, vectors: np.ndarray, k: int):
    """Positions of the pairs that are worth keeping, which no number of equal rows makes many.

    All of them, unless there are far more than k a query, as where a picture is there a thousand
    times; then the exact cosines decide at once. One more than k are kept, which shows whether the
    k-th row has a copy in another partition.
    """
    if len(pairs) <= 8 * k * len(vectors) + _PAIRS:
        return slice(None)
    return order(pairs, score_pairs(pairs, embeddings, vectors), k + 1)[0]


def greatest(values: np.ndarray, k: int) -> np.ndarray:
    """The k greatest of each line, in no order; (m, k) of (m, at least k)."""
    n = values.shape[1]
    return values if n == k else np.partition(values, n - k, axis=1)[:, n - k :]


def score_pairs(pairs: Pairs, embeddings: Embeddings, vectors: np.ndarray) -> np.ndarray:
    """The exact cosine of each pair, in float64, every row alone.

    Rounded to float32 it is what `products.cosines` gives.

    Parameters
    ----------
    pairs : Pairs
    embeddings : Embeddings
    vectors : (m, dim) float32 array

    Returns
    -------
    (n,) float64
        In [-1, 1]; NaN for a row without direction.
    """
    out = np.empty(len(pairs), np.float64)
    by_row = np.lexsort((pairs.row, pairs.shard))
    ends = np.flatnonzero(np.diff(pairs.shard[by_row])) + 1
    for here in np.split(by_row, ends) if len(by_row) else ():
        for at in range(0, len(here), _PAIRS):
            some = here[at : at + _PAIRS]
            rows, which = np.unique(pairs.row[some], return_inverse=True)
            x = embeddings.read(int(pairs.shard[some[0]]), rows)
            for few in (slice(i, i + _FEW) for i in range(0, len(some), _FEW)):
                out[some[few]] = _cosines(x[which[few]], vectors[pairs.query[some[few]]])
    return out


def _cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) float64: the cosines of rows with a row of float32 each."""
    import numkong

    wide = np.empty(x.shape, np.float32)
    widen(x, wide)
    two = (wide, y), (wide, wide), (y, y)
    dots, lengths, others = (np.asarray(numkong.dot(*each)) for each in two)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(dots / (np.sqrt(lengths) * np.sqrt(others)), -1, 1)


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
    start = np.searchsorted(query[falls], query[falls])
    stop = np.searchsorted(query[falls], query[falls], side="right")
    kth = key[falls[np.minimum(start + k, stop) - 1]]
    falls = falls[key[falls] <= kth]
    kept = known[falls]
    by = pairs.row[kept], pairs.shard[kept], -cosine[kept], pairs.query[kept]
    final = kept[np.lexsort(by)]
    query = pairs.query[final]
    rank = np.arange(len(final)) - np.searchsorted(query, query)
    return final[rank < k], rank[rank < k]


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


def _is_among(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether each row is one of others, which ascend."""
    at = np.minimum(np.searchsorted(rows, row), len(rows) - 1)
    return rows[at] == row


def runs(part) -> Iterator[tuple[int, np.ndarray]]:
    """A partition's rows shard by shard: (shard, rows ascending, each once); none are empty.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``, or (shard, start, stop)

    Raises
    ------
    ProvenanceError
        When a row is there twice, or has no shard or no number.
    """
    if isinstance(part, tuple):
        shard, start, stop = part
        if stop > start:
            yield shard, np.arange(start, stop)
        return
    shards, rows = _places(part, "shard"), _places(part, "row")
    for shard in np.unique(shards):
        here = rows[shards == shard]
        once = np.unique(here)
        if len(once) < len(here):
            raise multiplied()
        yield int(shard), once


def _places(part, name: str) -> np.ndarray:
    """The shards or rows of a partition; a merge may have made floats of them."""
    missing = int(part[name].isna().sum())
    if missing:
        raise ProvenanceError(
            f"{missing:,} rows of a partition have no {name!r}: an outer merge or a concat has "
            "added rows that are in no shard. Merge with how='left' or 'inner', or leave them out "
            "with frame.dropna(subset=['shard', 'row'])."
        )
    values = to_numpy(part[name])
    return values if values.dtype.kind in "iu" else values.astype(np.int64)


def multiplied() -> ProvenanceError:
    """The error for a row that a frame has more than once."""
    return ProvenanceError(
        "The frame has the same row several times: a merge or a concat has multiplied rows, so "
        "the nearest cannot be counted off. Search first, and merge what was found."
    )
