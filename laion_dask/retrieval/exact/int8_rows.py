"""Unit vectors rounded to int8, and how far rounding moved them.

Vectors are first rotated, so that no element is much larger than the others: CLIP's embeddings have
elements that are ten times as large as most (for ViT-L-14, 413 and 644), and a step that fits these
would leave few digits for the rest. The rotation consists of random signs, and of rounds of sums
and differences, as in a fast Walsh-Hadamard transform. It is orthogonal, so it keeps
cosines (Ashkboos et al. 2024, QuaRot, section 4).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module

import numpy as np

from laion_dask.numerics.dot_products import are_near_one
from laion_dask.numerics.int8 import widens_float16
from laion_dask.retrieval.exact.shared_state import ScratchPool
from laion_dask.runtime.numba_cache import compiled

#: Those of `int8_tiles`, which is imported only where it is used, as it imports numba.
TILE_ROWS, TILE_QUERIES = 32, 12
#: Rounds of the rotation: an element becomes a sum of at least 256 elements.
_ROUNDS = 8
#: A row is coarse if rounding moves it further than most by this many parts of ``dim**-0.5``, which
#: is almost seven standard deviations: one of its elements is too large for a code.
_UNUSUAL = 3.0
#: If a larger share of a block is coarse, the next block has a larger step.
_MOST_COARSE = 0.01
#: An upper bound of the distance by which float32 arithmetic moves a rotated unit vector: one
#: rounding in each of 8 rounds, two for its factors (Higham 2002, section 2.2), and 2 % more.
ROTATION_ERROR = 1.02 * (_ROUNDS + 2) * 2.0**-24
#: Two rounds of sums and differences of four numbers.
_SUMS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], np.float64)
_compiling = threading.Lock()
_ready: dict[str, Callable] = {}


def kernel(module: str, name: str, *arguments):
    """Call a compiled function of this room. One thread compiles or loads it; the others wait.

    Later calls must have arguments of the same types.
    """
    if name not in _ready:
        with _compiling:
            if name not in _ready:
                loops = import_module(f"laion_dask.retrieval.exact.{module}")  # imports numba
                _ready[name], answer = compiled(getattr(loops, name), *arguments)
                return answer
    return _ready[name](*arguments)


class EncodedRows:
    """A block of rows, and the same as unit vectors, rotated and rounded to int8.

    Attributes
    ----------
    rows : (n, dim) float32 array, or uint16 array of the bits of float16
        Read-only.
    scale : (n,) float32 array
        1 for all if the length of each is near one; NaN for rows without direction.
    codes : (n, dim) int8 array
        0 for rows without direction.
    step : float
        The value of one unit of the codes.
    lost : float
        The most by which rounding moved a row that is not `coarse`.
    coarse, undefined : int arrays
        Positions of the rows that rounding moved further, whose codes say nothing, and of the rows
        without direction.
    """

    def __init__(self, x: np.ndarray, scale: np.ndarray | None, scratch: ScratchPool) -> None:
        n, dim = x.shape
        self.undefined = np.flatnonzero(np.isnan(scale) if scale is not None else ())
        self.rows, self.scale = _rows_and_scale(x, scale, scratch)
        self.codes = scratch.array("codes", n * dim, np.int8).reshape(n, dim)
        self.step = scratch.reach / dim**0.5 / 127
        factors = (2.0 ** (-_ROUNDS / 2) / self.step * self.scale).astype(np.float32)
        factors[self.undefined] = 0
        distances = encode(self.rows, factors, self.codes, scratch) * self.step
        is_coarse = distances > self.step * (dim / 12) ** 0.5 * (1 + _UNUSUAL / dim**0.5)
        self.coarse = np.flatnonzero(is_coarse)
        if len(self.coarse) > _MOST_COARSE * n:
            scratch.reach *= 1.25
        self.lost = float(distances[~is_coarse].max(initial=0))


def encode(rows: np.ndarray, factors: np.ndarray, codes: np.ndarray, scratch) -> np.ndarray:
    """Rotate rows and round them to int8; returns how far that moved them, in steps, float64."""
    n, dim = rows.shape
    lost = scratch.array("lost", n)
    buffers = scratch.array("rotated", 2 * dim).reshape(2, dim)
    kernel("int8_kernels", "encode", rows, _signs(dim), factors, codes, lost, buffers)
    # Squares are summed in float32, with an error of up to dim / 2 roundings in the length.
    return lost.astype(np.float64) * (1 + dim * 2.0**-24)


class EncodedQueries:
    """Unit queries, and the same rotated and rounded to int8, each with its own step.

    Parameters
    ----------
    vectors : (m, dim) float32 array

    Attributes
    ----------
    vectors : (m, dim) float32 array
        Writable, as the compiled loops expect.
    codes : (m, dim) int8 array
    step : (m,) float64 array
        The value of one unit of a query's codes.
    lost : (m,) float64 array
        An upper bound of the distance by which rounding moved it.
    packed : (tiles, dim / 4, 4 * TILE_QUERIES) int8 array
        The codes as `int8_tiles.mark` reads them.
    raised : (m,) int64 array
        By how much adding 128 to the codes of a row raises its products.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = np.array(vectors, np.float32, order="C")
        rotated = rotate(vectors.astype(np.float64))
        self.step = np.maximum(abs(rotated).max(axis=1, initial=0), 1e-30) / 127
        codes = np.rint(rotated / self.step[:, None])
        difference = rotated - codes * self.step[:, None]
        self.lost = 1.001 * np.sqrt((difference * difference).sum(axis=1))
        self.codes = codes.astype(np.int8)
        self.raised = 128 * self.codes.sum(axis=1, dtype=np.int64)
        m, dim = vectors.shape
        filled = np.zeros((-(-m // TILE_QUERIES) * TILE_QUERIES, dim), np.int8)
        filled[:m] = self.codes
        tiles = filled.reshape(-1, TILE_QUERIES, dim // 4, 4).swapaxes(1, 2)
        self.packed = np.ascontiguousarray(tiles).reshape(len(tiles), dim // 4, -1)

    def __len__(self) -> int:
        return len(self.vectors)


def rotate(vectors: np.ndarray) -> np.ndarray:
    """The rotation of `int8_kernels.encode`, in float64; (m, dim) for (m, dim)."""
    m, dim = vectors.shape
    x = vectors * _signs(dim)[0]
    if dim % 16:
        x = _sums_of_neighbors(_sums_of_neighbors(x))
    else:
        x = np.einsum("rc,mcj->mrj", _SUMS, x.reshape(m, 4, -1))
        x = np.einsum("rc,mqcj->mqrj", _SUMS, x.reshape(m, 4, 4, -1)).reshape(m, dim)
    return _sums_of_neighbors(_sums_of_neighbors(x)) * 2.0 ** (-_ROUNDS / 2)


def _sums_of_neighbors(x: np.ndarray) -> np.ndarray:
    return np.einsum("rc,mjc->mrj", _SUMS, x.reshape(len(x), -1, 4)).reshape(x.shape)


def _rows_and_scale(
    x: np.ndarray, scale: np.ndarray | None, scratch: ScratchPool
) -> tuple[np.ndarray, np.ndarray]:
    """The rows as the compiled loops read them, and their scales; see `EncodedRows`."""
    ones = np.ones(len(x), np.float32)
    if scale is not None and are_near_one(scale):
        scale = None
    if x.dtype == np.float16 and widens_float16():
        bits = np.require(x, requirements=["C", "A"]).view(np.uint16)
        return _read_only(bits), ones if scale is None else scale.astype(np.float32)
    rows = scratch.array("unit rows", x.size).reshape(x.shape)
    rows[:] = x
    if scale is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            rows *= scale.astype(np.float32)[:, None]
        # Scaling by a tiny or a large factor would overflow or lose digits in float32.
        for i in np.flatnonzero((scale < 1e-35) | (scale > 1e30)):
            rows[i] = np.asarray(x[i], np.float64) * scale[i]
        ones[np.isnan(scale)] = np.nan
    return _read_only(rows), ones


def _read_only(rows: np.ndarray) -> np.ndarray:
    """The same array, of the one type for which loops are compiled, even if it can be written."""
    rows = rows.view()
    rows.flags.writeable = False
    return rows


@cache
def _signs(dim: int) -> np.ndarray:
    """Random signs, always the same for a dimension, and ones; (2, dim) float32."""
    signs = np.ones((2, dim), np.float32)
    signs[0] = np.random.default_rng(dim).choice(np.array([-1, 1], np.float32), dim)
    return signs
