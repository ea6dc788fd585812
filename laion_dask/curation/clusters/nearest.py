"""The nearest centroid of each row, and its cosine, exactly.

Products of codes in int8 leave few centroids that may be the nearest, and the cosines of those are
computed in float64. So the answer is that of a loop over all centroids.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from laion_dask.curation.clusters.products import TILE_COLUMNS, TILE_ROWS, CentroidTiles
from laion_dask.errors import EmbeddingsError, OptionError
from laion_dask.numerics.int8_codes import ROUNDING, encode, kernel
from laion_dask.numerics.normalization import unit
from laion_dask.runtime import cancellation


class Nearest:
    """Finds the nearest of some centroids.

    Parameters
    ----------
    centroids : (k, dim) float32 array
        Of length one; at least one.
    """

    def __init__(self, centroids: np.ndarray) -> None:
        self.centroids = centroids
        coded = encode(centroids, common_step=True)
        self._step = float(coded.scale[0]) if len(centroids) else 0.0
        self._lost = float(coded.lost.max(initial=0.0))
        # A centroid's length is 1 up to the rounding of float32, so all have the step of the first.
        self._tiles = CentroidTiles(coded.codes)

    def of(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of the nearest centroid of each row, and the cosine with it.

        Parameters
        ----------
        x : (n, dim) float16 or float32 array

        Returns
        -------
        label : (n,) int32 array
            Of equally near centroids, the first; -1 for a row without a direction.
        cosine : (n,) float64 array
            NaN for a row without a direction.
        """
        n = len(x)
        label, cosine = np.full(n, -1, np.int32), np.full(n, -np.inf)
        none = np.empty((0, 1), np.float32)
        buffer = np.empty(TILE_ROWS * TILE_COLUMNS, np.int32)
        invert = kernel("inverse_lengths", none, cosine[:0])
        examples = buffer[:0].reshape(0, 1), cosine[:0], cosine[:0], none, cosine[:0], none, 0
        update = kernel("nearest", *examples, cosine[:0], label[:0])
        for at in range(0, n, TILE_ROWS):
            cancellation.check()
            rows = slice(at, at + TILE_ROWS)
            block = np.ascontiguousarray(x[rows], np.float32)
            codes = encode(block)
            inverse = np.empty(len(block))
            invert(block, inverse)
            scale = codes.scale.astype(np.float64) * self._step
            bound = codes.lost * (1.0 + self._lost) + self._lost + ROUNDING
            for first, tile in self._tiles:
                products = tile.of(codes.codes, buffer)
                centroids = self.centroids[first : first + tile.n]
                update(
                    products,
                    scale,
                    bound,
                    block,
                    inverse,
                    centroids,
                    first,
                    cosine[rows],
                    label[rows],
                )
        cosine[label < 0] = np.nan
        return label, np.clip(cosine, -1, 1, out=cosine)


def nearest_centroids(x: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each row, by cosine, and the cosine; see `Nearest.of`. Eager."""
    return Nearest(as_centroids(centroids, x.shape[1])).of(x)


def as_centroids(given: object, dim: int, what: str = "centroids") -> np.ndarray:
    """Centroids scaled to length one, (k, dim) float32.

    Parameters
    ----------
    given : array, path of a ``.npy`` file, or anything with an attribute ``centroids``
    dim : int
        The width of the embeddings.
    what : str
        Their name in messages.

    Raises
    ------
    OptionError
        When the centroids are not an array or a readable file.
    EmbeddingsError
        When their shape is wrong, or one has no direction.
    """
    given = getattr(given, "centroids", given)
    name = f"The {what}"
    array: Any = given
    if isinstance(given, (str, os.PathLike)):
        name = f"The {what} in {given}"
        try:
            array = np.load(given, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise OptionError(
                f"{what} is {str(given)!r}, which cannot be read: {error}. Expected a "
                ".npy file of shape (k, dim), as numpy.save writes."
            ) from error
    try:
        centroids = np.asarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"{what} is {type(given).__name__}. Expected an array of shape (k, dim), the path "
            "of a .npy file, or what ld.kmeans returns."
        ) from error
    if centroids.ndim != 2 or centroids.shape[1] != dim or not len(centroids):
        raise EmbeddingsError(
            f"{name} have the shape {centroids.shape}. Expected (k, {dim}), the width of the "
            f"embeddings: take {what} of the same model."
        )
    scaled = unit(centroids)
    without = np.flatnonzero(np.isnan(scaled[:, 0]))
    if len(without):
        raise EmbeddingsError(
            f"{name} have no direction in row {without[0]}: it is zero, NaN or infinite. Leave "
            f"such {what} out."
        )
    return scaled
