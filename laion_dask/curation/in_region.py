"""Keep the rows whose embeddings are projected into a polygon, such as a lasso on a map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd
import numpy as np

from laion_dask.backend import Frame
from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame
from laion_dask.curation.smallest import KEEP, decided
from laion_dask.errors import must_be
from laion_dask.frame.selection import select_rows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.vector_blocks import vector_blocks
from laion_dask.projections.polygon import Polygon
from laion_dask.projections.projection import Projection, check_digest, open_projection
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.scoring.score import checked_provenance


@dataclass(frozen=True)
class Region:
    """A polygon in a projection.

    Attributes
    ----------
    polygon : Polygon
    projection : Projection
    """

    polygon: Polygon
    projection: Projection

    @property
    def text(self) -> str:
        """The name of the rule in the funnel and in the manifest."""
        digest = self.projection.digest.removeprefix("sha256:")
        return (
            f"in_region({len(self.polygon)} points of sha256 {self.polygon.sha256[:16]}, "
            f"projection of sha256 {digest[:16]})"
        )

    def recipe(self) -> dict[str, Any]:
        """The entry of a manifest."""
        corners = [list(corner) for corner in self.polygon.corners]
        return {"in_region": corners, **self.projection.recipe()}


def in_region(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    polygon: Sequence[Sequence[float]] | np.ndarray,
    projection: Projection | str | os.PathLike[str],
    *,
    digest: str | None = None,
) -> dd.DataFrame:
    """The rows whose embeddings are projected into a polygon. Lazy.

    A point is inside by the even-odd rule, or if it is on an edge: a lasso may cross itself, both
    loops of a figure eight are inside, and a part that it goes around twice is outside. Points are
    computed row by row in float64 and rounded to float32, and compared with the polygon exactly, so
    a row is on the same side whatever partitions and workers there are.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    embeddings : Embeddings
        Embeddings of the frame's rows. A row whose embedding is zero, NaN or infinite is unscored.
    polygon : sequence of [x, y], or (n, 2) array
        At least 3 different points; the last one is joined to the first.
    projection : Projection, or path of a file that `Projection.save` wrote
        The projection that the polygon was drawn in.
    digest : str, optional
        The digest that the projection must have; see `Projection.digest`.

    Returns
    -------
    dask DataFrame
        `rows`, `funnel` and `excluded` count the rows outside as dropped.

    Raises
    ------
    OptionError
        When the polygon is not a polygon.
    ProjectionError
        When the file of the projection is missing or damaged, or has another digest.
    ModelMismatchError, EmbeddingsError, PairingError, ProvenanceError
        When the embeddings are not those of the projection's model, or of the frame's shards.
    All are raised immediately.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> projection = ld.fit_projection(images)
    >>> right = [[0, -2], [2, -2], [2, 2], [0, 2]]
    >>> kept = frame.laion.in_region(images, right, projection)
    >>> 0 < len(kept) < len(frame)
    True
    """
    provenance = checked_provenance(frame, embeddings)
    region = region_of(polygon, projection, digest)
    region.projection.check_model(embeddings)
    paired = graph.share(embeddings.paired_with(provenance.shards))
    meta = decided(frame._meta, np.empty(0, bool), np.empty(0, bool))
    keep = graph.map_columns(
        frame, decisions, paired, graph.share(region), reads=PROVENANCE, meta=meta
    )[KEEP]
    return select_rows(frame, keep, region.text)


def region_of(
    polygon: object, projection: Projection | str | os.PathLike[str], digest: str | None = None
) -> Region:
    """A region from the arguments of `in_region`; raises as it does."""
    corners = Polygon.of(polygon)
    if isinstance(projection, (str, os.PathLike)):
        return Region(corners, open_projection(projection, digest))
    must_be("projection", projection, Projection, "what ld.fit_projection returns, or its file")
    check_digest(projection, digest, "The projection")
    return Region(corners, projection)


def in_region_cost(frame: PlannedFrame) -> Cost:
    """The cost of `in_region`: three dot products a row."""
    flop = 6.0 * frame.embeddings_for("in_region").dim
    return Cost(("similarity",), reads=EMBEDDINGS, flop=flop, label="in_region")


def points_of(part: Frame, embeddings: Embeddings, projection: Projection) -> np.ndarray:
    """The points of a partition's rows, (n, 2) float32; NaN for a row without one."""
    points = np.full((len(part), 2), np.nan, np.float32)
    for (x,), positions in vector_blocks(part, [embeddings]):
        points[positions] = projection.project(x)
    return points


def decisions(part: Frame, embeddings: Embeddings, region: Region) -> Frame:
    """Whether each row of a partition is in a region; null for a row without a point."""
    points = points_of(part, embeddings, region.projection)
    return decided(part, region.polygon.contains(points), np.isnan(points[:, 0]))
