"""Keep the rows whose cluster is one that target embeddings fall into."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Frame, frame_from_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.clusters.kmeans import Clusters
from laion_dask.curation.clusters.nearest import Nearest, as_centroids
from laion_dask.curation.clusters.nearest_centroid import nearest_centroid, nearest_cost
from laion_dask.errors import EmbeddingsError, must_be
from laion_dask.frame.selection import select_rows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime import cancellation, graph

#: Rows of the targets that are read at once.
_BLOCK = 1 << 16


def near_targets(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    centroids: np.ndarray | str | os.PathLike | Clusters,
    targets: np.ndarray | str | os.PathLike,
) -> dd.DataFrame:
    """The rows whose nearest centroid is the nearest of some target. Lazy.

    This is DataComp's image-based filter (Gadre et al. 2023, section 3.4): the centroids are those
    of the pool's ViT-L/14 image embeddings, the targets the embeddings of ImageNet's images.
    Rows without a direction (zero, NaN or infinite) are unscored.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    embeddings : Embeddings
        Image embeddings of the frame's rows.
    centroids : array of shape (k, dim), path of a ``.npy`` file, or Clusters
    targets : array of shape (n, dim), or path of a ``.npy`` file
        Embeddings by the same model; read in blocks, immediately.

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
    >>> stars = ld.ClipModel("demo").text(["a red star", "a blue star"])
    >>> near = frame.laion.near_targets(images, clusters, stars)
    >>> 0 < near.laion.rows().kept < len(frame)
    True
    """
    column = _unused_name(frame)
    named = nearest_centroid(frame, embeddings, centroids, to=column)
    given = as_centroids(centroids, embeddings.dim)
    wanted = TargetClusters.of(_opened(targets, embeddings.dim), given)
    meta = _decisions(named._meta[[column]], column, wanted)
    decided = graph.map_columns(named, _decisions, column, wanted, reads=[column], meta=meta)
    text = f"near_targets({len(wanted.numbers):,} of {wanted.k:,} clusters)"
    kept: dd.DataFrame = select_rows(named, decided["keep"], text)[list(frame.columns)]
    return kept


@dataclass(frozen=True)
class TargetClusters:
    """The clusters that targets fall into.

    Attributes
    ----------
    numbers : tuple of int
        Sorted.
    k : int
        The number of all clusters.
    centroids_sha256, targets_sha256 : str
        Digests of their values as float32.
    """

    numbers: tuple[int, ...]
    k: int
    centroids_sha256: str
    targets_sha256: str

    @classmethod
    def of(cls, targets: np.ndarray, centroids: np.ndarray) -> TargetClusters:
        """The clusters of targets, which are read in blocks. Eager."""
        nearest, found = Nearest(centroids), np.zeros(len(centroids), bool)
        digest = hashlib.sha256()
        for at in range(0, len(targets), _BLOCK):
            cancellation.check()
            block = np.ascontiguousarray(targets[at : at + _BLOCK], np.float32)
            digest.update(block.tobytes())
            label, _ = nearest.of(block)
            found[label[label >= 0]] = True
        if not found.any():
            raise EmbeddingsError("No target has a direction: all are zero, NaN or infinite.")
        of_centroids = hashlib.sha256(np.asarray(centroids, np.float32).tobytes()).hexdigest()
        numbers = tuple(np.flatnonzero(found).tolist())
        return cls(numbers, len(centroids), of_centroids, digest.hexdigest())

    def recipe(self) -> dict[str, object]:
        """The entry of a manifest."""
        digests = {"centroids": self.centroids_sha256, "targets": self.targets_sha256}
        return {"near_targets": len(self.numbers), "clusters": self.k, "sha256": digests}


def near_targets_cost(
    frame: PlannedFrame, centroids: int | np.ndarray | str | os.PathLike | Clusters = 1000
) -> Cost:
    """The cost of `near_targets` for centroids, or so many, which is that of `nearest_centroid`."""
    return nearest_cost(frame, centroids, "near_targets")


def _unused_name(frame: dd.DataFrame) -> str:
    name = "nearest cluster"
    while name in frame.columns:
        name += "'"
    return name


def _opened(targets: np.ndarray | str | os.PathLike, dim: int) -> np.ndarray:
    """The targets, mapped from their file."""
    if isinstance(targets, (str, os.PathLike)):
        path = os.fspath(targets)
        try:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise EmbeddingsError(
                f"The targets {path} cannot be read: {error}. Expected a .npy file of shape "
                f"(n, {dim})."
            ) from error
    else:
        must_be("targets", targets, np.ndarray, f"an array of shape (n, {dim}), or a .npy file")
        loaded = targets
    array = np.atleast_2d(loaded)
    if array.ndim != 2 or array.shape[1] != dim or array.dtype.kind != "f" or not len(array):
        raise EmbeddingsError(
            f"The targets have the shape {array.shape} and the dtype {array.dtype}. Expected "
            f"floats of shape (n, {dim}), by the model of the embeddings."
        )
    return array


def _decisions(part: Frame, column: str, wanted: TargetClusters) -> Frame:
    """Whether the cluster of each row is wanted; null if the row has none."""
    is_wanted = np.zeros(wanted.k, bool)
    is_wanted[list(wanted.numbers)] = True
    label = part[column].to_pandas() if is_cudf(part) else part[column]
    missing = label.isna().to_numpy(bool)
    keep = is_wanted[label.fillna(0).to_numpy(np.int64)] if len(label) else np.empty(0, bool)
    table = pa.table({"keep": pa.array(keep, mask=missing)})
    result: pd.DataFrame = frame_from_arrow(table, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result
