"""Products of stored embeddings with one vector, on the CPU at the speed that memory gives.

Every row is computed alone and in one order, so its result does not depend on the rows beside it,
on the block it stands in or on the number of threads. Nothing here starts threads; all of it lets
other Python threads run, so two tasks keep two cores busy. The arithmetic is numkong's, which
picks the instructions of the processor: last digits may differ between processors, bounds do not.
"""

from __future__ import annotations

import numpy as np

from laion_dask.errors import EmbeddingsError

#: Bytes of rows that stay in a core's cache while several products are taken of them.
_CACHED = 3 << 18
#: How far from 1 a length may be for a row to be taken as it is; float16 storage of rows of length
#: one moves them by less than half of it, but for a few.
NEAR = 2.0**-12
#: What the second half of a split vector is scaled by, so that it keeps its digits in float16.
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
        Off by a share of at most ``(dim + 4) * 2**-24``; it neither over- nor underflows. Infinite
        or NaN for a row with an infinity or a NaN, and for no other.

    Raises
    ------
    EmbeddingsError
        When the shape or the dtype is another one.
    """
    x = _checked_rows(x)
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
        Of the same dtype.
    out : (n,) float64 or float32 array
        To fill. Off by at most ``dim * 2**-24 * |row| * |w|``, float32 rows by far less; and by
        what float32 rounds.

    Raises
    ------
    EmbeddingsError
        When a shape or a dtype is another one.
    """
    x, w = _checked(x, w)
    _check_same(x, w)
    import numkong

    if len(x):  # in one call, since after each one a thread has to wait for its turn to run Python
        x = np.require(x, requirements=["A", "C"])
        numkong.dot(x, w, out=out, out_dtype=str(out.dtype))


def scales(x: np.ndarray) -> np.ndarray:
    """What brings every row to length one. Eager.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.

    Returns
    -------
    (n,) float64
        One over the length, off by a share of at most ``(dim + 4) * 2**-25``. NaN for a row
        without direction: of a length that is zero, infinite or NaN.
    """
    lengths = squares(x)
    lengths[~(np.isfinite(lengths) & (lengths > 0))] = np.nan
    return 1 / np.sqrt(lengths)


def are_near_one(scale: np.ndarray) -> bool:
    """Whether all of some `scales` belong to rows of length one, nearly: off by less than `NEAR`.

    But for the error of the scales themselves, a share of ``(dim + 4) * 2**-25``.
    """
    return bool((abs(scale - 1) < 0.75 * NEAR).all())


