"""The filter of the map: the rows whose points are in a polygon."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from laion_dask.explorer.filters import Filter
from laion_dask.explorer.sample import Sample
from laion_dask.projections.polygon import Polygon
from laion_dask.projections.projection import Projection


@dataclass(frozen=True)
class Region(Filter):
    """The rows whose points are in a polygon; rows without an embedding are not.

    Parameters
    ----------
    polygon : Polygon
        In the units of the map.
    projection : Projection
        The one that the points are of.
    points : (n, 2) float32 array
        The points of the sample's rows.
    """

    polygon: Polygon
    projection: Projection | None
    points: np.ndarray = field(compare=False, repr=False)

    @property
    def label(self) -> str:
        return f"map: region with {len(self.polygon)} corners"

    def passes(self, sample: Sample) -> np.ndarray:
        return self.polygon.contains(self.points)
