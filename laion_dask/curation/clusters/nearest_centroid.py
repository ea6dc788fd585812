"""The nearest of given centroids as a column."""

from __future__ import annotations

import os

import dask.dataframe as dd
import numpy as np
import pyarrow as pa

from laion_dask.backend import Frame, frame_from_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame, Work
from laion_dask.curation.clusters.chunks import check_embeddings
from laion_dask.curation.clusters.kmeans import Clusters
from laion_dask.curation.clusters.nearest import Nearest, as_centroids
from laion_dask.curation.clusters.work import START, assign_work, cluster_cost
from laion_dask.errors import ModelMismatchError, OptionError, must_be
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.vector_blocks import vector_blocks
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.validation import whole_number


def nearest_centroid(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    centroids: np.ndarray | str | os.PathLike | Clusters,
    *,
    to: str = "cluster",
    distance: str | None = None,
) -> dd.DataFrame:
    """The frame with the number of the centroid nearest to each row's embedding. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    embeddings : Embeddings
    centroids : array of shape (k, dim), path of a ``.npy`` file, or Clusters
        Scaled to length one, so the nearest is that of the largest cosine.
    to : str
        The new column.
    distance : str, optional
        A second column: the cosine distance to that centroid.

    Returns
    -------
    dask DataFrame
        With a nullable int32 column, from 0: of equally near centroids, the first; null for a row
        whose embedding is zero, NaN or infinite. ``distance``: float64 in [0, 2]; NaN for such
        rows. Both are those of a loop in float64 over all centroids.

    Raises
    ------
    OptionError, EmbeddingsError, ModelMismatchError, PairingError, ProvenanceError
        Immediately, when an argument is wrong.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> clusters = frame.laion.kmeans(images, 10, iterations=3)
    >>> named = frame.laion.nearest_centroid(images, clusters)
    >>> bool((named["cluster"].dropna().compute() < 10).all())
    True
    """
    paired = check_embeddings(frame, embeddings)
    if isinstance(centroids, Clusters) and centroids.model != paired.model.name:
        raise ModelMismatchError(
            f"The centroids are of embeddings of {centroids.model}, and the embeddings of "
            f"{paired.model.name}. Expected one model: cluster these embeddings."
        )
    given = as_centroids(centroids, paired.dim)
    names = [to] if distance is None else [to, distance]
    for argument, name in zip(("to", "distance"), names, strict=False):
        must_be(argument, name, str, "the name of a new column")
        if name in frame.columns or names.count(name) > 1:
            raise OptionError(
                f"{argument} is {name!r}, which is a column already. Choose another name."
            )
    shared = graph.share(given)
    meta = _columns(frame._meta, np.empty(0, np.int32), np.empty(0), names)
    new = graph.map_columns(
        frame, nearest_columns, paired, shared, names, reads=list(PROVENANCE), meta=meta
    )
    return frame.assign(**{name: new[name] for name in names})


def nearest_centroid_cost(
    frame: PlannedFrame, centroids: int | np.ndarray | str | os.PathLike | Clusters = 1000
) -> Cost:
    """The cost of `nearest_centroid` for centroids, or for so many."""
    return nearest_cost(frame, centroids, "nearest_centroid")


def nearest_cost(frame: PlannedFrame, centroids: object, label: str) -> Cost:
    """The cost of comparing each row with each centroid: a pass over the embeddings."""
    dim = frame.embeddings_for(label).dim
    if isinstance(centroids, (np.ndarray, str, os.PathLike, Clusters)):
        k = len(as_centroids(centroids, dim))
    else:
        k = whole_number(f"{label}'s argument", centroids, "centroids, or their number")

    def work(n: int) -> list[Work]:
        return [*assign_work(n, dim, k, with_vectors=False), Work(START, 1, 1)]

    return cluster_cost(dim, k, work, label, passes=1)


def nearest_columns(part: Frame, embeddings: Embeddings, centroids: np.ndarray, names) -> Frame:
    """The columns of `nearest_centroid`: a kernel of a partition."""
    label, found = np.full(len(part), -1, np.int32), np.full(len(part), np.nan)
    with one_torch_thread():
        nearest = Nearest(centroids)
        for (x,), positions in vector_blocks(part, [embeddings]):
            label[positions], found[positions] = nearest.of(x)
    return _columns(part, label, 1 - found, names)


def _columns(part: Frame, label: np.ndarray, distance: np.ndarray, names) -> Frame:
    columns = [pa.array(label, mask=label < 0), pa.array(distance)]
    table = pa.table(dict(zip(names, columns, strict=False)))
    result = frame_from_arrow(table, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result
