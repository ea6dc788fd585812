"""Dot products of stored embeddings with one vector, on the CPU at memory bandwidth.

Every row is computed separately and in a fixed order, so its result does not depend on other rows,
the block or the number of threads. No function here starts threads, and all of them release the
GIL, so two tasks use two cores. The arithmetic is numkong's, which selects instructions by CPU:
last digits may differ between CPUs, error bounds do not.
"""

from __future__ import annotations

import numpy as np

from laion_dask.errors import EmbeddingsError
from laion_dask.numerics.row_checks import check_rows, check_rows_and_vector, check_same_dtype

#: Bytes of rows that stay in a core's cache while several products are computed.
_CACHED = 3 << 18
#: Largest deviation of a row's length from 1 for the row to count as normalized. Storing normalized
#: rows as float16 changes their length by less than half of this, with few exceptions.
NEAR = 2.0**-12
#: Scale of the second half of a split vector, so that it keeps its digits in float16.
_LOW = 2.0**11


def squares(x: np.ndarray) -> np.ndarray:
    """The squared length of every row. Eager.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.

    Returns
    -------
    (n,) float64
        Relative error of at most ``(dim + 4) * 2**-24``, without over- or underflow. Infinite or
        NaN only for a row with an infinity or a NaN.

    Raises
    ------
    EmbeddingsError
        When the shape or the dtype is wrong.
    """
    x = check_rows(x)
    out = np.empty(len(x), np.float64)
    for start, block in _blocks(x):
        out[start : start + len(block)] = _dots(block, block)
    return out