def dot_and_squares(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inner product of every row with a vector, and its `squares`. Eager.

    A float16 row is multiplied by a float32 vector as by two of float16, ``w = high + low``, which
    together hold 22 bits of the largest element: a conversion of the rows would cost more than the
    second product, whose rows are still in the cache.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.
    w : (dim,) NumPy array
        float32. float16 goes with float16 rows and costs one product in place of two.

    Returns
    -------
    dot : (n,) float32
        Off by at most ``(dim + 4) * 2**-24 * |row| * |w|``: products of float16 rows are added up
        in float32, of float32 rows in float64. NaN for a row or a vector with a NaN; NaN or
        infinite for one with an infinity.
    squares : (n,) float64

    Raises
    ------
    EmbeddingsError
        When a shape or a dtype is another one.
    """
    x, w = _checked(x, w)
    dots, lengths = np.empty(len(x), np.float32), np.empty(len(x), np.float64)
    parts, scales = ([w], [1.0]) if x.dtype == w.dtype else _split(w)
    for start, block in _blocks(x):
        here = slice(start, start + len(block))
        dots[here], lengths[here] = _weighted(block, parts, scales), _dots(block, block)
    return dots, lengths


def rough_cosines(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The cosine of every row with a vector, in one product: for a first selection. Eager.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.
    w : (dim,) NumPy array
        Finite and not zero, of the same dtype.

    Returns
    -------
    (n,) float32
        At most 1, and off by at most `rough_bound`. Exactly 0 for a row of zeros. NaN for a row
        with a NaN; NaN, 1 or infinite for one with an infinity.

    Raises
    ------
    EmbeddingsError
        When a shape or a dtype is another one.
    """
    import numkong

    x, w = _checked(x, w)
    _check_same(x, w)
    if not len(x):
        return np.empty(0, np.float32)
    # In one call, since after each one a thread has to wait for its turn to run Python.
    found = np.asarray(numkong.angular(np.require(x, requirements=["A", "C"]), w))
    return (1.0 - found).astype(np.float32)


def rough_bound(dim: int) -> float:
    """How far `rough_cosines` can be from the true cosine with the same vector.

    Each of the three sums of ``dim`` products in float32 is off by a share of at most
    ``g = dim * u / (1 - dim * u)``, ``u = 2**-24``, in any order of adding (Higham 2002, Accuracy
    and Stability of Numerical Algorithms, 2nd ed., section 3.1); the product by Cauchy-Schwarz as
    a share of the two lengths. So the cosine is off by ``2 g`` and what the reciprocal roots add:
    the processors' estimates are good to 2**-11 each before they are refined, and rounding the
    last steps is far below that. The sum of the three is doubled for the terms of second order.
    """
    u = 2.0**-24
    g = dim * u / (1 - dim * u)
    return 2 * (2 * g + 2 * 2.0**-11)


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The cosine of every row with a vector, or with a row of its own, in float64. Eager.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.
    y : (dim,) or (n, dim) NumPy array
        float16 or float32.

    Returns
    -------
    (n,) float64
        In [-1, 1]. NaN where either has no direction: a length that is zero, infinite or NaN.

    Raises
    ------
    EmbeddingsError
        When a shape or a dtype is another one.
    """
    x, y = _checked_rows(x), np.asarray(y)
    alone = y.ndim == 1
    y = _checked_rows(y[None] if alone else y)
    if y.shape[1] != x.shape[1] or not (alone or len(y) == len(x)):
        raise EmbeddingsError(
            f"Rows of shape {x.shape} were given with {y.shape}. Expected one vector of the same "
            "width, or as many rows."
        )
    wide, others = _Wide(), _Wide()
    if alone:
        other = others.of(y)[0]
        length = _dots(other, other)
    out = np.empty(len(x), np.float64)
    for start, block in _blocks(x, wide=True):
        here = slice(start, start + len(block))
        block = wide.of(block)
        if not alone:
            other = others.of(y[here])
            length = _dots(other, other)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = _dots(block, other) / (np.sqrt(_dots(block, block)) * np.sqrt(length))
        np.clip(cosine, -1, 1, out=out[here])
    return out


class _Wide:
    """Blocks of rows in float32, one after another in the same memory: a new page costs a fault."""

    def __init__(self) -> None:
        self._held: np.ndarray | None = None

    def of(self, block: np.ndarray) -> np.ndarray:
        """The block in float32: itself where it is that, else good until the next call."""
        import numkong

        if block.dtype == np.float32:
            return np.require(block, requirements=["A", "C"])
        if self._held is None or len(self._held) < len(block):
            self._held = np.empty(block.shape, np.float32)
        out = self._held[: len(block)]
        numkong.astype(np.require(block, requirements=["A", "C"]), "f32", out=out)
        return out


def _dots(block: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(rows,) float64: what was added up in float32, or in float64 for float32 rows."""
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
    """A float32 vector as float16 vectors and what each is to be multiplied by."""
    largest = float(np.abs(w).max(initial=0.0))
    if not 0 < largest < np.inf:
        return [w.astype(np.float16)], [1.0]
    whole = w.astype(np.float64) / largest
    high = whole.astype(np.float16)
    low = ((whole - high) * _LOW).astype(np.float16)
    return [high, low], [largest, largest / _LOW]


def _blocks(x: np.ndarray, *, wide: bool = False):
    """(start, rows): contiguous, and so many that they stay in the cache, as float32 if need be."""
    step = max(1, _CACHED // (x.shape[1] * (4 if wide else x.itemsize)))
    for start in range(0, len(x), step):
        yield start, np.require(x[start : start + step], requirements=["A", "C"])


def _checked_rows(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype not in (np.float16, np.float32):
        raise EmbeddingsError(
            f"Rows were given as {x.dtype} of shape {x.shape}. Expected (n, dim) of float16 or "
            "float32; convert them first."
        )
    return x


def _checked(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, w = _checked_rows(x), np.ascontiguousarray(w)
    if w.shape != (x.shape[1],) or w.dtype not in (x.dtype, np.float32):
        raise EmbeddingsError(
            f"The vector is {w.dtype} of shape {w.shape}. Expected ({x.shape[1]},) float32."
        )
    return x, w


def _check_same(x: np.ndarray, w: np.ndarray) -> None:
    if x.dtype != w.dtype:
        raise EmbeddingsError(
            f"Rows of {x.dtype} were given with a vector of {w.dtype}. Round the vector first."
        )
