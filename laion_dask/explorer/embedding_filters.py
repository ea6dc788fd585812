"""Filters by embeddings: a polygon on the map, and the similarity to a query."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_dask.dtypes import ColumnTypes
from laion_dask.errors import OptionError
from laion_dask.explorer.filters import Filter
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.sample_points import parts_of
from laion_dask.explorer.where_text import column_text, number_text
from laion_dask.formatting import counted
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.predicate import Predicate, certain_and_possible, parse
from laion_dask.projections.polygon import Polygon
from laion_dask.projections.projection import Projection
from laion_dask.runtime import graph
from laion_dask.scoring import embedding_kernel
from laion_dask.scoring.queries import as_units


@dataclass(frozen=True)
class Region(Filter):
    """The rows whose points are in a polygon; see `in_region`.

    Parameters
    ----------
    polygon : tuple of (float, float)
        At least 3 corners.
    projection : Projection
    points : (n, 2) float32 array
        The points of the sample's rows in the projection; NaN for none.

    Raises
    ------
    OptionError
        When the polygon is not a polygon.
    """

    polygon: tuple[tuple[float, float], ...]
    projection: Projection
    points: npt.NDArray[np.float32] = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "polygon", Polygon.of(self.polygon).corners)

    @property
    def label(self) -> str:
        is_box = len(self.polygon) == 4 and all(
            len(set(one)) == 2 for one in zip(*self.polygon, strict=True)
        )
        return "box on the map" if is_box else "region drawn on the map"

    @property
    def corners(self) -> list[list[float]]:
        """The corners as plain lists."""
        return [list(corner) for corner in self.polygon]

    def passes(self, sample: Sample) -> np.ndarray:
        if len(self.points) != sample.n:
            raise OptionError(
                f"The region has the points of {counted(len(self.points), 'row')}, and the sample "
                f"has {counted(sample.n, 'row')}. Give the points of this sample."
            )
        return Polygon(self.polygon).contains(self.points)


@dataclass(frozen=True)
class Score(Filter):
    """The rows whose embeddings have at least a cosine with a query; see `similarity`.

    Parameters
    ----------
    vector : tuple of float
        The query, of the embeddings' dimension and of any length.
    at_least : float
        In [-1, 1]; compared as a column of float32 is.
    scores : (n,) float32 array
        The cosines of the sample's rows, from `sample_scores`; NaN for none.
    text : str
        The text of the query, if it was one.
    row : tuple of (int, int), optional
        The shard and row whose embedding the query is, if it is one.

    Raises
    ------
    OptionError
        When the bound is not a number.
    """

    vector: tuple[float, ...] = field(repr=False)
    at_least: float
    scores: npt.NDArray[np.float32] = field(compare=False, repr=False)
    text: str = ""
    row: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.at_least):
            raise OptionError(f"at_least is {self.at_least}. Expected a number in [-1, 1].")
        object.__setattr__(self, "vector", tuple(float(one) for one in self.vector))
        object.__setattr__(self, "at_least", float(self.at_least))

    @property
    def label(self) -> str:
        what = f"like {self.text!r}" if self.text else "like an image"
        if self.row is not None:
            what = f"like row {self.row[1]:,} of shard {self.row[0]:,}"
        return f"{what}, at least {self.at_least:.3f}"

    @property
    def question(self) -> str:
        """What the vector is, in words; a text is quoted, without control characters."""
        if self.row is not None:
            return f"the embedding of row {self.row[1]} of shard {self.row[0]}"
        return f"the embedding of {f'the text {self.text!r}' if self.text else 'an image'}"

    def where_of(self, column: str) -> str:
        """The condition on a column of scores."""
        return f"{column_text(column)} >= {number_text(self.at_least)}"

    def predicate(self, column: str) -> Predicate:
        """The condition, parsed."""
        return parse(self.where_of(column), ColumnTypes.of({column: "float32"}, ()))

    def passes(self, sample: Sample) -> np.ndarray:
        if len(self.scores) != sample.n:
            raise OptionError(
                f"The query has the scores of {counted(len(self.scores), 'row')}, and the sample "
                f"has {counted(sample.n, 'row')}. Give the scores of this sample."
            )
        frame = pd.DataFrame({"score": self.scores}, copy=False)
        return certain_and_possible(self.predicate("score"), frame)[0].to_numpy()

    def best_first(self, sample: Sample) -> npt.NDArray[np.int64]:
        """The positions of the rows that pass, the highest score first; equal ones in order."""
        there = np.flatnonzero(self.passes(sample))
        order: npt.NDArray[np.int64] = there[np.argsort(-self.scores[there], kind="stable")]
        return order


def query_of(query: Any, embeddings: Embeddings) -> embedding_kernel.Query:
    """A query as the verb `similarity` makes it of a vector."""
    return embedding_kernel.Query(tuple(as_units(query, embeddings, many=False)[0].tolist()))


def sample_scores(sample: Sample, embeddings: Embeddings, query: Any) -> npt.NDArray[np.float32]:
    """The cosine of each row of a sample with a query, (n,) float32; NaN for none. Eager.

    The values are those of the verb `similarity`, bit for bit. Shows progress, and can be
    interrupted.

    Parameters
    ----------
    sample : Sample
    embeddings : Embeddings
        Of the rows of the sample's frame.
    query : (dim,) array or sequence of float

    Raises
    ------
    EmbeddingsError, ModelMismatchError, PairingError
    """
    vector = query_of(query, embeddings)
    paired = graph.share(embeddings.paired_with(Provenance.of(sample.frame).shards))
    parts = parts_of(sample)
    if not parts:
        return np.empty(0, np.float32)
    tasks = graph.tasks(_scores_of, parts, paired, vector)
    return np.concatenate(graph.compute(*tasks, label="similarity to the query"))


def _scores_of(
    part: pd.DataFrame, number: int, embeddings: Embeddings, query: embedding_kernel.Query
) -> npt.NDArray[np.float32]:
    scores = embedding_kernel.similarity(part, embeddings, query, "score")
    found: npt.NDArray[np.float32] = scores["score"].to_numpy()
    return found


def threshold_of(scores: npt.NDArray[np.float32], k: int) -> float | None:
    """The score of the k-th best row, or of the worst if there are fewer; None without scores.

    `Score` with it selects these rows, and others of an equal score.
    """
    known = scores[~np.isnan(scores)]
    if not len(known) or k < 1:
        return None
    at = max(0, len(known) - k)
    return float(np.partition(known, at)[at])
