"""The rows nearest to a query by their embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame
from laion_dask.errors import (
    ColumnError,
    OptionError,
    argument,
    did_you_mean,
    must_be,
    parameter,
)
from laion_dask.extras import require_extra
from laion_dask.frame.accounting import AccountingInputs, Rows
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.where import where as filtered
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.retrieval import approximate, fetch
from laion_dask.retrieval.exact.candidates import select_candidates
from laion_dask.retrieval.exact.pairs import Candidates, Hits, Pairs
from laion_dask.retrieval.exact.shared_state import SearchState
from laion_dask.retrieval.exact.top_k import best_of_queries, merge, sort_by_query
from laion_dask.retrieval.rerank import Rerank, embeddings_and_vectors, reranked
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.scoring.queries import as_vectors
from laion_dask.validation import whole_number

#: Number of queries that one task ranks.
_QUERIES_PER_TASK = 64
#: With so few partitions, one task merges their candidates and ranks them: every task takes time.
_FEW_PARTS = 8
#: Maximum number of results of one search: they are all in memory at once.
_MAX_RESULTS = 50_000_000
#: Memory per query besides its vector, in bytes, for ten results: up to 80 candidates of 20 bytes
#: and ten cosines.
_QUERY_BYTES = 10 * (8 * 20 + 4)


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

    The search is exact. Every row's embedding is read once, regardless of the number of queries;
    the few rows that may be among the nearest are read once or twice more. The answer equals that
    of a loop in float64, with queries normalized in float32. Ties go to the smaller (shard, row),
    so it does not depend on partitions, the order of shards, workers or GPUs. A row whose embedding
    is NaN, infinite or zero is never a result. For a frame as `read_shards` returned it, Parquet is
    only read for the columns of the results. On a GPU, searched rows stay in GPU memory for the
    next search, using at most half of the free memory.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``; only its rows are searched.
    embeddings : Embeddings
        Embeddings of the frame's rows.
    query
        One query: a text, an image (a Pillow image, a ``Path``, bytes, an open file, or pixels as
        an array (height, width, 3) uint8), a row as (shard, row), a vector (dim,), or a weighted
        sum of these, see `mix`. Many queries: a list of these, or an array (m, dim). A str is
        always a text.
    k : int
        Results per query, 1 or more; fewer if there are fewer rows.
    where : str, optional
        A filter, as for `where`.
    rerank : Rerank, optional
        Reranks the nearest rows with other embeddings, and adds ``rerank_similarity``. It is NaN
        for a row without direction in these embeddings; such rows come last. Ties keep their
        original order.
    index : Index, optional
        An approximate index from `build_index`, for when reading all embeddings is too slow. Its
        candidates are scored exactly; rows that are not candidates are missed. If a filter leaves
        fewer than k candidates, more are requested: up to the larger of 64 k and 100,000 per query.
    columns : sequence of str, optional
        The frame's columns to fetch for the results; all by default.
    to : str
        Name of the column of similarities.

    Returns
    -------
    pandas.DataFrame, or cudf.DataFrame for a cuDF frame
        Ordered by query and rank: ``query`` (int64, its number from 0), ``rank`` (int64, from 1),
        ``to`` (float32 in [-1, 1]), ``shard`` (int32), ``row`` (int64), and the columns. Without an
        index, ``result.attrs["rows"]`` accounts for all rows as a dict, which ``ld.Rows(**…)``
        prints: searched rows are kept, rows without direction unscored. With an index,
        ``result.attrs["short"]`` (int) counts the queries that have fewer than k results.

    Raises
    ------
    OptionError, ColumnError, EmbeddingsError, ModelMismatchError, PairingError, ProvenanceError
        Immediately, before any data is read; except that duplicate rows, or rows added by an outer
        merge, are only detected when rows are read.
    WeightsError
        When the weights that a text or an image needs are not available locally.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> hits = frame.laion.search(images, "a red star", k=3, where="punsafe < 0.5")
    >>> list(hits["rank"])
    [1, 2, 3]
    """
    refuse_exploded(frame, "search")
    frame = frame if where is None else filtered(frame, where)
    provenance = Provenance.of(frame)
    fetched_columns = _checked(provenance, embeddings, k, columns, to, rerank)
    approximate.check(index)
    paired = embeddings.paired_with(provenance.shards)
    vectors = as_vectors(query, paired)
    take = k if rerank is None or rerank.take is None else int(rerank.take)
    if len(vectors) * max(k, take) > _MAX_RESULTS:
        raise OptionError(
            f"{len(vectors):,} queries with {max(k, take):,} results each are more than "
            f"{_MAX_RESULTS:,} in all. Search in several calls."
        )
    second = None if rerank is None else embeddings_and_vectors(rerank, provenance, len(vectors))
    if index is None:
        hits, rows = _nearest(provenance, paired, vectors, take)
    else:
        hits = approximate.nearest(provenance, paired, vectors, take, index, _best_of_pairs)
    pairs = hits.pairs
    columns_made = {"query": pairs.query.astype(np.int64), "rank": hits.rank + 1, to: hits.cosine}
    if second is not None:
        positions, rank, other = reranked(hits, *second, k)
        pairs = pairs.take(positions)
        columns_made = {name: values[positions] for name, values in columns_made.items()}
        columns_made |= {"rank": rank + 1, "rerank_similarity": other}
    result = fetch.fetch(provenance, pairs, columns_made, fetched_columns)
    if index is None:
        result.attrs["rows"] = rows.counts  # pandas can only write attrs that are JSON
    else:
        counts = np.bincount(pairs.query, minlength=len(vectors))
        result.attrs["short"] = int((counts < k).sum())
    return result


