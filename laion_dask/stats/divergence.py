"""Divergence of two distributions over the same labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import log
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from laion_dask.errors import OptionError
from laion_dask.reserved_labels import NOT_GROUPS, POOLED
from laion_dask.stats.checks import Numbers, counts

#: Rows of each label.
_ByLabel: TypeAlias = Mapping[Any, float] | pd.Series


def jensen_shannon(a: Numbers | _ByLabel, b: Numbers | _ByLabel) -> float:
    """Jensen-Shannon divergence of two groups or data sets, in bits. Eager.

    The mean of the Kullback-Leibler divergences of the two from their average: 0 if all labels have
    equal shares, 1 if no label occurs in both. Its square root is a metric. For small counts it is
    biased upwards, by about (labels - 1) (1 / n_a + 1 / n_b) / (8 ln 2) if the two distributions
    are similar.

    Parameters
    ----------
    a, b : mapping or Series of label to int, or (labels,) int arrays
        Rows of each label. A label missing from one of two mappings has no rows there.

    Returns
    -------
    float
        In [0, 1]; NaN if either has no rows.

    Raises
    ------
    OptionError
        If a count is negative or not a number, or two arrays differ in length.

    References
    ----------
    Lin, J. (1991). Divergence measures based on the Shannon entropy. IEEE Transactions on
    Information Theory 37, 145-151.

    Examples
    --------
    >>> from laion_dask import stats
    >>> stats.jensen_shannon({"en": 50, "de": 50}, {"en": 50, "de": 50})
    0.0
    >>> stats.jensen_shannon({"en": 10}, {"fr": 3})
    1.0
    """
    if isinstance(a, (Mapping, pd.Series)) and isinstance(b, (Mapping, pd.Series)):
        a, b = _aligned(dict(a.items()), dict(b.items()))
    elif isinstance(a, (Mapping, pd.Series)) or isinstance(b, (Mapping, pd.Series)):
        raise OptionError("Only one of a and b has labels. Expected two mappings, or two arrays.")
    if np.shape(a) != np.shape(b):
        raise OptionError(
            f"jensen_shannon was given arrays of shape {np.shape(a)} and {np.shape(b)}. Expected "
            "the counts of the same labels, (labels,)."
        )
    a, b = counts("jensen_shannon", a=a, b=b)
    if a.ndim != 1:
        raise OptionError(
            f"jensen_shannon was given arrays of shape {a.shape}; expected (labels,)."
        )
    if not (a.any() and b.any()):
        return float("nan")
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    return float(np.clip((_kl_divergence(p, middle) + _kl_divergence(q, middle)) / 2, 0.0, 1.0))


def _aligned(a: Mapping[Any, float], b: Mapping[Any, float]) -> tuple[list[float], list[float]]:
    """The counts of the labels of either mapping; 0 where a label is missing."""
    labels = list(dict.fromkeys([*a, *b]))
    return [a.get(label, 0) for label in labels], [b.get(label, 0) for label in labels]


def _kl_divergence(p: np.ndarray, other: np.ndarray) -> float:
    """Kullback-Leibler divergence in bits, where 0 ln 0 is 0; terms are sorted before summing."""
    positive = p > 0
    return float(np.sort(p[positive] * np.log2(p[positive] / other[positive])).sum())


def by_chance(n: float, m: float, labels: int) -> float:
    """Approximate divergence, in bits, of two samples of one distribution: first-order bias."""
    return max(labels - 1, 0) * (1 / n + 1 / m) / (8 * log(2)) if n and m else float("nan")


def between_tables(one: pd.DataFrame, other: pd.DataFrame) -> list[dict[str, object]]:
    """Compare two data sets by the group shares in their tables; see `Table.divergence`.

    Raises
    ------
    OptionError
        If either table has no group shares, or the two have no axis in common.
    """
    first, second = _rows_by_axis(one), _rows_by_axis(other)
    both = [axis for axis in first if axis in second]
    if not both:
        raise OptionError(
            f"The tables have the groups of {list(first)} and of {list(second)}. Expected a common "
            "axis, such as that of ld.rates(None, by='language')."
        )
    return [{"statistic": "divergence", "axis": a, **compared(first[a], second[a])} for a in both]


def compared(a: pd.Series, b: pd.Series) -> dict[str, int | float | str]:
    """Divergence of two counts by label, and the number of rows it is based on."""
    n, m = int(a.sum()), int(b.sum())
    labels = {*a.index[a > 0], *b.index[b > 0]}
    return {
        "n": min(n, m),
        "n_group": n,
        "n_group_2": m,
        "value": jensen_shannon(a, b),
        "expected": by_chance(n, m, len(labels)),
        "method": "Jensen-Shannon, bits",
    }


def _rows_by_axis(result: pd.DataFrame) -> dict[Hashable, pd.Series]:
    """Rows of each group, by axis, from a table that contains the shares of groups."""
    if not isinstance(result, pd.DataFrame) or not {"axis", "group", "term", "k"} <= set(result):
        raise OptionError(
            f"A {type(result).__name__} was given. Expected a table with the groups of an axis, "
            "such as the result of ld.rates(None, by='language')."
        )
    rows = result[(result["term"] == "rows") & result["axis"].notna()]
    if (rows["group"] == POOLED).any():
        raise OptionError(
            f"Groups of the table are pooled as {POOLED!r} and cannot be compared. Expected all "
            "groups: omit top= in ld.rates."
        )
    rows = rows[~rows["group"].isin(NOT_GROUPS)]
    return {
        axis: axis_rows.set_index("group")["k"]
        for axis, axis_rows in rows.groupby("axis", sort=False)
    }
