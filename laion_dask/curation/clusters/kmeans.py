"""Cluster the embeddings of a frame's rows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import dask.dataframe as dd
import numpy as np

from laion_dask.cost import Cost, PlannedFrame, Work
from laion_dask.curation.clusters.assignment import Assigned, assign
from laion_dask.curation.clusters.chunks import (
    Chunk,
    ClusteredRows,
    check_embeddings,
    rows_of_frame,
)
from laion_dask.curation.clusters.lloyd import PER_CENTROID, Training, train
from laion_dask.curation.clusters.stages import Workspace, check_folder
from laion_dask.curation.clusters.work import cluster_cost, clustering_work
from laion_dask.display.overview import Displayed, Overview
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import stored_files
from laion_dask.io.storage.atomic_file import committed
from laion_dask.validation import whole_number


@dataclass(frozen=True, eq=False)
class Clusters(Displayed):
    """Centroids, from `kmeans`.

    Attributes
    ----------
    centroids : (k, dim) float32 array
        Of length one.
    sizes : (k,) int64 array
        The rows nearest to each centroid. 0 is possible if there are few distinct rows.
    distance : float
        The mean cosine distance of the rows to their centroids, in [0, 2], which k-means minimizes.
    model : str
        The name of the model of the embeddings.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> clusters = frame.laion.kmeans(images, 10, iterations=3)
    >>> clusters.centroids.shape, int(clusters.sizes.sum()) <= len(frame)
    ((10, 128), True)
    """

    centroids: np.ndarray
    sizes: np.ndarray
    distance: float
    model: str

    def __repr__(self) -> str:
        k, dim = self.centroids.shape
        return (
            f"Clusters({k:,} x {dim}, {int(self.sizes.sum()):,} rows, mean distance "
            f"{self.distance:.4f}, {self.model})"
        )

    def _overview(self) -> Overview:
        k, dim = self.centroids.shape
        sizes = f"{int(self.sizes.min()):,} to {int(self.sizes.max()):,} rows" if k else None
        facts = {
            "centroids": f"{k:,} of {dim:,} dimensions",
            "rows": f"{int(self.sizes.sum()):,}",
            "sizes": sizes,
            "mean distance": f"{self.distance:.4f}",
            "model": self.model,
        }
        return Overview("Clusters", facts)

    def save(self, path: str | os.PathLike) -> None:
        """Write the centroids as a ``.npy`` file. Eager."""
        with committed(Path(path)) as file:
            np.save(file, self.centroids, allow_pickle=False)


def kmeans(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    k: int,
    *,
    iterations: int = 10,
    sample: int | None = None,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
) -> Clusters:
    """Centroids of the embeddings of a frame's rows, by spherical k-means. Eager.

    Rows are compared by cosine, and a centroid is the direction of the sum of its rows (Dhillon and
    Modha 2001). The iterations but the last use a sample of rows, which is drawn by a hash of
    (seed, shard, row), and written to Dask's ``temporary_directory`` in int8; the last one uses all
    rows. First centroids are drawn as in k-means++, many at a time. A cluster that loses all its
    rows gets half of the largest one. In the iterations, rows are assigned by products of int8,
    which may confuse centroids whose cosines differ by 0.002; `Clusters.sizes` and ``distance``
    come from a last pass, which is exact.

    Sums are of integers, so the centroids are the same to the last bit for any partitioning, order
    of rows, and number of workers. A row without a direction (zero, NaN or infinite) has no
    cluster.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``; only its rows are clustered.
    embeddings : Embeddings
    k : int
        The number of centroids; fewer if fewer rows have a direction.
    iterations : int
        At least 1.
    sample : int, optional
        The expected number of rows of the sample; by default 256 per centroid, as in faiss. The
        sample needs ``dim + 20`` bytes a row on disk.
    seed : int
    folder : path, optional
        A new folder in which all files are kept, so that the same call continues an interrupted
        run: it keeps the centroids of each finished iteration, and the assignment of each chunk of
        rows. By default files go to Dask's ``temporary_directory``, and are removed.

    Returns
    -------
    Clusters

    Raises
    ------
    OptionError, ProvenanceError, PairingError
        Immediately, when an argument is wrong.
    SpillError
        When the temporary folder is full or not writable.

    References
    ----------
    Dhillon, I. S. and Modha, D. S. (2001). Concept decompositions for large sparse text data using
    clustering. Machine Learning 42.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> clusters = frame.laion.kmeans(images, 10, iterations=3)
    >>> len(clusters.centroids)
    10
    """
    refuse_exploded(frame, "kmeans")
    paired = check_embeddings(frame, embeddings)
    k = whole_number("k", k, "the number of centroids")
    chosen = training(k, iterations, sample, seed)
    check_folder(folder)
    rows = rows_of_frame(frame)
    clusters = [k, chosen.seed, chosen.iterations, chosen.sample]
    workspace = Workspace.of(folder, plan_of(rows, paired, clusters=clusters))
    centroids, assigned = clustered(rows.chunks, paired, chosen, workspace, with_vectors=False)
    return Clusters(centroids, assigned.sizes, assigned.distance, paired.model.name)


def kmeans_cost(
    frame: PlannedFrame, k: int = 1000, iterations: int = 10, sample: int | None = None
) -> Cost:
    """The cost of `kmeans`: iterations over a sample, the last one, and the exact assignment."""
    chosen = training(whole_number("k", k, "the number of centroids"), iterations, sample, 0)
    dim = frame.embeddings_for("kmeans").dim

    def work(n: int) -> list[Work]:
        return clustering_work(n, dim, chosen.k, chosen.iterations, chosen.sample)

    return cluster_cost(dim, chosen.k, work, "kmeans")


def training(k: int, iterations: object, sample: object, seed: object) -> Training:
    """Validated arguments of the training.

    Raises
    ------
    OptionError
    """
    iterations = whole_number("iterations", iterations, "passes over the sample")
    if sample is not None:
        sample = whole_number("sample", sample, "rows of the sample")
    seed = whole_number("seed", seed, "a whole number", minimum=0)
    return Training(k, iterations, seed, sample or PER_CENTROID * k)


def clustered(
    chunks: list[Chunk],
    embeddings: Embeddings,
    chosen: Training,
    workspace: Workspace,
    *,
    with_vectors: bool,
) -> tuple[np.ndarray, Assigned]:
    """The centroids of rows, and the rows of each cluster, which may be there already. Eager."""
    centroids = train(chunks, embeddings, chosen, workspace)
    assigned = assign(
        chunks, embeddings, centroids, workspace.stage("assigned"), with_vectors=with_vectors
    )
    return centroids, assigned


def check_clusters(n_clusters: object) -> int | None:
    """Validate a number of clusters, or None."""
    if n_clusters is None:
        return None
    return whole_number("n_clusters", n_clusters, "the number of clusters")


def plan_of(rows: ClusteredRows, embeddings: Embeddings, **arguments: object) -> dict[str, object]:
    """What the files of a run depend on: rows, embeddings and their files, and arguments."""
    stored = stored_files(embeddings.files)
    files = [_version(path) for path in dict.fromkeys(file.path for file in stored)]
    token = repr(embeddings.__dask_tokenize__())
    return {"rows": rows.digest, "embeddings": token, "files": files, **arguments}


def _version(path: str) -> tuple[str, int, int]:
    """The size and the time of change of a local file; zeros elsewhere."""
    try:
        found = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, found.st_size, found.st_mtime_ns
