"""The rows nearest to a query, by their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.errors import (
    ColumnError,
    OptionError,
    argument,
    did_you_mean,
    must_be,
    parameter,
)
from laion_dask.frame.accounting import AccountingInputs, Rows
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.where import where as filtered
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.retrieval import approximate, fetch
from laion_dask.retrieval.exact.candidates import select_candidates
from laion_dask.retrieval.exact.pairs import Candidates, Hits, Pairs
from laion_dask.retrieval.exact.shared_state import SearchState
from laion_dask.retrieval.exact.top_k import best_of_queries, merge, score_pairs, sort_by_query
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.scoring.queries import as_vectors

#: Pairs that one task reorders, and queries whose nearest one task brings in order.
_PAIRS_PER_TASK, _QUERIES_PER_TASK = 1 << 15, 64
#: Results of one search: they are held in memory as a whole.
_MAX_RESULTS = 50_000_000


@dataclass(frozen=True)
class Rerank:
    """Reorder what was found by other embeddings of the same rows.

    The way to an exact picture: the nearest by what it shows, then the nearest of these by a
    second embedding that sees its details (MindEye, Scotti et al. 2023, section 2.2, retrieves 16
    pictures of LAION by CLIP's last layer and then picks one).

    Attributes
    ----------
    embeddings : Embeddings
    query : as `search` takes it
        One, or as many as there are queries.
    take : int, optional
        How many of the nearest are reordered, by default as many as are wanted; not fewer.

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


def search(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    query,
    k: int = 100,
    *,
    where: str | None = None,
    rerank: Rerank | None = None,
    index=None,
    columns: Sequence[str] | None = None,
    to: str = "query_similarity",
) -> pd.DataFrame:
    """The k rows of a frame nearest to each query, by cosine. Eager.

    Exact: every row's embedding is read once, whatever the number of queries, the few that can be
    among the nearest once or twice more, and the answer is that of a loop in float64, with the
    queries brought to length one in float32. Ties go to the smaller (shard, row), so partitions,
    order of shards, workers and cards change nothing. A row whose embedding is NaN, infinite or
    zero is never found. Of a frame as `read_shards` returned it, no Parquet is read but for the
    columns of what was found. Where there is a card, rows that it has looked at stay there for the
    next search, in at most half of the memory that is free.

    Parameters
    ----------
    frame : dask DataFrame
        With ``shard`` and ``row``; only its rows are found.
    embeddings : Embeddings
        Of the frame's rows.
    query
        One: a text, a picture (Pillow's, its path as a ``Path``, its
        bytes, an open file, or its pixels as an array (height, width, 3) uint8), a row as (shard,
        row), a vector (dim,), or a weighted sum of them, see `mix`. Many: a list of these, or
        (m, dim). A str is always a text.
    k : int
        Results a query, from 1 on; fewer where there are fewer rows.
    where : str, optional
        A filter, as `where` takes it.
    rerank : Rerank, optional
        Reorders the nearest by other embeddings, and adds ``rerank_similarity``, which is NaN,
        and last, for a row that has no direction in them. Equal ones stay in their first order.
    index : Index, optional
        Of `build_index`, approximate, for where reading all embeddings is too slow. What it
        proposes is scored exactly; what it does not propose is missed. Where a filter leaves
        fewer than k of the proposed rows, more are asked for: up to 64 k or 100,000 a query.
    columns : sequence of str, optional
        Which of the frame's columns to fetch for what was found; by default all.
    to : str
        The column of similarities.

    Returns
    -------
    pandas.DataFrame, or cuDF's where the frame is
        By query and rank: ``query`` (int64, its number from 0), ``rank`` (int64, from 1), ``to``
        (float32 in [-1, 1]), ``shard`` (int32), ``row`` (int64), and the columns. Without an
        index, ``result.attrs["rows"]`` is the account of all rows as a dict, which
        ``ld.Rows(**…)`` prints: those searched are kept, those without direction unscored. With
        one, ``result.attrs["short"]`` (int) counts the queries that have fewer than k results.

    Raises
    ------
    OptionError, ColumnError, EmbeddingsError, ModelMismatchError, PairingError, ProvenanceError
        At once, before anything is read; but that rows were multiplied, or added by an outer
        merge, shows only in reading.
    WeightsError
        When the weights that a text or a picture needs are not on this machine.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> hits = frame.laion.search(images, "a red star", k=3, where="punsafe < 0.5")
    >>> list(hits["rank"])
    [1, 2, 3]
    """
    frame = frame if where is None else filtered(frame, where)
    provenance = Provenance.of(frame)
    wanted = _checked(provenance, embeddings, k, columns, to, rerank)
    approximate.check(index)
    paired = embeddings.paired_with(provenance.shards)
    vectors = as_vectors(query, paired)
    take = k if rerank is None or rerank.take is None else int(rerank.take)
    if len(vectors) * max(k, take) > _MAX_RESULTS:
        raise OptionError(
            f"{len(vectors):,} queries with {max(k, take):,} results each are more than "
            f"{_MAX_RESULTS:,} in all. Search in several calls."
        )
    second = None if rerank is None else _second(rerank, provenance, len(vectors))
    if index is None:
        found, rows = _nearest(provenance, paired, vectors, take)
    else:
        found = approximate.nearest(provenance, paired, vectors, take, index, _best)
    pairs = found.pairs
    made = {"query": pairs.query.astype(np.int64), "rank": found.rank + 1, to: found.cosine}
    if second is not None:
        order_, rank, other = _reordered(found, *second, k)
        pairs = pairs.take(order_)
        made = {name: values[order_] for name, values in made.items()}
        made |= {"rank": rank + 1, "rerank_similarity": other}
    result = fetch.fetch(provenance, pairs, made, wanted)
    if index is None:
        result.attrs["rows"] = asdict(rows)  # pandas writes attrs that are JSON
    else:
        counts = np.bincount(pairs.query, minlength=len(vectors))
        result.attrs["short"] = int((counts < k).sum())
    return result


def _checked(provenance: Provenance, embeddings, k, columns, to, rerank) -> list[str]:
    """The columns to fetch, after everything that can be refused at once."""
    frame = provenance.frame
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    must_be("to", to, str, "the name of the column of similarities")
    provenance.check_identity_columns()
    made = ["query", "rank", to]
    _check_count("k", k)
    if rerank is not None:
        must_be("rerank", rerank, Rerank, "ld.Rerank(embeddings, query)")
        must_be("Rerank's embeddings", rerank.embeddings, Embeddings, "a second ld.open_embeddings")
        if rerank.take is not None:
            _check_count("take", rerank.take)
            if rerank.take < k:
                raise OptionError(
                    f"Rerank's take is {rerank.take:,}, and k is {k:,}. Expected at least as many "
                    "to reorder as are wanted: a larger take, or a smaller k."
                )
        made.append("rerank_similarity")
    if isinstance(columns, str):
        raise OptionError(
            f"{parameter('columns')} is {columns!r}. Expected a list of names: [{columns!r}]."
        )
    names = list(frame.columns if columns is None else columns)
    for name in names:
        if name not in frame.columns:
            raise ColumnError(
                f"{parameter('columns')} has {name!r}, which the frame does not."
                f"{did_you_mean(name, frame.columns)}"
            )
    taken = next((name for name in (*names, *PROVENANCE) if name in made), None)
    if taken is not None or len(set(made)) < len(made):
        raise OptionError(
            f"{taken or to!r} is a column of the frame and of the result. Name the similarities "
            f"otherwise with {argument('to')}, or leave the column out with {argument('columns')}."
        )
    return [name for name in dict.fromkeys(names) if name not in PROVENANCE]


def _check_count(what: str, n) -> None:
    whole = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    if not whole or n < 1:
        raise OptionError(f"{what} is {n!r}. Expected a whole number of rows, from 1 on.")


def _second(rerank: Rerank, provenance: Provenance, m: int) -> tuple[Embeddings, np.ndarray]:
    """The embeddings to reorder by, and a vector in them for each query."""
    paired = rerank.embeddings.paired_with(provenance.shards)
    vectors = as_vectors(rerank.query, paired)
    if len(vectors) not in (1, m):
        raise OptionError(
            f"There are {m:,} queries, and {len(vectors):,} to reorder by. Give one, or as many."
        )
    return paired, vectors if len(vectors) == m else np.repeat(vectors, m, axis=0)


def _nearest(
    provenance: Provenance, embeddings: Embeddings, vectors: np.ndarray, k: int
) -> tuple[Hits, Rows]:
    """The k nearest rows to each query, and the account of the frame's rows."""
    parts = fetch.parts(provenance)
    if fetch.are_runs(parts):
        read = sum(stop - start for _, start, stop in parts)
        accounting = AccountingInputs(provenance.frame, read)
    else:
        accounting = AccountingInputs.of(provenance.select(PROVENANCE))
    counts = [part for count in accounting.collections for part in graph.parts(count)]
    found = Hits.join([])
    if parts:
        shared = graph.share(embeddings), graph.share(vectors)
        state = graph.share(SearchState())
        chosen = graph.tasks(select_candidates, parts, *shared, k, state)
        chosen = graph.tree(chosen, merge, *shared)
        found = _best_of(chosen, embeddings, len(vectors), *shared, k, state)
    found, *counts = graph.compute(found, *counts, label="search")
    counts.append({"unscored": found.unscored, "rejected": 0})
    return found, accounting.balance(found.searched, counts)


def _best_of(chosen, embeddings: Embeddings, m: int, *given):
    """The k best of what was chosen, brought in order some queries a task. Lazy.

    All in one where rows come out of pieces that have to be unpacked or fetched: each task would
    do that again.
    """
    size = _QUERIES_PER_TASK if all(file.is_mapped for file in embeddings.files) else m
    if size < m:
        (chosen,) = graph.tasks(sort_by_query, [chosen])
    spans = [(at, min(at + size, m)) for at in range(0, m, size)]
    return graph.tree(graph.tasks(best_of_queries, spans, chosen, *given), Hits.join)


def _best(pairs: Pairs, embeddings: Embeddings, vectors: np.ndarray, k: int) -> Hits:
    """The k best of pairs of which nothing is known."""
    m = len(vectors)
    upper, lower = np.full(len(pairs), np.inf, np.float32), np.full((m, k), -np.inf, np.float32)
    given = (Candidates(pairs, upper, lower, 0, 0), embeddings, vectors, SearchState())
    chosen, *shared, state = (graph.share(value) for value in given)
    found = _best_of(chosen, embeddings, m, *shared, k, state)
    return graph.compute(found, label="score")[0]


def _scored(pairs: Pairs, embeddings: Embeddings, vectors: np.ndarray) -> np.ndarray:
    """The exact cosines of pairs that are in order of their rows; few are scored right here."""
    if len(pairs) <= _PAIRS_PER_TASK:
        return score_pairs(pairs, embeddings, vectors)
    shared = graph.share(embeddings), graph.share(vectors)
    some = [
        pairs.take(slice(at, at + _PAIRS_PER_TASK)) for at in range(0, len(pairs), _PAIRS_PER_TASK)
    ]
    scored = graph.tasks(_score_some, some, *shared)
    return np.concatenate(graph.compute(*scored, label="score"))


def _score_some(pairs: Pairs, number: int, embeddings, vectors: np.ndarray) -> np.ndarray:
    return score_pairs(pairs, embeddings, vectors)


def _reordered(found: Hits, embeddings: Embeddings, vectors: np.ndarray, k: int):
    """The first k pairs of each query by other embeddings: positions, ranks from 0, cosines.

    Those whose cosines are equal, as of rows with a copy, stay in the order of the first.
    """
    pairs = found.pairs
    by_row = np.lexsort((pairs.row, pairs.shard))
    other = np.empty(len(pairs), np.float64)
    other[by_row] = _scored(pairs.take(by_row), embeddings, vectors)
    best = np.lexsort((found.rank, -np.where(np.isnan(other), -2, other), pairs.query))
    query = pairs.query[best]
    rank = np.arange(len(best)) - np.searchsorted(query, query)
    best, rank = best[rank < k], rank[rank < k]
    return best, rank, other[best].astype(np.float32)
