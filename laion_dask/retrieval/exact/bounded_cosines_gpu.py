"""Fast cosines of many rows with queries on a GPU, within stated error bounds.

As in `bounded_cosines`, they decide which rows deserve an exact score, and never appear in results.
"""

from __future__ import annotations

import numpy as np

from laion_dask.numerics.dot_products import NEAR
from laion_dask.numerics.gpu.row_cache import DeviceRows
from laion_dask.retrieval.exact.bounded_cosines import ErrorBound, rounding_distance, uses_gemv


class GpuBoundedCosines:
    """Approximate cosines of rows on a GPU with some queries.

    Up to `GEMV_MAX_QUERIES` queries are multiplied in one pass over the rows, at memory bandwidth,
    in float32; more of them by a matrix product of float16, accumulated and returned in float32.

    Bounds, with g that of a float32 sum of ``dim`` products (Higham 2002, section 3.1), by
    Cauchy-Schwarz. Tensor cores truncate where other units round (Fasi et al. 2021, Numerical
    behavior of NVIDIA tensor cores, section 4), which doubles it to ``2 g``. Products of float16
    are exact in float32, so rows that are stored as such add nothing; those of float32 are rounded
    to float16, by at most ``2**-11``, and by ``2**-25 * sqrt(dim)`` for numbers too small to be
    normal. A matrix product adds the distance by which rounding moves the query. The row's length
    is off by a share of ``g / 2``; a row that is taken for one of length one, by `NEAR` more.
    """

    def __init__(self, vectors: np.ndarray, dtype: str, device: str) -> None:
        import torch

        self._torch, self._few = torch, uses_gemv(len(vectors))
        self._vectors = torch.tensor(vectors, device=device)
        dim = vectors.shape[1]
        g = 1.02 * (dim + 8) * 2.0**-24
        absolute = np.full(len(vectors), 1.02 * 3 * g)
        if dtype == "float32":
            absolute += 1.02 * 2.0**-11 + 2.0**-25 * dim**0.5
        if not self._few:
            self._vectors = self._vectors.half()
            absolute += 1.02 * rounding_distance(vectors, self._vectors.float().cpu().numpy())
        self.bound = ErrorBound(1.02 * (2.0**-22 + (0 if self._few else NEAR)), absolute)

    def scores(self, run: DeviceRows, start: int, stop: int, width: int):
        """The approximate cosines of some rows: (m, width) float32, -inf where there is none.

        ``width`` is at least the number of rows, and exceeds it by less than `row_cache.PAD`.
        """
        rows = run.rows[start : start + width]
        made = one_pass_cosines(rows, self._vectors) if self._few else gemm(self._vectors, rows)
        if not self._few:
            run.mend(made, start, stop)
            return made
        made[:, stop - start :] = -np.inf  # those columns belong to the rows that follow
        return made


def one_pass_cosines(rows, vectors):
    """Cosines in one pass over the rows: (m, n) float32; -inf for a row of zeros."""
    import torch

    from laion_dask.numerics.gpu.fused import dot_and_squares

    dots, squares = dot_and_squares(rows, vectors)
    return torch.where(squares > 0, dots.T * squares.rsqrt(), -np.inf).contiguous()


def gemm(vectors, rows):
    """Products of float16, accumulated and returned in float32: (m, n)."""
    import torch

    return torch.mm(vectors, rows.T, out_dtype=torch.float32)
