"""Rows rounded to int8, whose products are exact integers and bound the cosines of the rows.

An integer sum does not depend on its order, so what is decided by these products alone is the same
for any block size, number of threads and CPU. A row x is ``step * code + rest``, where its largest
element has the code 127 or -127. With the lengths of the rests in units of the rows' own, the
cosine of two rows differs from that of their codes by at most ``rest_x (1 + rest_y) + rest_y``, by
Cauchy-Schwarz.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from laion_dask.numerics.int8 import multiplies_int8, product
from laion_dask.runtime.numba_cache import compiled

#: Added to a bound: rounding errors in float32 of `scale` and `lost`, and of cosines.
ROUNDING = 1e-5
#: Rows that `encode` rounds at a time, while they are in the cache.
_ROWS = 512


@dataclass(frozen=True, eq=False)
class Codes:
    """Rows rounded to int8.

    Attributes
    ----------
    codes : (n, dim) int8 array
        All 0 for a row without a direction.
    scale : (n,) float32 array
        The step over the row's length: ``codes * scale`` is nearly the row, scaled to length one. 0
        for a row without a direction, whose length is zero, infinite or NaN.
    lost : (n,) float32 array
        The length of what rounding lost, over the row's length.
    """

    codes: np.ndarray
    scale: np.ndarray
    lost: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows) -> Codes:
        return Codes(self.codes[rows], self.scale[rows], self.lost[rows])

    @property
    def is_scored(self) -> np.ndarray:
        """Whether each row has a direction, (n,) bool."""
        return self.scale > 0


def encode(x: np.ndarray, *, common_step: bool = False) -> Codes:
    """Rows rounded to int8.

    Parameters
    ----------
    x : (n, dim) float16 or float32 array
    common_step : bool
        Whether all rows, which must be of length one, have the step of the largest element, so that
        products with several of them compare as they are.
    """
    import numkong

    n, dim = x.shape
    out = Codes(np.zeros((n, dim), np.int8), np.zeros(n, np.float32), np.zeros(n, np.float32))
    largest = np.float32(np.abs(x).max(initial=0.0)) if common_step else np.float32(0)
    call = kernel("encode", np.empty((0, dim), np.float32), largest, *_arrays(out[:0]))
    buffer = np.empty((min(n, _ROWS), dim), np.float32)
    for at in range(0, n, _ROWS):
        block = np.ascontiguousarray(x[at : at + _ROWS])
        if block.dtype != np.float32:
            block = np.asarray(numkong.astype(block, "f32", out=buffer[: len(block)]))
        call(block, largest, *_arrays(out[at : at + _ROWS]))
    return out


def _arrays(codes: Codes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return codes.codes, codes.scale, codes.lost


@cache
def _kernels() -> Any:
    return import_module("laion_dask.numerics.int8_codes_kernels")


_compiled: dict[tuple, Callable] = {}


def kernel(name: str, *examples) -> Callable:
    """A compiled function of `int8_codes_kernels`; ``examples`` are arguments without rows."""
    key = (name, *(getattr(each, "dtype", type(each)) for each in examples))
    if key not in _compiled:
        _compiled[key] = compiled(getattr(_kernels(), name), *examples)[0]
    return _compiled[key]


class Products:
    """Products of blocks of codes with one matrix of codes, exact in int32.

    By torch where the CPU multiplies int8 and torch is installed, else by numkong, which is half as
    fast; the products are the same.

    Parameters
    ----------
    codes : (n, dim) int8 array
        C-contiguous; ``dim`` at most 133,000.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self.n = len(codes)
        self._torch = _torch_codes(codes) if self.n else None
        if self._torch is None and self.n:
            import numkong

            self._packed = numkong.dots_pack(codes, "int8")

    def of(self, codes: np.ndarray, out: np.ndarray) -> np.ndarray:
        """The products of a block, (m, n) int32, in a part of ``out``, a flat buffer."""
        m = len(codes)
        result = out[: m * self.n].reshape(m, self.n)
        if not result.size:
            return result
        if self._torch is None:
            import numkong

            result[:] = np.asarray(numkong.dots_packed(np.ascontiguousarray(codes), self._packed))
            return result
        import torch

        block = np.require(codes, requirements=["C", "W"])  # else torch warns
        product(torch.from_numpy(block), self._torch, torch.from_numpy(result))
        return result


def _torch_codes(codes: np.ndarray):
    try:
        import torch
    except ImportError:
        return None
    return torch.from_numpy(codes) if multiplies_int8() else None
