"""Fast approximate cosines between many rows and many queries, with known error bounds.

They select the rows that are scored exactly, and never appear in a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laion_dask.numerics.bfloat16 import has_bfloat16
from laion_dask.numerics.dot_products import NEAR, are_near_one, inner
from laion_dask.retrieval.exact.shared_state import ScratchPool

#: Up to this many queries, one pass over the rows for each is faster than a matrix product.
GEMV_MAX_QUERIES = 4
#: Rows normalized at a time; they fit in a core's cache.
_STEP = 1024


@dataclass(frozen=True)
class ErrorBound:
    """The maximum error of an approximate cosine ``r``: ``relative * |r| + absolute``.

    Attributes
    ----------
    relative : float
    absolute : (m,) float64 array
        One per query.
    """

    relative: float
    absolute: np.ndarray

    def lower(self, approx: np.ndarray) -> np.ndarray:
        """Lower bounds of the true cosines, rounded down; (m, any) float32, one row per query."""
        approx = approx.astype(np.float64)
        with np.errstate(invalid="ignore"):
            low = approx - self.relative * abs(approx) - self.absolute[:, None]
        low = np.where(np.isinf(approx), approx, low)
        return np.nextafter(low.astype(np.float32), np.float32(-np.inf))

    def upper(self, approx: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Upper bounds of the true cosines, rounded up; (n,) float32, one per (cosine, query)."""
        approx = approx.astype(np.float64)
        high = approx + self.relative * abs(approx) + self.absolute[query]
        return np.nextafter(high.astype(np.float32), np.float32(np.inf))

    def threshold(self, kth: np.ndarray) -> np.ndarray:
        """The smallest approximate cosine at which a row can still be among the k best.

        ``kth`` holds, for each query, an approximate cosine that at least k rows reach. The true
        cosines of these k rows are at least ``low = kth - relative * |kth| - absolute``, and so are
        those of all rows among the k best. The true cosine of a row with approximate cosine r is at
        most ``r + relative * |r| + absolute``, which increases with r; if that is below ``low``,
        the row is excluded. The result is this bound, solved for r. -inf where kth is -inf.

        Parameters
        ----------
        kth : (m,) float32 array

        Returns
        -------
        (m,) float32
            Rounded down.
        """
        kth = kth.astype(np.float64)
        with np.errstate(invalid="ignore"):
            return self._threshold(np.where(np.isinf(kth), kth, kth - self.relative * abs(kth)), 2)

    def threshold_of(self, low: np.ndarray) -> np.ndarray:
        """The smallest approximate cosine of a row whose true cosine may be ``low``; -inf for -inf.

        Parameters
        ----------
        low : (m,) float32 array

        Returns
        -------
        (m,) float32
            Rounded down.
        """
        return self._threshold(low.astype(np.float64), 1)

    def _threshold(self, low: np.ndarray, times: int) -> np.ndarray:
        reduced = low - times * self.absolute
        threshold = reduced / np.where(reduced < 0, 1 - self.relative, 1 + self.relative)
        return np.nextafter(threshold.astype(np.float32), np.float32(-np.inf))


