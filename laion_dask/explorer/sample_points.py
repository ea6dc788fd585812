"""The rows of a sample as points of a projection, kept with the sample."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_dask.curation.in_region import points_of
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.sample_order import stored
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.projections.projection import Projection
from laion_dask.projections.stored import embeddings_key
from laion_dask.runtime import graph

#: Rows per task.
_ROWS = 1 << 16


def sample_points(
    sample: Sample, embeddings: Embeddings, projection: Projection
) -> npt.NDArray[np.float32]:
    """The point of each row of a sample, (n, 2) float32; NaN for a row without one. Eager.

    Computed once, and then mapped from a file in the folder of the sample. The points are those
    that the verb `in_region` compares with a polygon, bit for bit.

    Parameters
    ----------
    sample : Sample
    embeddings : Embeddings
        Of the rows of the sample's frame.
    projection : Projection

    Raises
    ------
    PairingError, ModelMismatchError, EmbeddingsError
    """
    projection.check_model(embeddings)
    paired = embeddings.paired_with(Provenance.of(sample.frame).shards)
    key = hashlib.sha256(f"{projection.digest} {embeddings_key(paired)}".encode()).hexdigest()
    path = sample.folder / f"points-{key[:16]}.npy"
    return stored(path, lambda: _computed(sample, paired, projection))


def parts_of(sample: Sample) -> list[pd.DataFrame]:
    """The shard and the row of the rows of a sample, in parts for tasks."""
    return [
        pd.DataFrame({"shard": sample.shard[at : at + _ROWS], "row": sample.row[at : at + _ROWS]})
        for at in range(0, sample.n, _ROWS)
    ]


def _computed(
    sample: Sample, embeddings: Embeddings, projection: Projection
) -> npt.NDArray[np.float32]:
    parts = parts_of(sample)
    if not parts:
        return np.empty((0, 2), np.float32)
    shared = graph.share(embeddings), graph.share(projection)
    tasks = graph.tasks(points_of_part, parts, *shared)
    return np.concatenate(graph.compute(*tasks, label="projecting the sample"))


def points_of_part(
    part: pd.DataFrame, number: int, embeddings: Embeddings, projection: Projection
) -> npt.NDArray[np.float32]:
    """The points of the rows of a part; a task."""
    return points_of(part, embeddings, projection)
