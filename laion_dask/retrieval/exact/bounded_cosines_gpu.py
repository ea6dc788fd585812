"""Fast approximate cosines between many rows and queries on a GPU, with known error bounds.

As in `bounded_cosines`, they select the rows that are scored exactly, and never appear in a result.
"""

from __future__ import annotations

import numpy as np

from laion_dask.numerics.dot_products import NEAR
from laion_dask.numerics.gpu.row_cache import DeviceRows
from laion_dask.retrieval.exact.bounded_cosines import ErrorBound, rounding_distance, uses_gemv


class GpuBoundedCosines:
    """Approximate cosines between rows on a GPU and a set of queries.

    Up to `GEMV_MAX_QUERIES` queries are multiplied in one pass over the rows, at memory bandwidth,
    in float32; more queries by a float16 matrix product, accumulated and returned in float32.

    The bounds follow by Cauchy-Schwarz, with g that of a float32 sum of ``dim`` products (Higham
    2002, section 3.1). Tensor cores truncate where other units round (Fasi et al. 2021, Numerical
    behavior of NVIDIA tensor cores, section 4), which doubles it to ``2 g``. Products of float16
    are exact in float32, so rows stored as float16 add no error. Rows stored as float32 are rounded
    to float16, which adds at most ``2**-11``, and ``2**-25 * sqrt(dim)`` for subnormal values.
    A matrix product adds the distance by which rounding moves the query. The computed length of a
    row has a relative error of ``g / 2``; treating a row as having length one adds `NEAR`.
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
        """The approximate cosines of a range of rows: (m, width) float32, -inf where undefined.

        ``width`` exceeds the number of rows by 0 to `row_cache.PAD` - 1.
        """
        rows = run.rows[start : start + width]
        cosines = one_pass_cosines(rows, self._vectors) if self._few else gemm(self._vectors, rows)
        if not self._few:
            run.to_cosines(cosines, start, stop)
            return cosines
        cosines[:, stop - start :] = -np.inf  # those columns belong to the rows after ``stop``
        return cosines


def one_pass_cosines(rows, vectors):
    """Cosines in one pass over the rows: (m, n) float32; -inf for a zero row."""
    import torch

    from laion_dask.numerics.gpu.fused import dot_and_squares

    dots, squares = dot_and_squares(rows, vectors)
    return torch.where(squares > 0, dots.T * squares.rsqrt(), -np.inf).contiguous()


def gemm(vectors, rows):
    """float16 products, accumulated and returned in float32: (m, n)."""
    import torch

    return torch.mm(vectors, rows.T, out_dtype=torch.float32)
