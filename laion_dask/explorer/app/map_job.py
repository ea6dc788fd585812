"""The jobs of the map: projection and points of the sample, then labels of regions."""

from __future__ import annotations

import numpy as np

from laion_dask.explorer.captions import caption_column
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs, error_line
from laion_dask.explorer.region_labels import RegionLabels
from laion_dask.explorer.sample_points import sample_points
from laion_dask.explorer.views import map_native
from laion_dask.explorer.views.map import MapView
from laion_dask.extras import is_installed
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.mmap_cache import mapped_files
from laion_dask.memory_pool import release_unused
from laion_dask.projections.polygon import Polygon
from laion_dask.projections.projection import Projection
from laion_dask.projections.stored import stored_projection

_CANCELED = "its computation was canceled. Open the explorer again to compute it."
#: A projection, and the points of the sample.
Computed = tuple[Projection, np.ndarray]
#: The projections to choose from.
_METHODS = {"pca": "PCA", "umap": "UMAP"}
#: A polygon to warm up the lasso with.
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
    if exploration.embeddings is None:
        return None
    view = MapView(exploration)
    _MapJobs(exploration, jobs, view, exploration.embeddings).start()
    return view


class _MapJobs:
    """Starts the jobs of a map and passes it their results."""

    def __init__(
        self, exploration: Exploration, jobs: Jobs, view: MapView, embeddings: Embeddings
    ) -> None:
        self._exploration, self._jobs, self._view = exploration, jobs, view
        self._embeddings = embeddings
        self._job: Job | None = None  # the one that computes points
        jobs.subscribe(self._follow)

    def start(self) -> None:
        """Compute the points, unless they are known, and then the labels."""
        if self._exploration.points is not None:
            self._label()
        else:
            self._project("pca", "projecting the embeddings")

    def choose(self, method: str) -> None:
        """Show the map by another method. A region that was drawn still selects its rows."""
        if self._job is not None and not self._job.has_ended:
            self._job.cancel()
        self._view.panel.projection = method
        if method != self._shown:
            self._project(method, f"projecting the embeddings by {_METHODS[method]}")

    @property
    def _shown(self) -> str:
        projection = self._exploration.projection
        return "pca" if projection is None else projection.method

    def _project(self, method: str, label: str) -> None:
        def work(job: Job) -> Computed:
            known = self._exploration.projection
            if known is None or known.method != method:
                known = stored_projection(self._embeddings, method)
            points = sample_points(self._exploration.sample, self._embeddings, known)
            mapped_files.clear()  # mapped vectors count as memory of the process
            release_unused()
            _load_kernels()
            return known, points

        self._job = self._jobs.start(label, work, then=self._show, failed=self._fail)

    def _show(self, found: Computed) -> None:
        self._exploration.projection, self._exploration.points = found
        self._view.labels = None
        self._view.panel.projection = self._shown
        self._view.refresh()
        self._label()

    def _fail(self, error: Exception) -> None:
        if self._exploration.points is None:
            self._view.fail(error_line(error))
        self._view.panel.projection = self._shown

    def _follow(self) -> None:
        if self._job is not None and self._job.state == "canceled":
            self._job = None
            if self._exploration.points is None:
                self._view.fail(_CANCELED)
            self._view.panel.projection = self._shown

    def _label(self) -> None:
        points = self._exploration.points
        assert points is not None
        if is_installed("umap"):
            self._view.offer(list(_METHODS.items()), self.choose)

        def show(labels: RegionLabels) -> None:
            if points is self._exploration.points:
                self._view.labels = labels

        def work(job: Job) -> RegionLabels:
            sample = self._exploration.sample
            labels = RegionLabels.of_sample(sample, points, caption_column(sample))
            release_unused()
            return labels

        self._view.when_at_rest(lambda: self._jobs.start("labeling the map", work, then=show))


def _load_kernels() -> None:
    """Load or compile the kernels for hovering and the lasso, so that the first use is fast."""
    map_native.load_kernels()
    Polygon.of(_TRIANGLE).contains(np.full((1, 2), 2, np.float32))
