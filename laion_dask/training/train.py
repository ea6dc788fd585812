"""Train a head: sample labeled rows, fit on most of them, evaluate on the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame
from laion_dask.dtypes import column_type
from laion_dask.errors import EmbeddingsError, OptionError, must_be, no_column
from laion_dask.extras import require_extra
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.row_identity import check_identity_columns
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import ClipModel, EmbeddingSpace, as_model, check_same_space
from laion_dask.models.heads.batching import as_array
from laion_dask.models.heads.model_card import Report
from laion_dask.models.heads.trained import TrainedHead
from laion_dask.numerics.normalization import unit
from laion_dask.options import is_watched
from laion_dask.runtime import graph
from laion_dask.runtime.progress import ProgressBar
from laion_dask.schema import PROVENANCE
from laion_dask.training import fitting
from laion_dask.training import sample as kernels

#: Default maximum number of labeled rows to sample.
MAX_ROWS = 200_000


def train(
    embeddings: Embeddings | np.ndarray,
    labels,
    out: str | os.PathLike | None = None,
    *,
    label: str | None = None,
    to: str | None = None,
    clip: ClipModel | EmbeddingSpace | str | None = None,
    hidden: Sequence[int] = (),
    test: float = 0.2,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> TrainedHead:
    """Train a head on labeled rows and report its held-out ROC-AUC and calibration error. Eager.

    Fits a linear probe (logistic regression, with the L2 penalty chosen on part of the training
    rows) or, with ``hidden``, a network with ReLU layers. Rows are sampled, split and ordered by a
    hash of (seed, shard, row), so the same labels give the same head for any partitioning.

    Parameters
    ----------
    embeddings : Embeddings, or array of shape (n, dim)
        Each row is scaled to length 1.
    labels : dask DataFrame, or array of shape (n,)
        With ``Embeddings``, a frame from `read_shards` with a column of labels; with an array, an
        array. 1 (or true) is positive, 0 is negative, null and NaN are unlabeled.
    out : path, optional
        A folder for ``head.safetensors`` and ``MODEL_CARD.md``; see also ``head.save``.
    label : str, optional
        The column of labels; required if the frame has several besides ``shard`` and ``row``.
    to : str, optional
        The head's output column; by default ``p_`` followed by the label.
    clip : ClipModel, EmbeddingSpace or str, optional
        The model of the embeddings; required for an array, otherwise checked.
    hidden : sequence of int
        Widths of hidden layers, such as ``(256,)``.
    test : float
        Share of the rows of each class to hold out.
    max_rows : int
        Maximum number of labeled rows to sample; their embeddings are in memory as float32.
    seed : int

    Returns
    -------
    TrainedHead
        The head, with a ``report``; can be passed to `score`.

    Raises
    ------
    ColumnError, OptionError, EmbeddingsError, PairingError, ProvenanceError, ModelMismatchError
        Immediately, when embeddings and labels do not match; or when a class has fewer than four
        labeled rows.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> known = frame.laion.where("punsafe is not None")  # null >= 0.5 would be a negative label
    >>> labeled = known.assign(unsafe=known["punsafe"] >= 0.5)
    >>> head = ld.heads.train(images, labeled, label="unsafe")
    >>> print(head.report)
    ROC-AUC 1.0000, ECE ... on ... held-out rows (... positive); fitted on ...
    """
    refuse_exploded(labels, "train")
    _check(hidden, test, max_rows, seed)
    _check_out(out)
    require_extra("clip", "Training a head")
    known_model = getattr(embeddings, "model", None)
    if clip is not None and known_model is not None:
        check_same_space(clip, known_model, "clip and the embeddings")
    if isinstance(embeddings, Embeddings):
        label = _label_column(labels, label)
        model, x, y, counts = _from_frame(embeddings, labels, label, seed, max_rows)
    else:
        label = label or "label"
        model, x, y, counts = _from_arrays(embeddings, labels, label, clip, seed, max_rows)
    training, held = fitting.split(y, test)
    layers, method = fitting.fit(x[training], y[training], hidden, seed)
    facts = {
        **counts,
        "label": label,
        "hidden": tuple(map(int, hidden)),
        "method": method,
        "n_train": len(training),
        "n_train_positive": int(y[training].sum()),
        "n_test": len(held),
        "n_test_positive": int(y[held].sum()),
        "max_rows": max_rows,
        "seed": seed,
    }
    blank = Report(**facts, roc_auc=float("nan"), ece=float("nan"))
    name = to or f"p_{label}"
    probabilities = TrainedHead.of(name, model, layers, blank).predict(x[held])
    report = Report(**facts, **fitting.measured(probabilities, y[held]))
    head = TrainedHead.of(name, model, layers, report)
    if out is not None:
        head.save(Path(out))
    return head


def train_cost(frame: PlannedFrame, label: str | None = None) -> list[Cost]:
    """The costs of `train` for a linear probe: a pass over the labels, and a fit on a sample.

    Raises
    ------
    OptionError, ColumnError
        When the frame has no such column, or ``label`` is not given and it has several.
    """
    label = _label_column(frame.frame, label)
    dim = frame.embeddings_for("train").dim
    note = f"train, fit: on at most {MAX_ROWS:,} labeled rows, assuming that every row has a label"
    return [
        Cost(("labels",), columns=(label, *PROVENANCE), label="train, labels"),
        Cost(
            ("train",),
            reads=EMBEDDINGS,
            flop=2.0 * dim,
            label="train, fit",
            max_rows=MAX_ROWS,
            is_pass=False,
            notes=(note,),
        ),
    ]


def _check(hidden, test, max_rows, seed) -> None:
    is_sequence = isinstance(hidden, (tuple, list, np.ndarray))
    if not is_sequence or not all(isinstance(w, (int, np.integer)) and w > 0 for w in hidden):
        raise OptionError(f"hidden is {hidden!r}. Expected widths of layers, such as (256,).")
    if not isinstance(test, (int, float, np.number)) or not 0 < test < 1:
        raise OptionError(f"test is {test!r}. Expected a share between 0 and 1.")
    for name, value in (("max_rows", max_rows), ("seed", seed)):
        if not isinstance(value, (int, np.integer)) or not 0 <= value < 2**32:
            raise OptionError(f"{name} is {value!r}. Expected a whole number, 0 or more.")


def _check_out(out) -> None:
    """Raise if the head cannot be saved to a folder; called before fitting."""
    if out is None:
        return
    must_be("out", out, (str, os.PathLike), "the path of a folder to save the head in")
    path = Path(out).absolute()
    existing = next(each for each in (path, *path.parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        why = "cannot be written to" if existing.is_dir() else "is a file"
        raise OptionError(f"out is {path}, and {existing} {why}. Expected the path of a folder.")


def _label_column(frame, label: str | None) -> str:
    expected = (
        "a frame from read_shards that matches the embeddings; to add labels by shard and row, use "
        "frame[['shard', 'row']].merge(labels, on=['shard', 'row'], how='left')"
    )
    must_be("labels", frame, dd.DataFrame, expected)
    check_identity_columns(frame.columns)
    candidates = [name for name in frame.columns if name not in ("shard", "row")]
    if label is None and len(candidates) != 1:
        raise OptionError(
            f"The frame has the columns {', '.join(candidates) or 'shard and row only'}. Name the "
            "one with the labels, as label='…'."
        )
    if label is not None and label not in candidates:
        raise no_column(label, candidates)
    label = label or candidates[0]
    if column_type(frame.dtypes[label]) in ("string", "other"):
        raise OptionError(
            f"The column {label!r} holds {frame.dtypes[label]}. Expected 0 and 1, or true and "
            "false; make them with a comparison, such as frame.x > 0.5."
        )
    return label


def _from_frame(embeddings: Embeddings, frame: dd.DataFrame, label: str, seed: int, max_rows: int):
    paired = embeddings.paired_with(Provenance.of(frame).shards)
    samples = graph.map_columns(
        frame,
        kernels.labeled_sample,
        label,
        seed,
        max_rows,
        reads=["shard", "row", label],
        meta=kernels.sample_meta(),
    )
    combine = partial(kernels.merge, max_rows=max_rows)
    samples = graph.reduce(samples, combine, meta=kernels.sample_meta())
    (samples,) = graph.compute(samples, label="sample labeled rows")
    rows = samples[samples["shard"] >= 0]
    x = np.empty((len(rows), embeddings.dim), np.float32)
    shard, row = rows["shard"].to_numpy(), rows["row"].to_numpy()
    progress = ProgressBar(
        np.unique(shard), desc="read embeddings", leave=False, disable=not is_watched()
    )
    for number in progress:
        positions = np.flatnonzero(shard == number)
        x[positions] = unit(paired.read(int(number), row[positions]))
    counts = {name: int(samples[name].sum()) for name in ("n_read", "n_unlabelled")}
    return embeddings.model, *_usable(x, rows["y"].to_numpy(), counts)


def _from_arrays(x, labels, label: str, clip, seed: int, max_rows: int):
    model = clip if clip is not None else getattr(x, "model", None)
    if model is None:
        raise OptionError(
            "The embeddings are a plain array, so their model is unknown. Pass it as clip='…'."
        )
    model = as_model(model)
    x, labels = as_array(x), _plain_labels(labels)
    if isinstance(model, EmbeddingSpace) and model.dim is None and x.ndim == 2 and x.shape[1]:
        model = replace(model, dim=int(x.shape[1]))
    fits = x.ndim == 2 and x.shape[1] == model.dim and labels.shape == (len(x),)
    if not fits or x.dtype.kind != "f":
        raise EmbeddingsError(
            f"The embeddings are {x.dtype} of shape {x.shape} and the labels {labels.shape}; "
            f"expected floats of shape (n, {model.dim}) and (n,)."
        )
    labeled = np.flatnonzero(~np.isnan(labels))
    order = kernels.identity_hash(np.zeros(len(labeled)), labeled, seed)
    labeled = labeled[np.argsort(order, kind="stable")][:max_rows]
    counts = {"n_read": len(labels), "n_unlabelled": int(np.isnan(labels).sum())}
    return model, *_usable(unit(x[labeled]), kernels.as_labels(labels[labeled], label), counts)


def _plain_labels(labels) -> np.ndarray:
    """Labels as float64, NaN if missing; shape (n, 1) becomes (n,)."""
    try:
        array = labels if isinstance(labels, (pd.Series, ExtensionArray)) else as_array(labels)
        if isinstance(array, np.ndarray):
            if array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            if array.ndim > 1:
                return array
        if array.ndim == 1 and array.dtype.kind not in "SU":
            # The type stub does not accept integer arrays and extension arrays here.
            values = pd.array(array, dtype="Float64")  # type: ignore[call-overload]
            return values.to_numpy("f8", np.nan)
    except (TypeError, ValueError):  # the message below names the type
        pass
    raise OptionError(
        f"The labels, a {type(labels).__name__}, are not numbers. Expected an array of 0 and 1 (or "
        "true and false), null or NaN where unknown."
    )


def _usable(x: np.ndarray, y: np.ndarray, counts: dict) -> tuple[np.ndarray, np.ndarray, dict]:
    valid = ~np.isnan(x).any(axis=1)
    return x[valid], y[valid], {**counts, "n_unscored": int((~valid).sum())}
