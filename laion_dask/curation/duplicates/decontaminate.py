"""Drop the rows that are near an evaluation set, so that a model is not tested on what it saw."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import frame_to_arrow
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.clusters.chunks import check_embeddings
from laion_dask.curation.clusters.nearest import as_centroids
from laion_dask.curation.duplicates import evaluation_rules as rules
from laion_dask.curation.exclude import without_listed
from laion_dask.curation.removal_list import read_list
from laion_dask.curation.smallest import KEEP, decided
from laion_dask.errors import OptionError, no_column, one_of
from laion_dask.frame.selection import select_rows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.stats.checks import check_integer

#: Names of rules other than columns that are compared exactly.
_EMBEDDING, _TEXTS = "embedding", ("text", "caption")
#: Columns that are compared if ``against`` is a table and ``by`` is not given.
_COLUMNS = ("uid", "hash", "url", "md5", "sha256", "phash", "text")


def decontaminate(
    frame: dd.DataFrame,
    against: Mapping[str, Any] | str | os.PathLike | Sequence | np.ndarray | pd.DataFrame,
    embeddings: Embeddings | None = None,
    *,
    by: str | Sequence[str] | None = None,
    radius: int = 4,
    cosine: float = 0.95,
    ngram: int | None = 13,
    missing: str = "unscored",
) -> dd.DataFrame:
    """The rows that are not near an evaluation set, by one or several rules. Lazy.

    Each rule is a step of its own: `funnel` counts the rows that it finds, which is the overlap of
    the data with the evaluation set, and `excluded` shows them. The evaluation set is read
    immediately; the manifest has the number of its entries and a digest of them.

    Parameters
    ----------
    frame : dask DataFrame
    against : mapping, path, sequence, array or pandas.DataFrame
        The evaluation set by rule, such as ``{"uid": "uids.npy", "text": "captions.txt"}``; each
        entry a sequence, or a file as for `exclude`. Rules by name:

        ``"text"``, ``"caption"``
            Captions that share an n-gram of ``ngram`` words with a caption of the set.
        ``"phash"``, or a name that ends so
            Perceptual hashes within ``radius`` bits of one of the set; see `phash`.
        ``"embedding"``
            Embeddings whose cosine with one of the set is at least ``cosine``: an array of shape
            (n, dim), or a ``.npy`` file, by the model of ``embeddings``.
        any other column, such as ``"uid"``, ``"url"``, ``"md5"`` or ``"sha256"``
            Equal values, as in `exclude`.

        Otherwise the entries of the rules that ``by`` names.
    embeddings : Embeddings, optional
        Of the frame's rows, for ``"embedding"``.
    by : str or sequence of str, optional
        The rules, if ``against`` is not a mapping. By default ``"embedding"`` for an array of two
        dimensions, and for a table, each known column that the frame has too.
    radius : int
        The largest Hamming distance of near hashes, from 0 to 16.
    cosine : float
        The least cosine of near embeddings, in (0, 1].
    ngram : int or None
        Words of an n-gram, letters and digits in lower case without punctuation; 13 as in GPT-3
        (Brown et al. 2020, appendix C). A caption of fewer words is near one of the same words.
        None: captions are near if all of their words are the same, in order.
    missing : {"unscored", "keep"}
        What becomes of rows that lack what a rule compares, such as rows without captions: by
        default they cannot be checked, so they are unscored, never kept.

    Returns
    -------
    dask DataFrame
        The rows that no rule finds.

    Raises
    ------
    OptionError, ColumnError, EmbeddingsError, ModelMismatchError, PairingError
        Immediately, when an argument does not fit, or a list cannot be read.

    References
    ----------
    Brown, T. et al. (2020). Language models are few-shot learners. NeurIPS. Appendix C.
    Schuhmann, C. et al. (2022). LAION-5B. NeurIPS Datasets and Benchmarks: on overlap with test
    sets.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> seen = {"text": frame["text"].head(2).tolist(), "url": frame["url"].head(1).tolist()}
    >>> clean = frame.laion.decontaminate(seen)
    >>> clean.laion.rows().dropped >= 2
    True
    """
    if missing not in ("unscored", "keep"):
        raise one_of("missing", missing, ["unscored", "keep"])
    _check_numbers(radius, cosine, ngram)
    sets = _sets(frame, against, by)
    if embeddings is not None and _EMBEDDING not in sets:
        raise OptionError(f"embeddings apply to the rule 'embedding', not to {', '.join(sets)}.")
    keep_missing = missing == "keep"
    for name in sorted(sets, key=lambda name: name == _EMBEDDING):  # what is read last is slowest
        entries = sets[name]
        if name == _EMBEDDING:
            frame = _by_embedding(frame, entries, embeddings, cosine, keep_missing)
        elif name in _TEXTS:
            grams = rules.Grams.of(_texts(_listed(frame, name, entries), name), ngram)
            rule = f"ngram={ngram}"
            frame = _by_column(frame, name, rules.without_grams, grams, rule, keep_missing)
        elif name.endswith("phash"):
            hashes = rules.NearHashes.of(_listed(frame, name, entries), radius)
            rule = f"radius={radius}"
            frame = _by_column(frame, name, rules.far_from_hashes, hashes, rule, keep_missing)
        else:
            frame = without_listed(frame, entries, name, None, None, missing, "decontaminate")
    return frame


def decontaminate_cost(frame: PlannedFrame, against: object = None) -> Cost:
    """The cost of `decontaminate`, without the products of embeddings."""
    note = "decontaminate: the rate is that of a join, and omits comparisons of embeddings"
    return Cost(("join",), notes=(note,))


def _check_numbers(radius: int, cosine: float, ngram: int | None) -> None:
    check_integer("radius", radius, 0)
    if radius > 16:
        raise OptionError(f"radius is {radius!r}. Expected at most 16 of 64 bits.")
    is_number = isinstance(cosine, (int, float)) and not isinstance(cosine, bool)
    if not is_number or not 0 < cosine <= 1:
        raise OptionError(f"cosine is {cosine!r}. Expected a cosine in (0, 1], such as 0.95.")
    if ngram is not None:
        check_integer("ngram", ngram, 1)


def _sets(frame: dd.DataFrame, against: Any, by: str | Sequence[str] | None) -> dict[str, Any]:
    """The entries of each rule."""
    if isinstance(against, Mapping):
        if by is not None:
            raise OptionError("by was given, and against names its rules. Leave by out.")
        if not against or not all(isinstance(name, str) for name in against):
            raise OptionError(f"against is {dict(against)!r}. Expected rules, such as {_EXAMPLE}.")
        return dict(against)
    if by is None and isinstance(against, np.ndarray) and against.ndim == 2:
        by = _EMBEDDING
    if by is None and isinstance(against, pd.DataFrame):
        by = [name for name in _COLUMNS if name in against.columns and name in frame.columns]
    names = [by] if isinstance(by, str) else list(by or ())
    if not names or not all(isinstance(name, str) for name in names):
        raise OptionError(
            f"by is {by!r}. Expected the rule to compare by, such as 'uid', or a mapping such "
            f"as {_EXAMPLE}."
        )
    if isinstance(against, pd.DataFrame):
        for name in names:
            if name not in against.columns:
                raise no_column(name, against.columns)
        return {name: against[name].dropna().tolist() for name in names}
    return dict.fromkeys(names, against)


_EXAMPLE = "{'uid': 'uids.npy', 'text': 'captions.txt'}"


def _listed(frame: dd.DataFrame, name: str, entries: Any) -> pa.ChunkedArray:
    if name not in frame.columns:
        raise no_column(name, frame.columns)
    return read_list(entries, name, False)


def _texts(entries: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    try:
        return entries.cast(pa.large_string())
    except pa.ArrowException as error:
        raise OptionError(f"The evaluation set of {name!r} is no text: {entries.type}.") from error


def _by_column(
    frame: dd.DataFrame,
    name: str,
    kernel: Callable,
    entries: rules.Grams | rules.NearHashes,
    option: str,
    keep_missing: bool,
) -> dd.DataFrame:
    type_ = frame_to_arrow(frame._meta[[name]].reset_index(drop=True)).schema.field(0).type
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    is_text = type_ in (pa.string(), pa.large_string(), pa.string_view(), pa.null())
    if not is_text and (kernel is rules.without_grams or not pa.types.is_integer(type_)):
        raise OptionError(
            f"The column {name!r} holds {type_}. Expected text, or for perceptual hashes integers."
        )
    shared = graph.share(entries)
    meta = _meta(frame)
    keep = graph.map_columns(frame, kernel, name, shared, keep_missing, reads=[name], meta=meta)
    of = f"{len(entries.hashes)} of sha256 {entries.digest[:16]}"
    return select_rows(frame, keep[KEEP], _text(name, of, option, keep_missing))


def _by_embedding(
    frame: dd.DataFrame,
    entries: Any,
    embeddings: Embeddings | None,
    cosine: float,
    keep_missing: bool,
) -> dd.DataFrame:
    if not isinstance(embeddings, Embeddings):
        raise OptionError(
            "The rule 'embedding' needs the embeddings of the rows. Expected "
            "frame.laion.decontaminate(against, emb) with what ld.open_embeddings(...) returns."
        )
    paired = check_embeddings(frame, embeddings)
    vectors = as_centroids(entries, paired.dim, "evaluation embeddings")
    keep = graph.map_columns(
        frame,
        rules.far_from_vectors,
        paired,
        graph.share(vectors),
        cosine,
        keep_missing,
        reads=list(PROVENANCE),
        meta=_meta(frame),
    )
    of = f"{len(vectors)} of sha256 {hashlib.sha256(vectors.tobytes()).hexdigest()[:16]}"
    option = f"model={paired.model.name}, cosine={cosine}"
    return select_rows(frame, keep[KEEP], _text(_EMBEDDING, of, option, keep_missing))


def _text(name: str, of: str, option: str, keep_missing: bool) -> str:
    missing = ", missing='keep'" if keep_missing else ""
    return f"decontaminate({name!r}, {of}, {option}{missing})"


def _meta(frame: dd.DataFrame):
    return decided(frame._meta, np.empty(0, bool), np.empty(0, bool))
