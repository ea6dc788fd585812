"""Bins of a histogram: round edges, and the bin of each value."""

from __future__ import annotations

import math
import sys

import numpy as np

#: The largest number of bins. The next code stands for rows without a value; 255 is reserved for
#: rows that are not counted.
MAX_BINS = 254
#: About how many bins a histogram has.
_ABOUT = 80
#: Columns of sizes, whose bins are equally wide in the logarithm.
SIZES = ("width", "height", "original_width", "original_height", "bytes", "original_bytes")
#: If the full range is this many times as wide as the range of nearly all values, only the latter
#: is shown.
_FAR = 20
#: Values encoded at a time.
_BLOCK = 1 << 20
#: The largest and the smallest positive float.
_LARGEST, _SMALLEST = sys.float_info.max, math.ulp(0.0)


def edges_of(name: str, values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Round edges for the values of a column, and whether they are logarithmic.

    The edges are (n_bins + 1,) float64, in ascending order. The first and the last bin also have
    the values beyond them.

    Parameters
    ----------
    name : str
    values : (n,) array of numbers
        NaN and infinite values are ignored.
    """
    low, high = _ends(values)
    if low is None or high is None:
        return np.array([0.0, 1.0]), False
    if low == high:
        return _around(low), False
    is_float = values.dtype.kind == "f"
    if is_float and 0 <= low < 0.1 and 0.5 < high <= 1:
        return np.arange(101) / 100, False  # a probability
    start, middle, end = _quantiles(values)
    if low >= 0 and high > 16 and (name in SIZES or high > 1000 * max(middle, 1 + 15 * is_float)):
        return _logarithmic(max(low, 1.0), high), True
    with np.errstate(over="ignore"):
        spread, width = np.subtract(end, start), np.subtract(high, low)
        if is_float and width / _FAR > spread > 0:  # a few values far from all others
            low, high = max(low, start - spread / 2), min(high, end + spread / 2)
    return _linear(float(low), float(high), is_float), False


def _ends(values: np.ndarray) -> tuple[float | None, float | None]:
    """The smallest and the largest finite value, as floats; None without any."""
    lows, highs = [], []
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        finite = block[np.isfinite(block)] if block.dtype.kind == "f" else block
        if len(finite):
            lows.append(float(finite.min()))
            highs.append(float(finite.max()))
    return (min(lows), max(highs)) if lows else (None, None)


def _quantiles(values: np.ndarray) -> tuple[float, float, float]:
    """Approximate 0.001, 0.5 and 0.999 quantiles of a column, from a fixed subset of its values."""
    chosen = np.asarray(values[:: max(1, len(values) // 65_536)], np.float64)
    chosen = chosen[np.isfinite(chosen)]
    if not len(chosen):
        return 0.0, 0.0, 0.0
    chosen.sort()
    start, middle, end = chosen[[int(q * (len(chosen) - 1)) for q in (0.001, 0.5, 0.999)]].tolist()
    return start, middle, end


def _around(value: float) -> np.ndarray:
    """Two bins for a column with a single value, which is the lower edge of the second bin.

    There is no edge beyond the largest float, so a value there is the last edge, or the first.
    """
    width = max(1.0, abs(value) / 2)
    low, high = max(value - width, -_LARGEST), min(value + width, _LARGEST)
    return np.array([low, value if low < value < high else low / 2 + high / 2, high])


def _round_step(width: float) -> tuple[int, int]:
    """The smallest step of 1, 2 or 5 times a power of ten that is at least a width.

    Returns its factor and the exponent of ten, since the power itself may be too small for a float.
    """
    exponent = math.floor(math.log10(width))
    for factor in (1, 2, 5):
        if _decimal(factor, exponent) >= width * (1 - 1e-12):
            return factor, exponent
    return 1, exponent + 1


def _decimal(number: int, exponent: int) -> float:
    """The finite float nearest to a number times a power of ten, as a person would write it."""
    return min(max(float(f"{number}e{exponent}"), -_LARGEST), _LARGEST)


def _linear(low: float, high: float, is_float: bool) -> np.ndarray:
    width = high - low
    if width < 1e-12 * max(abs(low), abs(high)):
        return _halves(low, high)
    about = width / _ABOUT if math.isfinite(width) else high / _ABOUT - low / _ABOUT
    factor, exponent = _round_step(max(about, _SMALLEST))
    if not is_float and exponent < 0:
        factor, exponent = 1, 0
    step = _decimal(factor, exponent)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    numbers = range(first, min(last, first + MAX_BINS) + 1)
    edges = np.array([_decimal(number * factor, exponent) for number in numbers])
    return edges if bool((edges[1:] > edges[:-1]).all()) else _halves(low, high)


def _halves(low: float, high: float) -> np.ndarray:
    """Two bins, for values that lie between the same two round edges."""
    edges = np.array([low, low / 2 + high / 2, high])
    return edges if bool((edges[1:] > edges[:-1]).all()) else _around(low)


def _logarithmic(low: float, high: float) -> np.ndarray:
    """Integer edges, roughly equally spaced on a log scale, including powers of two."""
    first, last = math.floor(math.log2(low)), math.floor(math.log2(high)) + 1
    per_octave = max(1, min(8, MAX_BINS // max(last - first, 1)))
    octaves = 1 + (last - first) // MAX_BINS  # of a bin, if there are more octaves than bins
    exponents = np.arange(first * per_octave, last * per_octave + octaves, octaves) / per_octave
    with np.errstate(over="ignore"):
        edges: np.ndarray = np.unique(np.minimum(np.round(np.exp2(exponents)), _LARGEST))
    return edges


def codes_of(
    values: np.ndarray, edges: np.ndarray, missing: np.ndarray | None, *, half: bool = False
) -> np.ndarray:
    """The bin of each value, (n,) uint8; ``n_bins`` for NaN and where ``missing``.

    A value at an edge is in the bin above it. What equals an edge is what the ``where`` language
    says: a column of float32 is compared with the edge rounded to float32; and a value of a column
    of float64, or with ``half``, that is the edge rounded to float32, or float16, equals it.
    """
    n_bins = len(edges) - 1
    inner = _in_dtype(edges[1:-1], values.dtype)
    rounded, bins = _rounded_down(edges[1:-1], inner, values.dtype, half)
    codes = np.empty(len(values), np.uint8)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        found = np.searchsorted(inner, block, side="right")
        if len(rounded):
            at = np.minimum(np.searchsorted(rounded, block), len(rounded) - 1)
            found = np.where(rounded[at] == block, np.maximum(bins[at], found), found)
        if block.dtype.kind == "f":
            found[np.isnan(block)] = n_bins
        if missing is not None:
            found[missing[start : start + _BLOCK]] = n_bins
        codes[start : start + _BLOCK] = found
    return codes


def _in_dtype(edges: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Edges as compared with values of a dtype: exact for integers, rounded for float32.

    An edge that would be rounded to 0 or infinity is replaced by the next larger value instead.
    """
    if dtype.kind == "f":
        with np.errstate(over="ignore", under="ignore"):
            rounded = edges.astype(dtype)
            larger = np.nextafter(rounded, dtype.type(np.inf))
        is_below = ((rounded == 0) | np.isinf(rounded)) & (rounded < edges)
        return np.where(is_below, larger, rounded)
    whole = [math.ceil(edge) for edge in edges.tolist()]
    lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.array([max(edge, lowest) for edge in whole if edge <= highest], dtype)


def _rounded_down(
    edges: np.ndarray, inner: np.ndarray, dtype: np.dtype, half: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Values below an edge that count as equal to it, in ascending order, and the bin above it."""
    widths: list[type[np.floating]] = [np.float32] if dtype == np.float64 else []
    widths += [np.float16] if half else []
    found: dict[float, int] = {}
    if not widths:
        return np.empty(0, dtype), np.empty(0, np.int64)
    for number, (edge, compared) in enumerate(zip(edges.tolist(), inner.tolist(), strict=True), 1):
        for width in widths:
            with np.errstate(over="ignore", under="ignore"):
                near = float(width(edge))
            if np.isfinite(near) and near not in (0, edge) and near < compared:
                found[near] = number
    ordered = sorted(found)
    return np.array(ordered, dtype), np.array([found[one] for one in ordered], np.int64)