def search_cost(frame: PlannedFrame, queries: int = 1) -> Cost:
    """The cost of `search` for this many queries at once."""
    queries = whole_number("search's argument", queries, "the number of queries")
    name = "search" if queries == 1 else f"search, {queries:,} queries"
    notes = []
    if queries > 1:
        notes.append(f"{name}: memory for ten results of each")
    if frame.computed:
        notes.append(
            f"{name}: fetching the columns of the results, and recomputing scores in their "
            "partitions, is not counted"
        )
    dim = frame.embeddings_for(name).dim
    return Cost(
        ("search",),
        reads=EMBEDDINGS,
        flop=2.0 * dim * queries,
        label=name,
        queries=queries,
        query_bytes=4 * dim + _QUERY_BYTES,
        notes=tuple(notes),
    )


def _checked(provenance: Provenance, embeddings, k, columns, to, rerank) -> list[str]:
    """Check all arguments; return the columns to fetch."""
    frame = provenance.frame
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    must_be("to", to, str, "the name of the column of similarities")
    require_extra("clip", "Search")
    provenance.check_identity_columns()
    columns_made = ["query", "rank", to]
    _check_count("k", k)
    if rerank is not None:
        must_be("rerank", rerank, Rerank, "ld.Rerank(embeddings, query)")
        must_be("Rerank's embeddings", rerank.embeddings, Embeddings, "a second ld.open_embeddings")
        if rerank.take is not None:
            _check_count("take", rerank.take)
            if rerank.take < k:
                raise OptionError(
                    f"Rerank's take is {rerank.take:,}, and k is {k:,}. Expected take of at least "
                    "k: use a larger take, or a smaller k."
                )
        columns_made.append("rerank_similarity")
    if isinstance(columns, str):
        raise OptionError(
            f"{parameter('columns')} is {columns!r}. Expected a list of names: [{columns!r}]."
        )
    names = list(frame.columns if columns is None else columns)
    for name in names:
        if name not in frame.columns:
            raise ColumnError(
                f"{parameter('columns')} has {name!r}, which is not a column of the frame."
                f"{did_you_mean(name, frame.columns)}"
            )
    name = next((name for name in (*names, *PROVENANCE) if name in columns_made), None)
    if name is not None or len(set(columns_made)) < len(columns_made):
        raise OptionError(
            f"{name or to!r} is a column of the frame and of the result. Choose another name for "
            f"the similarities with {argument('to')}, or exclude it with {argument('columns')}."
        )
    return [name for name in dict.fromkeys(names) if name not in PROVENANCE]


