"""Rerank the results of a search with a second set of embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laion_dask.display.overview import Displayed
from laion_dask.errors import OptionError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.retrieval.exact.pairs import Hits, Pairs
from laion_dask.retrieval.exact.top_k import score_pairs
from laion_dask.runtime import graph
from laion_dask.scoring.queries import as_vectors

#: Pairs per scoring task.
_PAIRS_PER_TASK = 1 << 15


@dataclass(frozen=True)
class Rerank(Displayed):
    """Rerank the results of a search with other embeddings of the same rows.

    This can identify an exact image: find the nearest images by content, then the nearest of these
    by a second embedding that represents details (MindEye, Scotti et al. 2023, section 2.2,
    retrieves 16 LAION images by CLIP's last layer and then picks one).

    Attributes
    ----------
    embeddings : Embeddings
    query : as in `search`
        One query, or as many as in the search.
    take : int, optional
        Number of nearest rows to rerank; by default k, and at least k.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> texts = ld.open_embeddings("demo-corpus/embedded/text_emb", model="demo", like=frame)
    >>> second = ld.Rerank(texts, "a red star", take=20)
    >>> hits = frame.laion.search(images, "a red star", k=3, rerank=second)
    >>> list(hits["rank"])
    [1, 2, 3]
    """

    embeddings: Embeddings
    query: object
    take: int | None = None


def embeddings_and_vectors(
    rerank: Rerank, provenance: Provenance, m: int
) -> tuple[Embeddings, np.ndarray]:
    """The paired embeddings for reranking, and a query vector for each of m queries."""
    paired = rerank.embeddings.paired_with(provenance.shards)
    vectors = as_vectors(rerank.query, paired)
    if len(vectors) not in (1, m):
        raise OptionError(
            f"{m:,} queries were given, but {len(vectors):,} to rerank by. Give one, or one each."
        )
    return paired, vectors if len(vectors) == m else np.repeat(vectors, m, axis=0)


def _scored(pairs: Pairs, embeddings: Embeddings, vectors: np.ndarray) -> np.ndarray:
    """The exact cosines of pairs sorted by row; computed in this process if there are few."""
    if len(pairs) <= _PAIRS_PER_TASK:
        return score_pairs(pairs, embeddings, vectors)
    shared = graph.share(embeddings), graph.share(vectors)
    batches = [
        pairs.take(slice(at, at + _PAIRS_PER_TASK)) for at in range(0, len(pairs), _PAIRS_PER_TASK)
    ]
    scored = graph.tasks(_score_batch, batches, *shared)
    return np.concatenate(graph.compute(*scored, label="score"))


def _score_batch(pairs: Pairs, number: int, embeddings, vectors: np.ndarray) -> np.ndarray:
    return score_pairs(pairs, embeddings, vectors)


def reranked(
    hits: Hits, embeddings: Embeddings, vectors: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first k hits of each query after reranking: positions, ranks from 0, cosines.

    Hits with equal cosines, such as those of identical rows, keep their order.
    """
    pairs = hits.pairs
    by_row = np.lexsort((pairs.row, pairs.shard))
    other = np.empty(len(pairs), np.float64)
    other[by_row] = _scored(pairs.take(by_row), embeddings, vectors)
    best = np.lexsort((hits.rank, -np.where(np.isnan(other), -2, other), pairs.query))
    query = pairs.query[best]
    rank = np.arange(len(best)) - np.searchsorted(query, query)
    best, rank = best[rank < k], rank[rank < k]
    return best, rank, other[best].astype(np.float32)
