"""The embeddings of trusted pairs of images and captions, for `train_filter`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.backend import frame_to_arrow
from laion_dask.errors import EmbeddingsError, OptionError
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.where import where
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import ClipModel, EmbeddingSpace, as_model, check_same_space
from laion_dask.models.heads.batching import as_array
from laion_dask.numerics.normalization import unit
from laion_dask.options import is_watched
from laion_dask.runtime import graph
from laion_dask.runtime.progress import ProgressBar
from laion_dask.schema import PROVENANCE
from laion_dask.training.sample import identity_hash

_EXPECTED = (
    "a frame whose rows are trusted, a where-expression together with frame=, or rows as a table "
    "or array of shard and row"
)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Embeddings of trusted pairs, in the order of a hash of their identity.

    Attributes
    ----------
    model : ClipModel or EmbeddingSpace
    images, texts : (n, dim) float32 array
        Rows of length one.
    n_trusted, n_unscored : int
        Number of trusted rows; of sampled rows without a usable embedding, which are left out.
    """

    model: ClipModel | EmbeddingSpace
    images: np.ndarray
    texts: np.ndarray
    n_trusted: int
    n_unscored: int


def pairs_of_arrays(images, texts, trusted, clip, seed: int, max_rows: int) -> Pairs:
    """The pairs of two arrays, or those at trusted positions. Eager; raises as `train_filter`."""
    model = clip if clip is not None else getattr(images, "model", None)
    if model is None:
        raise OptionError(
            "The embeddings are plain arrays, so their model is unknown. Pass it as clip='…'."
        )
    model = as_model(model)
    x, y = as_array(images), as_array(texts)
    if x.ndim != 2 or x.shape != y.shape or {x.dtype.kind, y.dtype.kind} != {"f"}:
        raise EmbeddingsError(
            f"The embeddings are {x.dtype} of shape {x.shape} and {y.dtype} of shape {y.shape}; "
            "expected floats of shape (n, dim), a caption for every image."
        )
    if model.dim is None and isinstance(model, EmbeddingSpace) and x.shape[1]:
        model = EmbeddingSpace(model.name, int(x.shape[1]))
    if x.shape[1] != model.dim:
        raise EmbeddingsError(
            f"The embeddings have {x.shape[1]} dimensions. Expected {model.dim}, as {model.name} "
            "makes them."
        )
    positions = _positions(trusted, len(x))
    chosen = _ordered(np.zeros(len(positions), np.int64), positions, seed)[:max_rows]
    chosen = positions[chosen]
    return _usable(model, x[chosen], y[chosen], len(positions))


def pairs_of_frame(
    images: Embeddings, texts: Embeddings, trusted, frame, seed: int, max_rows: int
) -> Pairs:
    """The pairs of trusted rows. Eager; raises as `train_filter`."""
    check_same_space(images.model, texts.model, "The two sets of embeddings")
    if isinstance(trusted, str):
        if frame is None:
            raise OptionError(
                f"trusted is the expression {trusted!r}, and there is no frame to apply it to. "
                "Pass the frame, too, or the filtered frame itself as trusted."
            )
        trusted = where(frame, trusted)
    trusted = frame if trusted is None else trusted
    if isinstance(trusted, dd.DataFrame):
        shards = Provenance.of(trusted).shards
        images, texts = images.paired_with(shards), texts.paired_with(shards)
        rows, n_trusted = _sampled(trusted, seed, max_rows)
    else:
        if isinstance(frame, dd.DataFrame):
            shards = Provenance.of(frame).shards
            images, texts = images.paired_with(shards), texts.paired_with(shards)
        rows = _listed(trusted)
        n_trusted = len(rows)
        rows = rows.iloc[_ordered(rows["shard"], rows["row"], seed)[:max_rows]]
    return _usable(images.model, _read(images, rows), _read(texts, rows), n_trusted)


