"""Cosines of many rows with many queries, fast, each off by no more than a stated bound.

They choose which rows are worth an exact score, and never end up in a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laion_dask.numerics.dot_products import NEAR, are_near_one, inner
from laion_dask.retrieval.exact.shared_state import Space

#: Up to so many queries, a pass over the rows for each is faster than a matrix product.
FEW = 4
#: Rows that are brought to length one at a time: they stay in a core's cache.
_STEP = 1024


@dataclass(frozen=True)
class Bound:
    """How far a rough cosine ``r`` can be from the true one: ``relative * |r| + absolute``.

    Attributes
    ----------
    relative : float
    absolute : (m,) float64 array
        One a query.
    """

    relative: float
    absolute: np.ndarray

    def below(self, rough: np.ndarray) -> np.ndarray:
        """What the true cosines are at least, rounded down; (m, any) float32, a line a query."""
        rough = rough.astype(np.float64)
        with np.errstate(invalid="ignore"):
            low = rough - self.relative * abs(rough) - self.absolute[:, None]
        low = np.where(np.isinf(rough), rough, low)
        return np.nextafter(low.astype(np.float32), np.float32(-np.inf))

    def above(self, rough: np.ndarray, query: np.ndarray) -> np.ndarray:
        """What the true cosines are at most, rounded up; (n,) float32, each of its query."""
        rough = rough.astype(np.float64)
        high = rough + self.relative * abs(rough) + self.absolute[query]
        return np.nextafter(high.astype(np.float32), np.float32(np.inf))

    def cut(self, kth: np.ndarray) -> np.ndarray:
        """The least rough cosine that a row needs, so that it can still be among the k best.

        ``kth`` is, for each query, a rough cosine that at least k rows reach. The true cosines of
        these k are at least ``low = kth - relative * |kth| - absolute``, and so is that of every
        row among the k best. A row of the rough cosine r has a true one of at most
        ``r + relative * |r| + absolute``, which grows with r; where that is under ``low``, the
        row is out. Solved for r. -inf where kth is -inf.

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
            return self._reach(np.where(np.isinf(kth), kth, kth - self.relative * abs(kth)), 2)

    def reach(self, low: np.ndarray) -> np.ndarray:
        """The least rough cosine of a row whose true one may be ``low``; -inf where that is -inf.

        Parameters
        ----------
        low : (m,) float32 array

        Returns
        -------
        (m,) float32
            Rounded down.
        """
        return self._reach(low.astype(np.float64), 1)

    def _reach(self, low: np.ndarray, times: int) -> np.ndarray:
        rest = low - times * self.absolute
        cut = rest / np.where(rest < 0, 1 - self.relative, 1 + self.relative)
        return np.nextafter(cut.astype(np.float32), np.float32(-np.inf))


class RowByRow:
    """A few queries on the CPU: one product a query, at the speed of memory.

    With g as for `ByMatrix`, adding up moves a cosine by at most ``g``, the row's length by half as
    much, rounding the result to float32 by ``2**-24``; and the rounding of the query to the rows'
    dtype by the distance that it moves, since cosines with two vectors differ by at most that.
    Rows that are taken for ones of length one are off by a share of `NEAR`, and by the error of
    the length that says so.
    """

    def __init__(self, vectors: np.ndarray, dtype: str, space: Space | None = None) -> None:
        self._vectors, self._space = vectors.astype(dtype), space or Space()
        g = 1.02 * (vectors.shape[1] + 4) * 2.0**-24
        absolute = 1.02 * 1.5 * g + 2.0**-23 + turned(vectors, self._vectors)
        self.bound = Bound(1.02 * NEAR, absolute)

    def room(self, width: int) -> np.ndarray:
        """As `ByMatrix`."""
        size = len(self._vectors) * width
        return self._space.array("scores", size).reshape(-1, width)

    def fill(self, x: np.ndarray, scale: np.ndarray | None, out: np.ndarray) -> None:
        """As `ByMatrix`."""
        found, products = out[:, : len(x)], self._space.array("products", len(x), np.float64)
        for line, vector in zip(found, self._vectors, strict=True):
            if scale is None:
                inner(x, vector, line)
                continue
            inner(x, vector, products)
            np.multiply(products, scale, out=line, casting="same_kind")
            np.fmax(line, -np.inf, out=line)  # which takes the place of NaN

    def tops(self, lines: np.ndarray, least: float) -> np.ndarray:
        """As `ByMatrix`."""
        return lines.max(axis=1)

    def members(self, lines: np.ndarray, query: np.ndarray, which: np.ndarray) -> np.ndarray:
        """As `ByMatrix`."""
        return lines[query, :, which]


