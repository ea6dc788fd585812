"""Cosines of many rows with many queries, fast, each off by no more than a stated bound.

They choose which rows are worth an exact score, and never end up in a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laion_dask.products import rough_bound, rough_cosines, squares, widen

#: Up to so many queries, a pass over the rows for each is faster on the CPU than a matrix product.
FEW = 4
#: Rows that are brought to length one at a time: they stay in a core's cache.
_STEP = 256
#: How far from 1 the lengths of a block's rows may be for the block to be left as it is; float16
#: storage of unit rows moves them by less than a tenth of it.
_NEAR = 2.0**-10


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
            rest = np.where(np.isinf(kth), kth, kth - self.relative * abs(kth)) - 2 * self.absolute
        cut = rest / np.where(rest < 0, 1 - self.relative, 1 + self.relative)
        return np.nextafter(cut.astype(np.float32), np.float32(-np.inf))


class RowByRow:
    """A few queries on the CPU: one product a query, at the speed of memory.

    The bound is `rough_bound` of the product, and how far the rounding of the query to the rows'
    dtype turns it: cosines with two unit vectors differ by at most their distance.
    """

    def __init__(self, vectors: np.ndarray, dtype: str) -> None:
        self._vectors = vectors.astype(dtype)
        self.bound = Bound(0.0, rough_bound(vectors.shape[1]) + _turned(vectors, self._vectors))

    def room(self, width: int) -> np.ndarray:
        """As `ByMatrix`."""
        return np.empty((len(self._vectors), width), np.float32)

    def fill(self, x: np.ndarray, out: np.ndarray) -> int:
        """As `ByMatrix`."""
        found = out[:, : len(x)]
        for line, vector in zip(found, self._vectors, strict=True):
            line[:] = rough_cosines(x, vector)
        # A row of zeros has the cosine 0, one with a NaN NaN, one with an infinity NaN, 1 or
        # infinite, by processor.
        first = found[0]
        odd = np.flatnonzero(~(abs(first) < 0.99) | (first == 0))
        bad = odd[~_has_direction(squares(x[odd]))]
        found[:, bad] = -np.inf
        return len(bad)

    def tops(self, lines: np.ndarray) -> np.ndarray:
        """As `ByMatrix`."""
        return lines.max(axis=1)

    def members(self, lines: np.ndarray, query: np.ndarray, which: np.ndarray) -> np.ndarray:
        """As `ByMatrix`."""
        return lines[query, :, which]


class Space:
    """Memory that the products of many queries take in turn, and the rows that all of them read."""

    def __init__(self) -> None:
        self.held = self.rows = self.wide = None
        self.block: tuple | None = None


class ByMatrix:
    """Many queries: rows of length one, times all queries, in a narrow floating point.

    On a CUDA device float16; on a CPU that multiplies bfloat16 in hardware, that; else float32.

    With u the unit roundoff of the narrow numbers and g that of a float32 sum of ``dim`` products
    (Higham 2002, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), by
    Cauchy-Schwarz: rounding the rows moves a cosine by at most ``u``, their length in float32 by
    ``g``, rounding a query by the distance that it moves (which is known), adding up in float32 by
    ``g``, and rounding the result by a share of ``u`` of it. Rows that are of length one within
    `_NEAR` are left as they are, which is off by that share. A share of 2 % on top covers terms of
    second order, and ``2**-25 * sqrt(dim)`` numbers of float16 that are too small to be normal.
    """

    def __init__(self, vectors: np.ndarray, device: str, space: Space | None = None) -> None:
        import torch

        self._torch, self.device, self._space = torch, device, space or Space()
        self.dtype = narrow_dtype(device)
        self._vectors = torch.from_numpy(vectors).to(device, self.dtype)
        rounded = self._vectors.float().cpu().numpy()
        dim = vectors.shape[1]
        tiny = 2.0**-25 * dim**0.5 if self.dtype == torch.float16 else 0.0
        u, g = _roundoff(self.dtype), 1.02 * dim * 2.0**-24
        absolute = 1.02 * (u + 2 * g + _turned(vectors, rounded)) + tiny
        #: What the products come back as.
        self.result_dtype = torch.float32 if device.startswith("cuda") else self.dtype
        self.bound = Bound(1.02 * (_roundoff(self.result_dtype) + _NEAR), absolute)

    def room(self, width: int):
        """A tensor (m, width) to fill, in the same memory every time."""
        m, space = len(self._vectors), self._space
        if space.held is None or len(space.held) < m * width:
            held = self._torch.empty(m * width, dtype=self.result_dtype, device=self.device)
            space.held = held
        return space.held[: m * width].view(m, width)

    def fill(self, x: np.ndarray, out) -> int:
        """Fill ``out`` with the rough cosines of a block.

        Parameters
        ----------
        x : (n, dim) array
            float16 or float32.
        out : (m, width) tensor
            Columns from n on are left alone. -inf is put where a row has no direction.

        Returns
        -------
        int
            How many rows have none.
        """
        if self._space.block is None or self._space.block[0] is not x:
            lengths = squares(x)
            bad = np.flatnonzero(~_has_direction(lengths))
            self._space.block = x, self._unit_rows(x, lengths, bad), bad
        _, rows, bad = self._space.block
        if self.device.startswith("cuda"):
            made = self._torch.mm(self._vectors, rows.T, out_dtype=self._torch.float32)
            out[:, : len(x)].copy_(made)
        else:
            self._torch.mm(self._vectors, rows.T, out=out[:, : len(x)])
        if len(bad):
            out[:, self._torch.from_numpy(bad).to(out.device)] = -np.inf
        return len(bad)

    def tops(self, lines) -> np.ndarray:
        """The greatest of each group: (m, groups) of (m, rows of a group, groups), float32."""
        return lines.amax(1).float().cpu().numpy()

    def members(self, lines, query: np.ndarray, which: np.ndarray) -> np.ndarray:
        """All of some groups: (n, rows of a group) float32."""
        query, which = (self._torch.from_numpy(i).to(self.device) for i in (query, which))
        return lines[query, :, which].float().cpu().numpy()

    def _unit_rows(self, x: np.ndarray, lengths: np.ndarray, bad: np.ndarray):
        """The rows at length one, in the narrow dtype, on the device; zeros for bad ones."""
        torch, space = self._torch, self._space
        if space.rows is None or len(space.rows) < len(x):
            space.rows = torch.empty((len(x), x.shape[1]), dtype=self.dtype, device=self.device)
            space.wide = torch.empty((_STEP, x.shape[1]))
        rows, wide = space.rows[: len(x)], space.wide.numpy()
        lengths[bad] = np.inf
        # Over a large or a tiny length a float32 would be infinite or lose its digits.
        far = np.flatnonzero(((lengths > 1e70) | (lengths < 1e-60)) & np.isfinite(lengths))
        scale = (1 / np.sqrt(lengths)).astype(np.float32)[:, None]
        good = scale[scale > 0]
        as_they_are = bool((abs(good - 1) < 0.99 * _NEAR).all())
        for at in range(0, len(x), _STEP):
            block = x[at : at + _STEP]
            widen(block, wide[: len(block)])
            if not as_they_are:
                with np.errstate(invalid="ignore", over="ignore"):
                    wide[: len(block)] *= scale[at : at + len(block)]
            rows[at : at + len(block)].copy_(space.wide[: len(block)])
        for at in far:
            fine = np.asarray(x[at], np.float64) / np.sqrt(lengths[at])
            rows[at] = torch.from_numpy(fine).to(self.device, self.dtype)
        if len(bad):
            rows[torch.from_numpy(bad).to(self.device)] = 0
        return rows


def narrow_dtype(device: str):
    """The torch dtype in which a device multiplies matrices fastest."""
    import torch

    if device.startswith("cuda"):
        return torch.float16
    found = torch.cpu.get_capabilities()
    fast = any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if fast else torch.float32


def goes_by_rows(m: int, device: str) -> bool:
    """Whether so many queries are looked at one by one; torch is then not used."""
    return m <= FEW and device == "cpu"


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


def _turned(vectors: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    """How far rounding moved each vector, (m,) float64, as a bound."""
    apart = vectors.astype(np.float64) - rounded.astype(np.float64)
    return 1.02 * np.sqrt((apart * apart).sum(axis=1)) + 2.0**-22


def _has_direction(lengths: np.ndarray) -> np.ndarray:
    return np.isfinite(lengths) & (lengths > 0)
