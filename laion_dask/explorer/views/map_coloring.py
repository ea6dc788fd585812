"""What the colors of the map show: density, the mean of a column, or categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laion_dask.explorer.columns import CategoryColumn, NumberColumn
from laion_dask.explorer.sample import Sample
from laion_dask.formatting import counted, printable

#: Number of categories with their own color.
N_CLASSES = 7
#: The share of rows at each end of a column that get the color of that end.
_TAIL = 0.02
#: Number of rows from which the ends are estimated.
_ENOUGH = 1_000_000
_LONGEST_LABEL = 40
DENSITY = "density"


@dataclass(frozen=True, eq=False)
class MeanColor:
    """Color by the mean of a column.

    Attributes
    ----------
    name : str
    values : (n,) float32 or float64 array
        NaN and infinite numbers are no values.
    low, high : float
        The colors are those of `low` to `high`; a mean outside has the color of the nearer end.
    ends : tuple of two str
        The ends in words, such as ``"≤ 0.21"``.
    """

    name: str
    values: np.ndarray
    low: float
    high: float
    ends: tuple[str, str]


@dataclass(frozen=True, eq=False)
class ClassColor:
    """Color by the most frequent category among those with their own color.

    Attributes
    ----------
    name : str
    classes : (n,) uint8 array
        An index into `labels`.
    labels : tuple of str
        The last two are for all other categories and for rows without a value; either is empty if
        there is no such row.
    """

    name: str
    classes: np.ndarray
    labels: tuple[str, ...]


def options(sample: Sample) -> list[list[str]]:
    """The ways to color the map, each as a key for `color_of` and its label."""
    by_column = [[_key(column), _words(column)] for column in sample.columns.values()]
    return [[DENSITY, "number of rows"], *by_column]


def color_of(sample: Sample, key: str) -> MeanColor | ClassColor | None:
    """The coloring of a key of `options`; None for density. Eager."""
    for column in sample.columns.values():
        if _key(column) == key:
            return _mean(column) if isinstance(column, NumberColumn) else _class(column)
    return None


def quantiles(values: np.ndarray, tail: float) -> tuple[float, float]:
    """The `tail` and ``1 - tail`` quantiles of values, without interpolation."""
    found = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(found[0]), float(found[1])


def short_number(value: float) -> str:
    """An int in full; a float with three digits, or rounded to an int from 1,000 to 1e15."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"


def short_text(text: str, longest: int = _LONGEST_LABEL) -> str:
    """Text from the data on one line, without control characters, cut to `longest` characters."""
    text = text[: 4 * longest].encode("utf-8", "replace").decode()  # no halves of pairs
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _key(column: NumberColumn | CategoryColumn) -> str:
    kind = "mean" if isinstance(column, NumberColumn) else "category"
    return f"{kind}:{column.name}"


def _words(column: NumberColumn | CategoryColumn) -> str:
    kind = "mean" if isinstance(column, NumberColumn) else "most frequent"
    return f"{kind} {short_text(column.name)}"


def _mean(column: NumberColumn) -> MeanColor:
    values = column.values
    if values.dtype not in (np.float32, np.float64):
        small = values.dtype.itemsize <= 2
        values = values.astype(np.float32 if small else np.float64)
        values[column.missing()] = np.nan
    some = values[:: max(1, len(values) // _ENOUGH)]
    some = some[np.isfinite(some)]
    low, high = 0.0, 0.0
    ends = ("no value", "")
    if len(some):
        low, high = quantiles(some, _TAIL)
        lower, higher = bool(some.min() < low), bool(some.max() > high)
        ends = (f"{'≤ ' * lower}{short_number(low)}", f"{'≥ ' * higher}{short_number(high)}")
    return MeanColor(column.name, values, low, high, ends)


def _class(column: CategoryColumn) -> ClassColor:
    n = min(N_CLASSES, len(column.labels))
    classes = np.minimum(column.codes, n).astype(np.uint8)  # -1 becomes 255
    classes[classes == 255] = n + 1
    counts = np.bincount(classes, minlength=n + 2)
    labels = [short_text(column.labels[i]) or "(empty)" for i in range(n)]
    rest = len(column.labels) - n
    labels.append(f"only the {counted(rest, 'other')}" if counts[n] else "")
    labels.append("no value" if counts[n + 1] else "")
    return ClassColor(column.name, classes, tuple(labels))