class ByMatrix:
    """Many queries on the CPU: rows of length one, times all queries, in a narrow floating point.

    On a CPU that multiplies bfloat16 in hardware, that; else float32.

    With u the unit roundoff of the narrow numbers and g that of a float32 sum of ``dim`` products
    (Higham 2002, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), by
    Cauchy-Schwarz: rounding the rows moves a cosine by at most ``u``, their length in float32 by
    ``g``, rounding a query by the distance that it moves (which is known), adding up in float32 by
    ``g``, and rounding the result by a share of ``u`` of it. Rows that are of length one within
    `NEAR` are left as they are, which is off by that share. A share of 2 % on top covers terms of
    second order, and ``2**-25 * sqrt(dim)`` numbers of float16 that are too small to be normal.
    """

    def __init__(self, vectors: np.ndarray, space: Space | None = None) -> None:
        import torch

        self._torch, self._space = torch, space or Space()
        self.dtype = narrow_dtype()
        self._vectors = torch.from_numpy(vectors).to(self.dtype)
        rounded = self._vectors.float().numpy()
        dim = vectors.shape[1]
        tiny = 2.0**-25 * dim**0.5 if self.dtype == torch.float16 else 0.0
        u, g = _roundoff(self.dtype), 1.02 * dim * 2.0**-24
        absolute = 1.02 * (u + 2 * g + turned(vectors, rounded)) + tiny
        self.bound = Bound(1.02 * (u + NEAR), absolute)

    def room(self, width: int):
        """A tensor (m, width) to fill, in the same memory every time."""
        m = len(self._vectors)
        return self._reused("scores", m * width, self.dtype).view(m, width)

    def fill(self, x: np.ndarray, scale: np.ndarray | None, out) -> None:
        """Fill ``out`` with the rough cosines of a block.

        Parameters
        ----------
        x : (n, dim) array
            float16 or float32.
        scale : (n,) float64 array, or None
            What brings each row to length one; NaN where it has no direction. None where all are
            of that length, as `products.are_near_one` has it.
        out : (m, width) tensor
            Columns from n on are left alone. -inf is put where a row has no direction.
        """
        if self._space.block is None or self._space.block[0] is not x:
            self._space.block = x, self._unit_rows(x, scale)
        rows = self._space.block[1]
        self._torch.mm(self._vectors, rows.T, out=out[:, : len(x)])
        bad = [] if scale is None else np.flatnonzero(np.isnan(scale))
        if len(bad):
            out[:, self._torch.from_numpy(bad)] = -np.inf

    def tops(self, lines, least: float) -> np.ndarray:
        """The greatest of each group: (m, groups) of (m, rows of a group, groups), float32.

        Of a group where all are less than ``least``, any number less than it will do.
        """
        torch = self._torch
        if least > 0 and lines.dtype == torch.bfloat16:
            # Positive numbers are in the order of their bits, which are compared several times as
            # fast; a negative one is less than any positive one either way.
            lines = lines.view(torch.int16)
        n = lines.shape[1]
        if n > 1:  # halves against halves; n is a power of two
            n //= 2
            tops = self._reused("tops", len(lines) * n * lines.shape[2], lines.dtype)
            tops = tops.view(len(lines), n, -1)
            torch.maximum(lines[:, :n], lines[:, n:], out=tops)
            while n > 1:
                n //= 2
                torch.maximum(tops[:, :n], tops[:, n : 2 * n], out=tops[:, :n])
            lines = tops
        found = self._reused("found", lines[:, 0].numel(), torch.float32)
        found = found.view(len(lines), -1)
        return found.copy_(lines[:, 0].view(self.dtype)).numpy()

    def members(self, lines, query: np.ndarray, which: np.ndarray) -> np.ndarray:
        """All of some groups: (n, rows of a group) float32."""
        query, which = (self._torch.from_numpy(i) for i in (query, which))
        return lines[query, :, which].float().numpy()

    def _unit_rows(self, x: np.ndarray, scale: np.ndarray | None):
        """The rows at length one, in the narrow dtype; zeros without direction."""
        dim = x.shape[1]
        rows = self._reused("rows", len(x) * dim, self.dtype).view(-1, dim)
        for at in range(0, len(x), _STEP):
            some = slice(at, at + _STEP)
            self._narrowed(x[some], None if scale is None else scale[some], rows[some])
        if scale is None:
            return rows
        # By a tiny or a large factor a float32 would be infinite or lose its digits.
        for i in np.flatnonzero((scale < 1e-35) | (scale > 1e30)):
            fine = np.asarray(x[i], np.float64) * scale[i]
            rows[i] = self._torch.from_numpy(fine).to(self.dtype)
        bad = np.isnan(scale)
        if bad.any():
            rows[self._torch.from_numpy(bad)] = 0
        return rows

    def _narrowed(self, block: np.ndarray, scale: np.ndarray | None, out) -> None:
        """Copy a block's rows, scaled to length one if they are not near it already."""
        wide = self._reused("wide", block.size, self._torch.float32).view(block.shape)
        wide.copy_(self._torch.from_dlpack(block))
        if not (scale is None or are_near_one(scale)):
            with np.errstate(over="ignore"):
                wide *= self._torch.from_numpy(scale.astype(np.float32)[:, None])
        out.copy_(wide)

    def _reused(self, name: str, size: int, dtype):
        return self._space.tensor(name, size, dtype)


def narrow_dtype():
    """The torch dtype in which this processor multiplies matrices fastest."""
    import torch

    found = torch.cpu.get_capabilities()
    fast = any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if fast else torch.float32


def goes_by_rows(m: int) -> bool:
    """Whether so many queries are looked at one by one; torch is then not used."""
    return m <= FEW


def _roundoff(dtype) -> float:
    import torch

    if dtype == torch.float32 and not _float32_is_full():
        dtype = torch.bfloat16  # the user lets torch multiply float32 in fewer digits
    return torch.finfo(dtype).eps / 2


def _float32_is_full() -> bool:
    """Whether torch multiplies float32 in all its digits, as far as it says."""
    import torch

    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set for each library apart, which this function cannot put in a word
        return False


def turned(vectors: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    """How far rounding moved each vector, (m,) float64, as a bound."""
    apart = vectors.astype(np.float64) - rounded.astype(np.float64)
    return 1.02 * np.sqrt((apart * apart).sum(axis=1)) + 2.0**-22