def _check_count(name: str, n) -> None:
    is_integer = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    if not is_integer or n < 1:
        raise OptionError(f"{name} is {n!r}. Expected a whole number of rows, at least 1.")


def _nearest(
    provenance: Provenance, embeddings: Embeddings, vectors: np.ndarray, k: int
) -> tuple[Hits, Rows]:
    """The k nearest rows to each query, and the accounting of the frame's rows."""
    parts = fetch.parts(provenance)
    if fetch.are_runs(parts):
        read = sum(stop - start for part in parts for _, start, stop in part)
        accounting = AccountingInputs(provenance.frame, read)
    else:
        accounting = AccountingInputs.of(provenance.select(PROVENANCE))
    counts = [partition for count in accounting.collections for partition in graph.parts(count)]
    lazy: object = Hits.join([])
    if parts:
        shared = _shared(embeddings, vectors, k)
        by_part = graph.tasks(_select, parts, shared)
        if len(parts) <= _FEW_PARTS and len(vectors) <= _QUERIES_PER_TASK:
            lazy = graph.gathered(by_part, _merge_and_rank, shared)
        else:
            candidates = graph.tree(by_part, _merge, shared)
            lazy = _rank(candidates, embeddings, len(vectors), shared)
    hits, *counts = graph.compute(lazy, *counts, label="search")
    counts.append({"unscored": hits.unscored, "rejected": 0})
    rows = accounting.balance(hits.searched, counts)
    assert rows is not None  # `accounting.read` is a number
    return hits, rows


def _shared(embeddings: Embeddings, vectors: np.ndarray, k: int):
    """What all tasks of a search need, as a lazy value."""
    state = SearchState()
    return graph.share((embeddings, vectors, k, state), f"search-{state.search}")


def _select(part, number: int, shared: tuple) -> Candidates:
    return select_candidates(part, number, *shared)


def _merge(several: Sequence[Candidates], shared: tuple) -> Candidates:
    embeddings, vectors, *_ = shared
    return merge(several, embeddings, vectors)


def _merge_and_rank(several: Sequence[Candidates], shared: tuple) -> Hits:
    return _best((0, len(shared[1])), 0, _merge(several, shared), shared)


def _best(span: tuple[int, int], number: int, candidates: Candidates, shared: tuple) -> Hits:
    return best_of_queries(span, number, candidates, *shared)


def _rank(candidates, embeddings: Embeddings, m: int, shared):
    """The k best candidates, ranked in tasks of several queries each. Lazy.

    A single task if rows must be unpacked or downloaded, since each task would repeat that.
    """
    size = _QUERIES_PER_TASK if all(file.is_mapped for file in embeddings.files) else m
    if size < m:
        (candidates,) = graph.tasks(sort_by_query, [candidates])
    spans = [(at, min(at + size, m)) for at in range(0, m, size)]
    return graph.tree(graph.tasks(_best, spans, candidates, shared), Hits.join)


def _best_of_pairs(pairs: Pairs, embeddings: Embeddings, vectors: np.ndarray, k: int) -> Hits:
    """The k best of pairs without known bounds."""
    m = len(vectors)
    upper, lower = np.full(len(pairs), np.inf, np.float32), np.full((m, k), -np.inf, np.float32)
    candidates = graph.share(Candidates(pairs, upper, lower, 0, 0))
    hits = _rank(candidates, embeddings, m, _shared(embeddings, vectors, k))
    return graph.compute(hits, label="score")[0]
