"""The job that computes the map: the projection, the points of the sample, labels of regions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs
from laion_dask.explorer.region_labels import Label, RegionLabels
from laion_dask.explorer.sample_points import sample_points
from laion_dask.explorer.views.map import MapView
from laion_dask.projections.projection import Projection
from laion_dask.projections.stored import stored_projection

#: What the job returns.
Computed = tuple[Projection, np.ndarray, RegionLabels]


class ProjectedMap(MapView):
    """A map whose points are computed in the background; until then, it says so.

    Parameters
    ----------
    exploration : Exploration
        With embeddings.
    jobs : Jobs
    """

    def __init__(self, exploration: Exploration, jobs: Jobs) -> None:
        self._of_regions: Callable[..., list[Label]] = lambda *view: []
        super().__init__(exploration, lambda *view: self._of_regions(*view))
        self.job = jobs.start("compute the map", self._compute, then=self._show)

    def _compute(self, job: Job) -> Computed:
        embeddings, sample = self._exploration.embeddings, self._exploration.sample
        assert embeddings is not None
        projection = stored_projection(embeddings)
        points = sample_points(sample, embeddings, projection)
        return projection, points, RegionLabels.of_sample(sample, points)

    def _show(self, computed: Computed) -> None:
        self._exploration.projection, self._exploration.points, self._of_regions = computed
        self.refresh()


def make_map(exploration: Exploration, jobs: Jobs) -> MapView | None:
    """The map; None without embeddings."""
    return None if exploration.embeddings is None else ProjectedMap(exploration, jobs)