def _positions(trusted, n: int) -> np.ndarray:
    if trusted is None:
        return np.arange(n)
    values = np.asarray(trusted)
    if values.dtype == bool and values.shape == (n,):
        return np.flatnonzero(values)
    whole = values.dtype.kind in "iu" and values.ndim == 1
    if not whole or (len(values) and not (values.min() >= 0 and values.max() < n)):
        raise OptionError(
            f"trusted is {values.dtype} of shape {values.shape}. Expected a mask of {n:,} booleans "
            f"or positions from 0 to {n - 1:,}, since the embeddings are arrays."
        )
    return np.unique(values).astype(np.int64)


def _listed(trusted) -> pd.DataFrame:
    """Distinct rows from a table or an array of shard and row."""
    if isinstance(trusted, pd.DataFrame) and set(PROVENANCE) <= set(trusted.columns):
        listed = trusted[list(PROVENANCE)]
    else:
        try:
            values = np.asarray(trusted)
        except ValueError:
            values = np.empty(0)
        if values.dtype.kind not in "iu" or values.ndim != 2 or values.shape[1] != 2:
            raise OptionError(f"trusted is a {type(trusted).__name__}. Expected {_EXPECTED}.")
        listed = pd.DataFrame(values, columns=list(PROVENANCE))
    if listed.isna().to_numpy().any():
        raise OptionError("Some trusted rows have no shard or row. Expected whole numbers.")
    return listed.astype("int64").drop_duplicates()


def _ordered(shard, row, seed: int) -> np.ndarray:
    """Positions in the order of `identity_hash`, ties by (shard, row)."""
    shard, row = np.asarray(shard), np.asarray(row)
    return np.lexsort((row, shard, identity_hash(shard, row, seed)))


def _sampled(frame: dd.DataFrame, seed: int, max_rows: int) -> tuple[pd.DataFrame, int]:
    """Rows of a frame in order of their hash, at most ``max_rows``, and the number of all."""
    Provenance.of(frame).check_identity_columns()
    meta = _table(np.empty(0, np.int64), np.empty(0, np.int64), seed, 0)[:0]
    parts = graph.map_columns(frame, _first, seed, max_rows, reads=PROVENANCE, meta=meta)
    sample = graph.reduce(parts, partial(_merged, max_rows=max_rows), meta=meta)
    (sample,) = graph.compute(sample, label="sample trusted rows")
    return sample[sample["shard"] >= 0].reset_index(drop=True), int(sample["n"].sum())


def _first(part, seed: int, max_rows: int) -> pd.DataFrame:
    """The first rows of a partition in order of their hash, after a row with their number."""
    table = frame_to_arrow(part.reset_index(drop=True)).drop_null()
    shard, row = (table[name].to_numpy().astype(np.int64) for name in PROVENANCE)
    return _merged(_table(shard, row, seed, len(shard)), max_rows)


def _table(shard: np.ndarray, row: np.ndarray, seed: int, n: int) -> pd.DataFrame:
    order = np.append(np.uint64(0), identity_hash(shard, row, seed))
    columns = {"shard": np.append(-1, shard), "row": np.append(-1, row), "order": order}
    return pd.DataFrame({**columns, "n": np.append(n, np.zeros(len(shard), np.int64))})


def _merged(samples: pd.DataFrame, max_rows: int) -> pd.DataFrame:
    count = samples[samples["shard"] < 0][:1].assign(n=samples["n"].sum())
    rows = samples[samples["shard"] >= 0].sort_values(["order", "shard", "row"])[:max_rows]
    return pd.concat([count, rows])


def _read(embeddings: Embeddings, rows: pd.DataFrame) -> np.ndarray:
    x = np.empty((len(rows), embeddings.dim), np.float32)
    shard, row = rows["shard"].to_numpy(), rows["row"].to_numpy()
    bar = ProgressBar(
        np.unique(shard), desc="read embeddings", leave=False, disable=not is_watched()
    )
    for number in bar:
        positions = np.flatnonzero(shard == number)
        x[positions] = unit(embeddings.read(int(number), row[positions]))
    return x


def _usable(model, x: np.ndarray, y: np.ndarray, n_trusted: int) -> Pairs:
    x, y = unit(x), unit(y)
    known = ~(np.isnan(x).any(axis=1) | np.isnan(y).any(axis=1))
    return Pairs(model, x[known], y[known], n_trusted, int((~known).sum()))
