"""UMAP of some rows, and points of other rows among them.

UMAP's own transform places a batch of rows together, so that a row's point depends on the others.
Here the rows that UMAP was fitted on are landmarks, and a row is at the weighted mean of the places
of those that are nearest to it, as UMAP first places new rows. Rows and landmarks are rounded to
int8: their products are exact integers, so a row's point depends on its embedding alone.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from types import ModuleType

import numpy as np
import numpy.typing as npt

from laion_dask.errors import EmbeddingsError
from laion_dask.extras import is_installed, require_extra
from laion_dask.numerics.int8_codes import Products, encode
from laion_dask.numerics.normalization import unit
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.runtime import cancellation
from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

_MODULE = "laion_dask.projections.landmark_kernel"
#: Landmarks whose places are averaged. The weight of one is the square of how much larger its
#: product is than that of the next, relative to the largest.
_NEAREST = 8
#: Rows and landmarks of a tile of products.
_ROWS, _TILE = 1024, 1024
#: UMAP's neighbors, and the fewest rows that it is fitted on.
_NEIGHBORS, FEWEST_ROWS = 15, 20
_compiled = ProcessCache()


def umap_landmarks(vectors: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """UMAP of rows: their codes, (m, dim) int8, and their places in [-1, 1], (m, 2) float64. Eager.

    McInnes, Healy and Melville (2018), "UMAP: uniform manifold approximation and projection for
    dimension reduction", by the package umap-learn with 15 neighbors and cosine distances. The same
    seed gives the same places on one machine; another processor may give others.

    Parameters
    ----------
    vectors : (n, dim) float16 or float32 array
        Rows without a direction (zero, NaN or infinite) are left out.
    seed : int

    Raises
    ------
    MissingExtraError
        When umap-learn is not installed.
    EmbeddingsError
        When fewer than 20 rows have a direction.
    """
    require_extra("umap", "The projection 'umap'")
    rows = unit(vectors)
    rows = rows[~np.isnan(rows).any(axis=1)]
    if len(rows) < FEWEST_ROWS:
        raise EmbeddingsError(
            f"UMAP was given {len(rows)} rows that have a direction. Expected at least "
            f"{FEWEST_ROWS}: use the projection 'pca'."
        )
    cancellation.check()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        model = UMAP(
            n_components=2,
            n_neighbors=min(_NEIGHBORS, len(rows) - 1),
            metric="cosine",
            random_state=seed % 2**32,
            n_jobs=1,
            init="spectral" if len(rows) > 4 * _NEIGHBORS else "random",
        )
        places = np.asarray(model.fit_transform(rows), np.float64)
    if not np.isfinite(places).all():
        raise EmbeddingsError(
            "UMAP gave places that are not finite: too many rows may be equal. Use the projection "
            "'pca'."
        )
    places -= (places.min(axis=0) + places.max(axis=0)) / 2
    places /= max(float(np.abs(places).max()), 1e-9)
    return {"landmarks": encode(rows, common_step=True).codes, "places": places}


class Landmarks:
    """Places rows among landmarks.

    Parameters
    ----------
    codes : (m, dim) int8 array
        Landmarks of length one, rounded with a common step.
    places : (m, 2) float64 array
    """

    def __init__(self, codes: np.ndarray, places: np.ndarray) -> None:
        self._places = np.ascontiguousarray(places)
        starts = range(0, len(codes), _TILE)
        tiles = [Products(np.array(codes[at : at + _TILE])) for at in starts]
        self._tiles = list(zip(starts, tiles, strict=True))

    def project(self, x: np.ndarray) -> npt.NDArray[np.float32]:
        """The points of rows, (n, 2) float32; NaN for a row without a direction. Eager."""
        points = np.full((len(x), 2), np.nan, np.float32)
        with one_torch_thread() if is_installed("torch") else nullcontext():
            for at in range(0, len(x), _ROWS):
                self._project(x[at : at + _ROWS], points[at : at + _ROWS])
        return points

    def _project(self, x: np.ndarray, out: np.ndarray) -> None:
        place = _compiled.get("place", _compile)
        coded = encode(x)
        there = np.flatnonzero(coded.is_scored)
        codes, n = np.ascontiguousarray(coded.codes[there]), len(there)
        buffer = np.empty(n * _TILE, np.int32)
        best = np.full((n, _NEAREST + 1), np.iinfo(np.int32).min, np.int32)
        number = np.full((n, _NEAREST + 1), -1, np.int32)
        found = np.empty((n, 2), np.float32)
        for tile, (first, products) in enumerate(self._tiles):
            is_last = np.array([tile == len(self._tiles) - 1], np.int64)
            of_tile, start = products.of(codes, buffer), np.array([first])
            place(of_tile, start, best, number, self._places, is_last, found)
        out[there] = found


def _compile():
    whole, one = np.empty((0, 1), np.int32), np.zeros(1, np.int64)
    examples = (whole, one, whole, whole, np.empty((0, 2)), one, np.empty((0, 2), np.float32))
    return native("place", lambda: _source().place, [_MODULE], *examples)


def _source() -> ModuleType:
    from laion_dask.projections import landmark_kernel  # imports numba

    return landmark_kernel
