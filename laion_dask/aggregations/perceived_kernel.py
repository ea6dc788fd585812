"""The nearest label of each row of a partition; only counts of labels leave the partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from laion_dask.errors import ProvenanceError
from laion_dask.io.embeddings.row_ids import shards_and_rows
from laion_dask.io.embeddings.vector_blocks import vector_blocks
from laion_dask.numerics.dot_products import inner, scales

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Bytes of float32 rows that stay in a core's cache while they are compared with every label.
_CACHED = 3 << 18


@dataclass(frozen=True, eq=False)
class Axis:
    """The labels of an attribute, as directions in the embedding space.

    Attributes
    ----------
    name : str
        Such as ``gender``.
    labels : tuple of str
    vectors : (len(labels), dim) float32 array
        Unit norm.
    """

    name: str
    labels: tuple[str, ...]
    vectors: np.ndarray = field(repr=False)


def nearest(cosine: np.ndarray, scale: float, margin: float) -> np.ndarray:
    """The label with the highest probability, if it leads by a margin; computed row by row.

    Parameters
    ----------
    cosine : (n_labels, n) float64 array
        NaN for a row without a direction.
    scale : float
        Factor applied to the cosines before the softmax.
    margin : float
        Minimum lead of the highest probability over the next.

    Returns
    -------
    (n,) int64 array
        0 to n_labels - 1; ``n_labels`` if no label leads by the margin, or two are tied;
        ``n_labels + 1`` if the embedding has no direction.
    """
    n_labels = len(cosine)
    none = np.isnan(cosine).any(axis=0)
    safe = np.where(none, 0.0, cosine)
    # Relative to the highest, whose exp is 1, so that nothing overflows.
    shares = np.exp(scale * (safe - safe.max(axis=0)))
    total = np.zeros(safe.shape[1])
    for one in shares:
        total += one
    best = shares.argmax(axis=0)
    second = np.partition(shares, n_labels - 2, axis=0)[n_labels - 2]
    ahead = (1 - second) / total
    codes = np.where((ahead >= margin) & (second < 1), best, n_labels)
    return np.where(none, n_labels + 1, codes)


def label_codes(
    rows: pd.DataFrame, embeddings: Embeddings, axes: Sequence[Axis], scale: float, margin: float
) -> list[np.ndarray]:
    """Label of every row on every axis, each (n,) int64 with the codes of `nearest`.

    Parameters
    ----------
    rows : DataFrame
        ``shard`` and ``row`` of the partition's rows.

    Raises
    ------
    ProvenanceError
        If a row occurs twice, or has no shard or row.
    """
    _check_distinct(rows)
    vectors = np.concatenate([axis.vectors for axis in axes])
    ends = np.cumsum([len(axis.labels) for axis in axes])[:-1]
    codes = [np.empty(len(rows), np.int64) for _ in axes]
    for (matrix,), positions in vector_blocks(rows, [embeddings]):
        cosines = np.split(_cosines(matrix, vectors), ends)
        for cosine, column in zip(cosines, codes, strict=True):
            column[positions] = nearest(cosine, scale, margin)
    return codes


def _check_distinct(rows: pd.DataFrame) -> None:
    """Raise if a row is repeated: many copies would form a group and reveal the row's label."""
    shard, row = shards_and_rows(rows)
    ids = shard << 40 | row
    if len(np.unique(ids)) < len(ids):
        raise ProvenanceError(
            "A row occurs in this frame more than once, but perceived attributes are only counted "
            "for distinct rows. Drop the repeats: drop_duplicates(['shard', 'row'])."
        )


def _cosines(x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosine of every row with every vector, (len(vectors), n) float64; NaN if undefined.

    Like `dot_products.cosines`, row by row, but converts and normalizes rows once for all vectors.
    """
    out = np.empty((len(vectors), len(x)))
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    step = max(1, _CACHED // (4 * x.shape[1]))
    for at in range(0, len(x), step):
        rows = x[at : at + step].astype(np.float32)
        for vector, cosine in zip(vectors, out, strict=True):
            inner(rows, vector, cosine[at : at + step])
        with np.errstate(invalid="ignore"):  # an infinite row times its scale is NaN
            out[:, at : at + step] *= scales(rows) / lengths
    return out
