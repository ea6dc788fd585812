"""Scores from embeddings: similarity to a query, image-text similarity, and heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import dask.dataframe as dd
import numpy as np

from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame
from laion_dask.errors import EmbeddingsError, OptionError, argument, must_be
from laion_dask.extras import require_extra
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import check_same_space
from laion_dask.models.heads import Head
from laion_dask.models.heads.compatibility import check_heads
from laion_dask.models.heads.filter_network import FilterNetwork
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.scoring import embedding_kernel
from laion_dask.scoring.queries import as_units


def similarity(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    query: np.ndarray | Embeddings,
    to: str = "query_similarity",
) -> dd.DataFrame:
    """The frame with a column of cosine similarities to a query. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    embeddings : Embeddings
        Embeddings of the frame's rows.
    query : array of shape (dim,) or (1, dim), or Embeddings
        A vector (``ClipModel(...).text("…")``, ``.image(...)``, a row of embeddings, or any sum of
        these), or a second set of embeddings of the same rows: image against text gives the CLIP
        score.
    to : str
        The new column: float32 in [-1, 1], NaN where an embedding is NaN, infinite or zero.

    Raises
    ------
    EmbeddingsError
        When the query has the wrong shape, or no direction.
    ModelMismatchError
        When the query is known to come from another CLIP model.
    PairingError, ProvenanceError, OptionError
        When the embeddings are not those of the frame's shards, or the column already exists.
    All are raised immediately.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> star = ld.ClipModel("demo").text("a red star")
    >>> near = frame.laion.similarity(images, star, to="star")
    >>> str(near["star"].dtype)
    'float32'
    """
    must_be("to", to, str, "the new column's name")
    provenance = checked_provenance(frame, embeddings)
    check_free(frame, [to])
    paired = embeddings.paired_with(provenance.shards)
    if isinstance(query, Embeddings):
        check_same_space(embeddings.model, query.model, "The two sets of embeddings")
        other = graph.share(query.paired_with(provenance.shards))
        pair = embedding_kernel.Pair(to, embeddings.dim)
        args = (graph.share(paired), other, pair)
        return assigned(frame, [to], embedding_kernel.similarity_to, *args)
    text = getattr(query, "text", None)
    vector = embedding_kernel.Query(tuple(_direction(query, embeddings).tolist()), to, text)
    return assigned(frame, [to], embedding_kernel.similarity, graph.share(paired), vector, to)


def score(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    *heads: Head | FilterNetwork | Embeddings,
    texts: Embeddings | None = None,
) -> dd.DataFrame:
    """The frame with one column per head. Lazy.

    Every row's embedding is read once, however many heads there are, and once more for filter
    networks.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    embeddings : Embeddings
        Embeddings of the frame's rows.
    *heads
        For example ``ld.heads.aesthetic("ViT-L-14")``; the new column has the head's name. Or the
        result of `train_filter`, which also needs ``texts``.
    texts : Embeddings, optional
        Embeddings of the captions, for filter networks; may also be given right after
        ``embeddings``, as in ``score(images, texts, network)``.

    Raises
    ------
    ModelMismatchError
        When a head belongs to another CLIP model.
    OptionError
        When no head is given, or a column already exists.
    PairingError, ProvenanceError
        As `similarity`. All are raised immediately.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> scored = frame.laion.score(images, ld.heads.demo_safety())
    >>> "punsafe_demo" in scored.columns
    True
    """
    if heads and texts is None and isinstance(heads[0], Embeddings):
        texts, heads = heads[0], heads[1:]
    if not heads:
        raise OptionError("No head was given. Name one, such as ld.heads.aesthetic('ViT-L-14').")
    provenance = checked_provenance(frame, embeddings)
    require_extra("clip", "Scoring with heads")
    networks = [head for head in heads if isinstance(head, FilterNetwork)]
    others = [head for head in heads if not isinstance(head, FilterNetwork)]
    specs = tuple(check_heads(others, embeddings.model))
    names, of_networks = ([head.name for head in group] for group in (specs, networks))
    check_filter_networks(networks, names, embeddings, texts)
    check_free(frame, [*names, *of_networks], of_heads=True)
    paired = graph.share(embeddings.paired_with(provenance.shards))
    if specs:
        frame = assigned(frame, names, embedding_kernel.heads, paired, graph.share(specs))
    if networks:
        assert texts is not None  # checked above
        others_paired = graph.share(texts.paired_with(provenance.shards))
        shared = graph.share(tuple(networks))
        kernel = embedding_kernel.filter_networks
        frame = assigned(frame, of_networks, kernel, paired, others_paired, shared)
    return frame


def similarity_cost(frame: PlannedFrame, other: Embeddings | None = None) -> Cost:
    """The cost of `similarity` to a query, or to other embeddings of the same rows."""
    if other is None:
        flop = 2.0 * frame.embeddings_for("similarity").dim
        return Cost(("similarity",), reads=EMBEDDINGS, flop=flop)
    must_be("similarity's argument", other, Embeddings, "the other embeddings of the same rows")
    embeddings = frame.embeddings_for("similarity")
    pair = embedding_kernel.Pair("similarity", embeddings.dim)
    paired = other.paired_with(frame.provenance.shards)
    return replace(pair.cost, embeddings=(embeddings, paired))


def check_filter_networks(
    networks: Sequence[FilterNetwork],
    names: Sequence[str],
    images: Embeddings,
    texts: Embeddings | None,
) -> None:
    """Raise unless filter networks fit the embeddings and write columns besides ``names``."""
    taken = set(names)
    for network in networks:
        if network.name in taken:
            raise OptionError(
                f"Two heads write the column {network.name!r}. Rename one with head.to('…')."
            )
        taken.add(network.name)
        if texts is None:
            raise OptionError(
                f"The filter network {network.name!r} compares images with captions. Pass the "
                f"embeddings of the captions with {argument('texts')}."
            )
        must_be("texts", texts, Embeddings, "what ld.open_embeddings(...) returns")
        for embeddings in (images, texts):
            subject = f"The filter network {network.name!r} and the embeddings"
            check_same_space(network.clip, embeddings.model, subject)


def score_cost(frame: PlannedFrame, *heads: Head | FilterNetwork) -> list[Cost]:
    """The costs of `score`, one per head; without a head, the cost of one linear head.

    Raises
    ------
    ModelMismatchError, OptionError
        When a head belongs to another CLIP model, or does not read embeddings.
    """
    if not heads:
        flop, note = 2.0 * frame.embeddings_for("score").dim, "score: assumes one linear head"
        return [Cost(("linear",), reads=EMBEDDINGS, flop=flop, notes=(note,))]
    others = [head for head in heads if not isinstance(head, FilterNetwork)]
    specs = check_heads(others, frame.embeddings_for(f"score, {heads[0].name}").model)
    networks = [head for head in heads if isinstance(head, FilterNetwork)]
    costs = [(spec.name, spec.cost) for group in (specs, networks) for spec in group]
    return [replace(cost, label=f"score, {name}") for name, cost in costs]


def assigned(
    frame: dd.DataFrame, names: list[str], kernel, *args, reads: Sequence[str] = PROVENANCE
) -> dd.DataFrame:
    """The frame with the float32 columns that a kernel computes from its columns. Lazy."""
    meta = frame._meta[[]].assign(**{name: np.empty(0, np.float32) for name in names})
    scored = graph.map_columns(frame, kernel, *args, reads=reads, meta=meta)
    return frame.assign(**{name: scored[name] for name in names})


def checked_provenance(frame: dd.DataFrame, embeddings: Embeddings) -> Provenance:
    """The provenance of a frame that is to be scored from embeddings, after checking both."""
    provenance = Provenance.of(frame)
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    provenance.check_identity_columns()
    return provenance


def check_free(frame: dd.DataFrame, names: list[str], *, of_heads: bool = False) -> None:
    """Raise if the name of a new column is taken."""
    existing = next((name for name in names if name in frame.columns), None)
    if existing is not None:
        choice = f"head.to({existing + '_2'!r})" if of_heads else argument("to")
        raise OptionError(
            f"The frame already has a column {existing!r}. Choose another name with {choice}, or "
            f"drop the column first: frame.drop(columns={existing!r})."
        )


def _direction(query, embeddings: Embeddings) -> np.ndarray:
    """A query as a normalized vector, checked against the embeddings' model if known."""
    if isinstance(query, str):
        raise EmbeddingsError(
            f"The query is the text {query[:60]!r}. Expected a vector: "
            f"ld.ClipModel(...).text({query[:60]!r}) makes one."
        )
    return as_units(query, embeddings, many=False)[0]
