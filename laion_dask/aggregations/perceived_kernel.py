"""How many rows of a partition are nearest to which prompt; which rows is never told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.grouping.base import MOST_GROUPS, Grouping, members, too_many_groups
from laion_dask.backend import frame_to_arrow
from laion_dask.errors import ProvenanceError
from laion_dask.io.embeddings.row_ids import blocks
from laion_dask.numerics.dot_products import inner, scales
from laion_dask.schema import PROVENANCE

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Bytes of float32 rows that stay in a core's cache while every label is compared with them.
_CACHED = 3 << 18
#: What all rows are called where there is no grouping.
ALL = ""


@dataclass(frozen=True, eq=False)
class Axis:
    """Labels, one of which a picture is nearest to.

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


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of every embedding.

    Attributes
    ----------
    axes : tuple of Axis
    scale : float
        What cosines are multiplied by before the softmax.
    margin : float
        How much the highest probability must be over the next.
    by : Grouping or None
        Bound to the frame.
    """

    axes: tuple[Axis, ...]
    scale: float
    margin: float
    by: Grouping | None = None


def nearest(cosine: np.ndarray, scale: float, margin: float) -> np.ndarray:
    """The label whose probability is highest, by a margin. Every row by itself.

    Parameters
    ----------
    cosine : (n_labels, n) float64 array
        NaN for a row without direction.

    Returns
    -------
    (n,) int64 array
        0 to n_labels - 1; ``n_labels`` where no label is ahead by the margin, or two are level;
        ``n_labels + 1`` where the embedding has no direction.
    """
    n_labels = len(cosine)
    none = np.isnan(cosine).any(axis=0)
    safe = np.where(none, 0.0, cosine)
    # exp of what lies below the highest: 1 for that one, and no overflow.
    shares = np.exp(scale * (safe - safe.max(axis=0)))
    total = np.zeros(safe.shape[1])
    for one in shares:
        total += one
    best = shares.argmax(axis=0)
    second = np.partition(shares, n_labels - 2, axis=0)[n_labels - 2]
    ahead = (1 - second) / total
    found = np.where((ahead >= margin) & (second < 1), best, n_labels)
    return np.where(none, n_labels + 1, found)


def counted(partition, embeddings: Embeddings, question: Question) -> pd.DataFrame:
    """The counts of one partition, as a frame of one row.

    Returns
    -------
    DataFrame
        ``states``: a tuple, an axis each, of dicts of a group to (len(labels) + 2,) int64: rows of
        every label, not assigned, unscored. ``rows`` of the partition; ``unscored`` and
        ``rejected`` are 0, for `verbs.rows.account`.

    Raises
    ------
    ProvenanceError
        When a row occurs twice.
    """
    _refuse_repeats(partition)
    groups = _groups(partition, question.by)
    every = np.concatenate([axis.vectors for axis in question.axes])
    ends = np.cumsum([len(axis.labels) for axis in question.axes])[:-1]
    found = [np.empty(len(partition), np.int64) for _ in question.axes]
    for shard, rows, positions in blocks(partition):
        cosine = np.split(_cosines(embeddings.read(shard, rows), every), ends)
        for of_axis, column in zip(cosine, found, strict=True):
            column[positions] = nearest(of_axis, question.scale, question.margin)
    states = tuple(
        {label: np.bincount(column[rows], minlength=len(axis.labels) + 2) for label, rows in groups}
        for axis, column in zip(question.axes, found, strict=True)
    )
    return _row(states, len(partition))


def _refuse_repeats(partition) -> None:
    """One row many times over would make a group of its own, and tell its label."""
    shard, row = (
        column.to_numpy() for column in frame_to_arrow(partition[list(PROVENANCE)]).columns
    )
    places = shard.astype(np.int64) << 40 | row.astype(np.int64)
    if len(np.unique(places)) < len(places):
        raise ProvenanceError(
            "A row stands in this frame more than once, and perceived attributes are counted of "
            "distinct rows only. Drop the repeats: drop_duplicates(['shard', 'row'])."
        )


def _cosines(x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The cosine of every row with every vector, (len(vectors), n) float64; NaN: no direction.

    As `products.cosines`, each row alone, but widened and measured once for all vectors.
    """
    out = np.empty((len(vectors), len(x)))
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    step = max(1, _CACHED // (4 * x.shape[1]))
    for at in range(0, len(x), step):
        rows = x[at : at + step].astype(np.float32)
        for vector, told in zip(vectors, out, strict=True):
            inner(rows, vector, told[at : at + step])
        with np.errstate(invalid="ignore"):  # an infinite row times its scale, which is NaN
            out[:, at : at + step] *= scales(rows) / lengths
    return out


def _groups(partition, by: Grouping | None) -> list[tuple[str, np.ndarray]]:
    """Each group of a partition, with the positions of its rows."""
    if by is None:
        return [(ALL, np.arange(len(partition)))]
    found = members(Partition(frame_to_arrow(partition[list(by.reads)])), by)
    order = np.argsort(found.codes, kind="stable")
    ends = np.cumsum(found.counts())
    of_each = np.split(found.rows[order], ends[:-1]) if len(ends) else []
    several = dict(zip(found.labels, of_each, strict=True))
    outside = np.flatnonzero(~found.in_any())
    several[by.no_group] = np.concatenate([several.get(by.no_group, outside[:0]), outside])
    return [(label, rows) for label, rows in several.items() if len(rows)]


def added(results: pd.DataFrame) -> pd.DataFrame:
    """One result of several, laid end to end."""
    states = tuple(_sums(axis) for axis in zip(*results["states"], strict=True))
    one = _row(states, 0)
    for name in ("rows", "unscored", "rejected"):
        one[name] = int(results[name].sum())
    return one


def _sums(several: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    total: dict[str, np.ndarray] = {}
    for state in several:
        for label, counts in state.items():
            total[label] = total[label] + counts if label in total else counts
    if len(total) > MOST_GROUPS:
        raise too_many_groups("by", len(total))
    return total


def _row(states: tuple, rows: int) -> pd.DataFrame:
    cell = np.empty(1, dtype=object)
    cell[0] = states
    return pd.DataFrame({"states": cell, "rows": [rows], "unscored": [0], "rejected": [0]})


def no_rows() -> pd.DataFrame:
    """What `counted` and `added` return, without rows."""
    return _row((), 0).iloc[:0]