def inner(x: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """The inner product of every row with a vector of the same dtype, in one call. Eager.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.
    w : (dim,) NumPy array
        Must have the same dtype.
    out : (n,) float64 or float32 array
        The output. The error is at most ``dim * 2**-24 * |row| * |w|``, far less for float32 rows,
        plus the rounding of ``out``.

    Raises
    ------
    EmbeddingsError
        When a shape or a dtype is wrong.
    """
    x, w = check_rows_and_vector(x, w)
    check_same_dtype(x, w)
    import numkong

    if len(x):  # one call for all rows: after each call a thread waits for the GIL
        x = np.require(x, requirements=["A", "C"])
        is_float64 = out.dtype == np.float64
        numkong.dot(x, w, out=out, out_dtype="float64" if is_float64 else "float32")


def scales(x: np.ndarray) -> np.ndarray:
    """The reciprocal of the length of every row. Eager.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.

    Returns
    -------
    (n,) float64
        Relative error of at most ``(dim + 4) * 2**-25``. NaN for a row without direction: one whose
        length is zero, infinite or NaN.
    """
    lengths = squares(x)
    lengths[~(np.isfinite(lengths) & (lengths > 0))] = np.nan
    return 1 / np.sqrt(lengths)


def are_near_one(scale: np.ndarray) -> bool:
    """Whether all `scales` belong to rows whose length is within `NEAR` of one.

    Up to the relative error of the scales themselves, ``(dim + 4) * 2**-25``.
    """
    return bool((abs(scale - 1) < 0.75 * NEAR).all())


def dot_and_squares(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inner product of every row with a vector, and its `squares`. Eager.

    A float32 vector is split into two of float16, ``w = high + low``, before it is multiplied by
    float16 rows; together they hold 22 bits of the largest element. Converting the rows would cost
    more than the second product, whose rows are still in the cache.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.
    w : (dim,) NumPy array
        float32; or float16 with float16 rows, which costs one product instead of two.

    Returns
    -------
    dot : (n,) float32
        The error is at most ``(dim + 4) * 2**-24 * |row| * |w|``: products of float16 rows are
        summed in float32, those of float32 rows in float64. NaN for a row or a vector with a NaN;
        NaN or infinite if one has an infinity.
    squares : (n,) float64

    Raises
    ------
    EmbeddingsError
        When a shape or a dtype is wrong.
    """
    x, w = check_rows_and_vector(x, w)
    dots, lengths = np.empty(len(x), np.float32), np.empty(len(x), np.float64)
    parts, scales = ([w], [1.0]) if x.dtype == w.dtype else _split(w)
    for start, block in _blocks(x):
        rows = slice(start, start + len(block))
        dots[rows], lengths[rows] = _weighted(block, parts, scales), _dots(block, block)
    return dots, lengths


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The cosine of every row with a vector, or with the same row of a matrix, in float64. Eager.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.
    y : (dim,) or (n, dim) NumPy array
        float16 or float32.

    Returns
    -------
    (n,) float64
        In [-1, 1]. NaN if a vector has no direction: its length is zero, infinite or NaN.

    Raises
    ------
    EmbeddingsError
        When a shape or a dtype is wrong.
    """
    x, y = check_rows(x), np.asarray(y)
    is_vector = y.ndim == 1
    y = check_rows(y[None] if is_vector else y)
    if y.shape[1] != x.shape[1] or not (is_vector or len(y) == len(x)):
        raise EmbeddingsError(
            f"Rows of shape {x.shape} were given with {y.shape}. Expected one vector of the same "
            "width, or the same number of rows."
        )
    x_buffer, y_buffer = _Float32Buffer(), _Float32Buffer()
    if is_vector:
        y_block = y_buffer.of(y)[0]
        length = _dots(y_block, y_block)
    out = np.empty(len(x), np.float64)
    for start, block in _blocks(x, as_float32=True):
        rows = slice(start, start + len(block))
        block = x_buffer.of(block)
        if not is_vector:
            y_block = y_buffer.of(y[rows])
            length = _dots(y_block, y_block)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = _dots(block, y_block) / (np.sqrt(_dots(block, block)) * np.sqrt(length))
        np.clip(cosine, -1, 1, out=out[rows])
    return out


class _Float32Buffer:
    """Converts successive blocks to float32 in the same memory, which avoids page faults."""

    def __init__(self) -> None:
        self._held: np.ndarray | None = None

    def of(self, block: np.ndarray) -> np.ndarray:
        """The block in float32: itself if it is float32, else a copy valid until the next call."""
        import numkong

        if block.dtype == np.float32:
            return np.require(block, requirements=["A", "C"])
        if self._held is None or len(self._held) < len(block):
            self._held = np.empty(block.shape, np.float32)
        out = self._held[: len(block)]
        numkong.astype(np.require(block, requirements=["A", "C"]), "f32", out=out)
        return out


def _dots(block: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(rows,) float64; summed in float32 for float16 rows, in float64 for float32 rows."""
    import numkong

    return np.asarray(numkong.dot(block, w))


def _weighted(block: np.ndarray, parts: list[np.ndarray], scales: list[float]) -> np.ndarray:
    total = _dots(block, parts[0])
    with np.errstate(invalid="ignore", over="ignore"):
        total = total if scales[0] == 1 else total * scales[0]
        for part, scale in zip(parts[1:], scales[1:], strict=True):
            total = total + _dots(block, part) * scale
        return total.astype(np.float32)


def _split(w: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Split a float32 vector into float16 vectors and their scales."""
    largest = float(np.abs(w).max(initial=0.0))
    if not 0 < largest < np.inf:
        return [w.astype(np.float16)], [1.0]
    scaled = w.astype(np.float64) / largest
    high = scaled.astype(np.float16)
    low = ((scaled - high) * _LOW).astype(np.float16)
    return [high, low], [largest, largest / _LOW]


def _blocks(x: np.ndarray, *, as_float32: bool = False):
    """(start, rows): contiguous blocks that fit in the cache, in float32 if ``as_float32``."""
    step = max(1, _CACHED // (x.shape[1] * (4 if as_float32 else x.itemsize)))
    for start in range(0, len(x), step):
        yield start, np.require(x[start : start + step], requirements=["A", "C"])
