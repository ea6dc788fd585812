"""Principal components of embeddings, and points along them.

Embeddings are compared by their directions, so rows are scaled to length one first, as for every
cosine of this package: two rows of one direction are one point, however long they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType

import numpy as np
import numpy.typing as npt

from laion_dask.errors import EmbeddingsError
from laion_dask.runtime import cancellation
from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

_MODULE = "laion_dask.projections.pca_kernel"
#: Rows that are converted to float32 at a time, while they are in the cache.
_ROWS = 512
#: Bits of an integer that float64 holds.
_EXACT_BITS = 53
#: Components are rounded to multiples of this, far above the last digits of an eigenvector, which
#: depend on the processor and on the number of threads.
_GRID = 2.0**-22
_compiled = ProcessCache()

Float64 = npt.NDArray[np.float64]


def principal_components(
    blocks: Iterable[np.ndarray], n_rows: int, dim: int
) -> tuple[Float64, Float64, Float64]:
    """The mean and the first two principal components of rows of length one. Eager.

    Rows are rounded to integers so small that the sums of all their products are exact in float64.
    So the result does not depend on the order of the rows, on blocks, or on threads.

    Parameters
    ----------
    blocks : iterable of (n, dim) arrays
        float16 or float32. Rows without a direction (zero, NaN or infinite) are left out.
    n_rows : int
        At least the number of rows of all blocks.
    dim : int

    Returns
    -------
    mean : (dim,) float64 array
    components : (2, dim) float64 array
        Orthogonal, of length one, up to 2**-22 an element; the largest element by absolute value is
        positive. The second is 0 if ``dim`` is 1.
    explained : (2,) float64 array
        The share of the variance along each component, in [0, 1].

    Raises
    ------
    EmbeddingsError
        When no row has a direction.
    """
    bits = (_EXACT_BITS - max(1, n_rows).bit_length()) // 2
    scale = np.array([2.0**bits])
    gram, total, count = np.zeros((dim, dim)), np.zeros(dim), 0
    buffer = np.empty(dim)
    for block in blocks:
        cancellation.check()
        rows = np.empty(block.shape)
        found = _function("integers")(as_float32(block), scale, buffer, rows)
        gram += rows.T @ rows
        total += rows.sum(axis=0)
        count += found
    if not count:
        raise EmbeddingsError(
            "No row of the embeddings has a direction: there is none, or all are zero, NaN or "
            "infinite. Expected at least one to fit a projection."
        )
    mean = total / count
    covariance = gram / count - np.outer(mean, mean)
    variances, vectors = np.linalg.eigh(covariance)
    components = np.zeros((2, dim))
    components[: min(2, dim)] = vectors[:, ::-1][:, :2].T
    components = np.rint(components / _GRID) * _GRID
    largest = np.abs(components).argmax(axis=1)
    components *= np.where(components[[0, 1], largest] < 0, -1.0, 1.0)[:, None]
    explained = np.zeros(2)
    if (whole := float(np.trace(covariance))) > 0:
        explained[: min(2, dim)] = np.clip(variances[::-1][:2] / whole, 0, 1)
    return mean / scale[0], components + 0.0, np.round(explained, 6)


def offsets_of(mean: Float64, components: Float64) -> Float64:
    """The coordinates of the mean, which are subtracted from those of each row."""
    # Not a product of matrices: its order of summation depends on the processor.
    return np.array([_exact_sum(mean * component) for component in components])


def _exact_sum(values: Float64) -> float:
    from math import fsum

    return fsum(values.tolist())


def points_of(x: np.ndarray, components: Float64, offsets: Float64) -> npt.NDArray[np.float32]:
    """The points of rows along two components, (n, 2) float32. Releases the GIL.

    Computed in float64, row by row, and rounded to float32.

    Parameters
    ----------
    x : (n, dim) float16 or float32 array
    components : (2, dim) float64 array
    offsets : (2,) float64 array
    """
    points = np.empty((len(x), 2), np.float32)
    buffer = np.empty((3, x.shape[1]))
    converted = np.empty((min(_ROWS, len(x)), x.shape[1]), np.float32)
    call = _function("project")
    for at in range(0, len(x), _ROWS):
        rows = as_float32(x[at : at + _ROWS], converted)
        call(rows, components, offsets, buffer, points[at : at + _ROWS])
    return points


def as_float32(x: np.ndarray, out: np.ndarray | None = None) -> npt.NDArray[np.float32]:
    """Rows as a contiguous array of float32, which is exact for float16; in ``out`` if given."""
    import numkong

    x = np.require(x, requirements=["A", "C"])
    if x.dtype == np.float32 or not x.size:
        return x.astype(np.float32, copy=False)
    out = np.empty(x.shape, np.float32) if out is None else out[: len(x)]
    numkong.astype(x, "f32", out=out)
    return out


def _function(name: str) -> Callable:
    return _compiled.get(name, lambda: _compile(name))


def _compile(name: str) -> Callable:
    rows, matrix, vector = np.empty((0, 1), np.float32), np.empty((0, 1)), np.empty(1)
    examples: list[np.ndarray] = [rows, vector, np.empty(1), matrix]
    if name == "project":
        examples = [rows, matrix, np.empty(2), matrix, np.empty((0, 2), np.float32)]
    return native(name, lambda: getattr(_source(), name), [_MODULE], *examples)


def _source() -> ModuleType:
    from laion_dask.projections import pca_kernel  # imports numba

    return pca_kernel