class GemvCosines:
    """A few queries on the CPU: one pass over the rows per query, at memory bandwidth.

    With g as for `GemmCosines`, summation moves a cosine by at most ``g``, the row's length by half
    as much, and rounding the result to float32 by ``2**-24``. Rounding the query to the rows' dtype
    moves a cosine by at most the distance between the query and the rounded query. Treating a row
    as having length one adds a relative error of `NEAR` and the error of the computed length.
    """

    def __init__(self, vectors: np.ndarray, dtype: str, scratch: ScratchPool | None = None) -> None:
        self._vectors, self._scratch = vectors.astype(dtype), scratch or ScratchPool()
        g = 1.02 * (vectors.shape[1] + 4) * 2.0**-24
        absolute = 1.02 * 1.5 * g + 2.0**-23 + rounding_distance(vectors, self._vectors)
        self.bound = ErrorBound(1.02 * NEAR, absolute)

    def allocate(self, width: int) -> np.ndarray:
        """As `GemmCosines`."""
        size = len(self._vectors) * width
        return self._scratch.array("scores", size).reshape(-1, width)

    def compute(self, x: np.ndarray, scale: np.ndarray | None, out: np.ndarray) -> None:
        """As `GemmCosines`."""
        lines, products = out[:, : len(x)], self._scratch.array("products", len(x), np.float64)
        for line, vector in zip(lines, self._vectors, strict=True):
            if scale is None:
                inner(x, vector, line)
                continue
            inner(x, vector, products)
            np.multiply(products, scale, out=line, casting="same_kind")
            np.fmax(line, -np.inf, out=line)  # replaces NaN

    def group_max(self, lines: np.ndarray, minimum: float) -> np.ndarray:
        """As `GemmCosines`."""
        return lines.max(axis=1)

    def group_rows(self, lines: np.ndarray, query: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """As `GemmCosines`."""
        return lines[query, :, groups]


class GemmCosines:
    """Many queries on the CPU: normalized rows times all queries, in a narrow floating-point dtype.

    The dtype is bfloat16 on a CPU that multiplies it in hardware, else float32.

    With u the unit roundoff of the narrow dtype and g that of a float32 sum of ``dim`` products
    (Higham 2002, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), by
    Cauchy-Schwarz: rounding the rows moves a cosine by at most ``u``, computing their length in
    float32 by ``g``, rounding a query by the (known) distance between the query and the rounded
    query, summation in float32 by ``g``, and rounding the result by a relative ``u``. Rows whose
    length is one within `NEAR` are not normalized, which adds that relative error. A further 2 %
    covers second-order terms, and ``2**-25 * sqrt(dim)`` covers subnormal float16 values.
    """

    def __init__(self, vectors: np.ndarray, scratch: ScratchPool | None = None) -> None:
        import torch

        self._torch, self._scratch = torch, scratch or ScratchPool()
        self.dtype = narrow_dtype()
        self._vectors = torch.from_numpy(vectors).to(self.dtype)
        rounded = self._vectors.float().numpy()
        dim = vectors.shape[1]
        tiny = 2.0**-25 * dim**0.5 if self.dtype == torch.float16 else 0.0
        u, g = _roundoff(self.dtype), 1.02 * dim * 2.0**-24
        absolute = 1.02 * (u + 2 * g + rounding_distance(vectors, rounded)) + tiny
        self.bound = ErrorBound(1.02 * (u + NEAR), absolute)

    def allocate(self, width: int):
        """A tensor (m, width) for `compute`, always in the same memory."""
        m = len(self._vectors)
        return self._reused("scores", m * width, self.dtype).view(m, width)

    def compute(self, x: np.ndarray, scale: np.ndarray | None, out) -> None:
        """Compute the approximate cosines of a block into ``out``.

        Parameters
        ----------
        x : (n, dim) array
            float16 or float32.
        scale : (n,) float64 array, or None
            Reciprocal of each row's length; NaN where a row has no direction. None if all rows
            have length one, as defined by `dot_products.are_near_one`.
        out : (m, width) tensor
            Columns from n on are left unchanged. -inf for a row without direction.
        """
        if self._scratch.block is None or self._scratch.block[0] is not x:
            self._scratch.block = x, self._unit_rows(x, scale)
        rows = self._scratch.block[1]
        self._torch.mm(self._vectors, rows.T, out=out[:, : len(x)])
        if scale is None:
            return
        bad = np.flatnonzero(np.isnan(scale))
        if len(bad):
            out[:, self._torch.from_numpy(bad)] = -np.inf

    def group_max(self, lines, minimum: float) -> np.ndarray:
        """The maximum of each group, (m, groups) float32, from (m, rows of a group, groups).

        A maximum below ``minimum`` may be replaced by any other number below ``minimum``.
        """
        torch = self._torch
        if minimum > 0 and lines.dtype == torch.bfloat16:
            # The bit patterns of positive floats are ordered like the floats, and compare several
            # times as fast; those of negative floats are less than those of positive ones.
            lines = lines.view(torch.int16)
        n = lines.shape[1]
        if n > 1:  # compare halves; n is a power of two
            n //= 2
            tops = self._reused("tops", len(lines) * n * lines.shape[2], lines.dtype)
            tops = tops.view(len(lines), n, -1)
            torch.maximum(lines[:, :n], lines[:, n:], out=tops)
            while n > 1:
                n //= 2
                torch.maximum(tops[:, :n], tops[:, n : 2 * n], out=tops[:, :n])
            lines = tops
        maxima = self._reused("found", lines[:, 0].numel(), torch.float32)
        maxima = maxima.view(len(lines), -1)
        return maxima.copy_(lines[:, 0].view(self.dtype)).numpy()

    def group_rows(self, lines, query: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """The cosines of all rows of some groups: (n, rows of a group) float32."""
        query_index, group_index = (self._torch.from_numpy(numbers) for numbers in (query, groups))
        return lines[query_index, :, group_index].float().numpy()

    def _unit_rows(self, x: np.ndarray, scale: np.ndarray | None):
        """The normalized rows in the narrow dtype; zeros for rows without direction."""
        dim = x.shape[1]
        rows = self._reused("rows", len(x) * dim, self.dtype).view(-1, dim)
        for at in range(0, len(x), _STEP):
            chunk = slice(at, at + _STEP)
            self._narrowed(x[chunk], None if scale is None else scale[chunk], rows[chunk])
        if scale is None:
            return rows
        # Scaling by a tiny or a large factor would overflow or lose digits in float32.
        for i in np.flatnonzero((scale < 1e-35) | (scale > 1e30)):
            fine = np.asarray(x[i], np.float64) * scale[i]
            rows[i] = self._torch.from_numpy(fine).to(self.dtype)
        is_undefined = np.isnan(scale)
        if is_undefined.any():
            rows[self._torch.from_numpy(is_undefined)] = 0
        return rows

    def _narrowed(self, block: np.ndarray, scale: np.ndarray | None, out) -> None:
        """Copy a block of rows, scaled to length one unless they already are near it."""
        in_float32 = self._reused("wide", block.size, self._torch.float32).view(block.shape)
        in_float32.copy_(self._torch.from_dlpack(block))
        if not (scale is None or are_near_one(scale)):
            with np.errstate(over="ignore"):
                in_float32 *= self._torch.from_numpy(scale.astype(np.float32)[:, None])
        out.copy_(in_float32)

    def _reused(self, name: str, size: int, dtype):
        return self._scratch.tensor(name, size, dtype)


def narrow_dtype():
    """The torch dtype in which this processor multiplies matrices fastest."""
    import torch

    return torch.bfloat16 if has_bfloat16("cpu") else torch.float32


def uses_gemv(m: int) -> bool:
    """Whether m queries are processed one by one, which does not use torch."""
    return m <= GEMV_MAX_QUERIES


def _roundoff(dtype) -> float:
    import torch

    if dtype == torch.float32 and not _float32_is_full():
        dtype = torch.bfloat16  # the user allows torch reduced precision for float32
    return torch.finfo(dtype).eps / 2


def _float32_is_full() -> bool:
    """Whether torch reports that it multiplies float32 at full precision."""
    import torch

    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # the setting differs between backends
        return False


def rounding_distance(vectors: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    """An upper bound of the distance by which rounding moved each vector, (m,) float64."""
    difference = vectors.astype(np.float64) - rounded.astype(np.float64)
    return 1.02 * np.sqrt((difference * difference).sum(axis=1)) + 2.0**-22
