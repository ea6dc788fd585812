"""The complexity of clusters, and how many rows to keep of each (Abbas et al. 2024)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from laion_dask.curation.clusters.assignment import Assigned
from laion_dask.errors import OptionError
from laion_dask.stats.quotas import cluster_quotas

#: The nearest other centroids that a centroid's distance is averaged over (the paper).
NEIGHBORS = 20
#: Centroids whose distances are computed at a time.
_ROWS = 1024


def mean_distance_of_centroids(centroids: np.ndarray, neighbors: int = NEIGHBORS) -> np.ndarray:
    """The mean cosine distance of each centroid to its nearest others, (k,) float64.

    NaN for a single centroid; over all others if there are fewer than ``neighbors``.
    """
    x = centroids.astype(np.float64)
    n = min(neighbors, len(x) - 1)
    out = np.full(len(x), np.nan)
    if n < 1:
        return out
    for start in range(0, len(x), _ROWS):
        # Rounded, because the last digits depend on how BLAS splits the product over threads.
        distances = 1 - np.round(x[start : start + _ROWS] @ x.T, 12)
        rows = np.arange(len(distances))
        distances[rows, start + rows] = np.inf
        nearest = np.sort(np.partition(distances, n - 1, axis=1)[:, :n], axis=1)
        out[start : start + _ROWS] = np.clip(nearest.mean(axis=1), 0, 2)
    return out


def complexity_table(
    centroids: np.ndarray, assigned: Assigned, n: int, temperature: float, lower: int
) -> pd.DataFrame:
    """A row for each cluster that has rows; see `laion_dask.curation.clusters.prune.complexity`."""
    clusters = np.flatnonzero(assigned.sizes)
    sizes = assigned.sizes[clusters]
    d_intra = np.clip(assigned.d_intra[clusters], 0, 2)
    d_inter = mean_distance_of_centroids(centroids[clusters])
    quotas = cluster_quotas(d_intra, d_inter, sizes, n, temperature=temperature, lower=lower)
    return pd.DataFrame(
        {
            "cluster": clusters,
            "size": sizes,
            "d_intra": d_intra,
            "d_inter": d_inter,
            "complexity": d_intra * d_inter,
            "kept": quotas,
            "share": quotas / sizes,
        }
    )


def rows_to_keep(keep: float | int, scored: int) -> int:
    """The number of rows to keep of so many: a share of them, or a number of rows.

    Raises
    ------
    OptionError
        When there are fewer rows.
    """
    if isinstance(keep, float):
        return round(keep * scored)
    if keep > scored:
        raise OptionError(
            f"keep is {keep:,} rows, and {scored:,} rows have an embedding. Expected at most as "
            "many, or a share of them, such as 0.28."
        )
    return keep
