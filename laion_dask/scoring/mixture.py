"""Weighted sums: of score columns, or of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import overload

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import column_like, frame_to_arrow
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import column_type
from laion_dask.errors import OptionError, must_be, no_column
from laion_dask.runtime import graph
from laion_dask.scoring import queries
from laion_dask.scoring.queries import Mix
from laion_dask.scoring.score import check_free


@dataclass(frozen=True)
class ScoreMix:
    """A weighted sum of score columns, as a column.

    Attributes
    ----------
    column : str
        The column that it computes.
    weights : tuple of (column, weight)
    """

    column: str
    weights: tuple[tuple[str, float], ...]

    def recipe(self) -> dict:
        """The manifest entry: the column and the weights."""
        return {"mix": self.column, "weights": dict(self.weights)}


@overload
def mix(frame: dd.DataFrame, weights: Mapping[str, float], to: str = "mix") -> dd.DataFrame: ...


@overload
def mix(frame: Mapping) -> Mix: ...


def mix(frame, weights=None, to: str = "mix"):
    """A weighted sum: of a frame's score columns as a new column, or of queries. Lazy.

    ``frame.laion.mix({"clip_score": 1, "norm_sim": 0.5})`` adds a column to a frame, and
    ``ld.mix({"king": 1, "man": -1, "woman": 1})``, without a frame, makes a query for `search`.

    Parameters
    ----------
    frame : dask DataFrame, or mapping
        Without ``weights``, a mapping of the parts of a query (texts, paths or bytes of images,
        Pillow images, or rows as (shard, row)) to their weights. Each part is normalized before it
        is weighted. Vectors need no `mix`: add and multiply them directly, ``clip.text("a dog") +
        0.5 * rating``.
    weights : mapping of str to float
        The score columns and their weights, such as those that `fit_mix` returns. Scores are not
        standardized.
    to : str
        The new column: float64, NaN where any of the scores is null or NaN, or the sum is
        undefined: infinity times 0, or less infinity.

    Raises
    ------
    ColumnError
        When the frame has no such column.
    OptionError
        When the mapping is empty, a part of a query is of an unsupported type, a weight is not a
        finite number, a column holds no numbers, or the new column already exists. All are raised
        immediately.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> mixed = frame.laion.mix({"similarity": 1, "pwatermark": -0.1}, to="quality")
    >>> str(mixed["quality"].dtype)
    'float64'
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> blue = ld.mix({"a red star": 1, "a red picture": -0.6, "a blue picture": 0.6})
    >>> hits = frame.laion.search(images, blue, k=1)
    >>> len(hits)
    1
    """
    if weights is None and not isinstance(frame, dd.DataFrame):
        return queries.mix(frame)
    must_be("The frame", frame, dd.DataFrame, "a Dask DataFrame, as read_shards returns")
    must_be("to", to, str, "the new column's name")
    spec = ScoreMix(to, checked_weights(frame, weights))
    check_free(frame, [to])
    meta = column_like(np.empty(0, np.float64), frame._meta)
    reads = [name for name, _ in spec.weights]
    summed = graph.map_columns(frame, _mixed, graph.share(spec), reads=reads, meta=meta)
    return frame.assign(**{to: summed})


def mix_cost(frame: PlannedFrame, weights: Mapping[str, float] | None = None) -> Cost:
    """The cost of `mix` of score columns, which is that of reading them."""
    if weights is None:
        note = "mix: assumes columns that are read or computed anyway"
        return Cost(("where",), notes=(note,))
    checked = checked_weights(frame.frame, weights)
    return Cost(("where",), columns=tuple(name for name, _ in checked))


def checked_weights(frame: dd.DataFrame, weights: object) -> tuple[tuple[str, float], ...]:
    """The weights of score columns, after checking them against the frame. Raises as `mix`."""
    must_be("weights", weights, Mapping, "a dict of columns and weights, {'clip_score': 1}")
    assert isinstance(weights, Mapping)
    if not weights:
        raise OptionError("There are no weights. Name at least one column: {'clip_score': 1}.")
    for name, weight in weights.items():
        check_score(frame, name)
        number = isinstance(weight, (int, float, np.number)) and not isinstance(weight, bool)
        if not (number and np.isfinite(weight)):
            raise OptionError(f"The weight of {name!r} is {weight!r}. Expected a finite number.")
    return tuple((name, float(weight)) for name, weight in weights.items())


def check_score(frame: dd.DataFrame, name: object) -> None:
    """Raise unless a frame has a column of numbers with this name."""
    if not isinstance(name, str) or name not in frame.columns:
        raise no_column(str(name), frame.columns)
    if column_type(frame.dtypes[name]) in ("string", "boolean", "other"):
        raise OptionError(
            f"The column {name!r} holds {frame.dtypes[name]}. Expected numbers, such as scores."
        )


def score_values(part, names: list[str]) -> np.ndarray:
    """Score columns of a partition, (n, columns) float64; NaN where a score is null."""
    table = frame_to_arrow(part[names].reset_index(drop=True))
    columns = [table[name].cast(pa.float64(), safe=False) for name in names]
    return np.stack([pc.fill_null(each, float("nan")).to_numpy() for each in columns], axis=1)


def _mixed(part, spec: ScoreMix):
    """The weighted sum of each row, in the order of the weights."""
    total = np.zeros(len(part))
    scores = score_values(part, [name for name, _ in spec.weights])
    with np.errstate(invalid="ignore", over="ignore"):  # of infinite scores
        for column, (_, weight) in zip(scores.T, spec.weights, strict=True):
            total = total + weight * column
    return column_like(total, part)
