"""The jobs of the map: projection and points of the sample, then labels of regions."""

from __future__ import annotations

import numpy as np

from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs, one_line
from laion_dask.explorer.region_labels import RegionLabels
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.sample_points import sample_points
from laion_dask.explorer.views import map_native
from laion_dask.explorer.views.map import MapView
from laion_dask.projections.polygon import Polygon
from laion_dask.projections.projection import Projection
from laion_dask.projections.stored import stored_projection

_CANCELED = "its computation was canceled. Call explore() again to compute it."
#: A polygon that no row is in, to load what a lasso needs.
_TRIANGLE = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def make_map(exploration: Exploration, jobs: Jobs) -> MapView | None:
    """The map, whose points and labels jobs compute; None without embeddings.

    The projection is fitted once, and later opened from the cache folder, as are the points.

    Parameters
    ----------
    exploration : Exploration
        Its ``projection`` and ``points`` are set when they are computed.
    jobs : Jobs
    """
    embeddings = exploration.embeddings
    if embeddings is None:
        return None
    view = MapView(exploration)

    def project(job: Job) -> tuple[Projection, np.ndarray]:
        projection = exploration.projection or stored_projection(embeddings)
        return projection, sample_points(exploration.sample, embeddings, projection)

    def show(found: tuple[Projection, np.ndarray]) -> None:
        exploration.projection, exploration.points = found
        view.refresh()
        label()

    def label() -> None:
        points = exploration.points
        assert points is not None
        jobs.start(
            "label the map", lambda job: _labels(exploration.sample, points), then=set_labels
        )

    def set_labels(labels: RegionLabels) -> None:
        view.labels = labels

    if exploration.points is not None:
        label()
    else:
        job = jobs.start(
            "project the embeddings",
            project,
            then=show,
            failed=lambda error: view.fail(one_line(error)),
        )
        jobs.subscribe(lambda: view.fail(_CANCELED) if job.state == "canceled" else None)
    return view


def _labels(sample: Sample, points: np.ndarray) -> RegionLabels:
    """Labels; and load, or compile, what hovering and a lasso need, so that the first is fast."""
    map_native.load()
    Polygon.of(_TRIANGLE).contains(np.full((1, 2), 2, np.float32))
    return RegionLabels.of_sample(sample, points)
