"""Representation at the top of a ranking: skew@k and NDKL against a reference distribution.

Shares are of memberships: an item in several groups counts once in each, and an item in no group
does not count. With one group per item, as in the paper, they are shares of items.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from laion_dask.errors import OptionError
from laion_dask.stats.exclusion_inputs import distribution


def skew(
    ranking: Sequence[object], reference: Mapping[Hashable, float], k: int | None = None
) -> dict[Hashable, float]:
    """skew@k of each group: the log ratio of its share of the first k to its reference share.

    ``ln(p_k(g) / p_ref(g))``: 0 matches the reference, positive values exceed it, negative values
    fall short. Zeros are not smoothed: a group without items among the first k has -inf; a group
    with items but without a reference share has inf; a group with neither has NaN. If no item among
    the first k is in a group, every skew is NaN.

    Parameters
    ----------
    ranking : sequence
        Group of each item, best first; None (or NaN) for an item in no group, and a tuple, list or
        set for an item in several groups.
    reference : mapping of group to number
        Expected share of each group; normalized to sum to 1.
    k : int, optional
        Number of items to consider, at least 1; fewer if the ranking is shorter. Defaults to all.

    Returns
    -------
    dict of group to float
        In the order of the reference.

    Raises
    ------
    OptionError
        If k is less than 1, the reference is invalid, or an item's group is not in it.

    References
    ----------
    Geyik, S. C., Ambler, S., Kenthapadi, K. (2019). Fairness-aware ranking in search and
    recommendation systems with application to LinkedIn talent search. KDD, section 3.

    Examples
    --------
    >>> from laion_dask import stats
    >>> found = stats.skew(list("aab"), {"a": 0.5, "b": 0.5})
    >>> round(float(found["a"]), 3), round(float(found["b"]), 3)
    (0.288, -0.405)
    """
    expected = distribution(reference)
    counts = _counts(ranking, expected, k).sum(axis=0)
    return dict(
        zip(expected, _skews(counts, np.array(list(expected.values()))).tolist(), strict=True)
    )


def min_skew(
    ranking: Sequence[object], reference: Mapping[Hashable, float], k: int | None = None
) -> float:
    """Smallest skew@k: the shortfall of the most under-represented group; at most 0.

    Parameters, definitions and errors are those of `skew`; NaN if every skew is NaN.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.min_skew(list("aab"), {"a": 0.5, "b": 0.5})), 3)
    -0.405
    """
    return _end(skew(ranking, reference, k), np.nanmin)


def max_skew(
    ranking: Sequence[object], reference: Mapping[Hashable, float], k: int | None = None
) -> float:
    """Largest skew@k: the excess of the most over-represented group; at least 0.

    Parameters, definitions and errors are those of `skew`; NaN if every skew is NaN.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.max_skew(list("aab"), {"a": 0.5, "b": 0.5})), 3)
    0.288
    """
    return _end(skew(ranking, reference, k), np.nanmax)


def ndkl(
    ranking: Sequence[object], reference: Mapping[Hashable, float], k: int | None = None
) -> float:
    """Normalized discounted cumulative Kullback-Leibler divergence of a ranking.

    ``(1 / Z) sum_i D_i / log2(i + 1)`` with ``D_i = sum_g p_i(g) ln(p_i(g) / p_ref(g))`` of the
    first i items and ``Z = sum_i 1 / log2(i + 1)``. It is 0 if every prefix of the ranking matches
    the reference, which short prefixes rarely can, and grows with the deviation, most strongly at
    the top. A group without items in a prefix adds 0 to D_i (the limit of x ln x). If a group with
    items has no reference share, the result is inf. A prefix without any item in a group is
    excluded from both sums; the result is NaN if all prefixes are.

    Parameters and errors are those of `skew`.

    Returns
    -------
    float
        From 0 to inf.

    References
    ----------
    Geyik, S. C., Ambler, S., Kenthapadi, K. (2019), as for `skew`.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.ndkl(list("abab"), {"a": 0.5, "b": 0.5})), 3)
    0.282
    """
    expected = distribution(reference)
    shares = np.array(list(expected.values()))
    counts = _counts(ranking, expected, k).cumsum(axis=0)
    totals = counts.sum(axis=1)
    is_grouped = totals > 0
    if not is_grouped.any():
        return float("nan")
    p = counts[is_grouped] / totals[is_grouped, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / shares), 0.0)
    discount = 1 / np.log2(np.flatnonzero(is_grouped) + 2)
    # Rounding may make a divergence of 0 slightly negative.
    return max(0.0, float((terms.sum(axis=1) * discount).sum() / discount.sum()))


def _end(skews: Mapping[Hashable, float], choose: Callable[[list[float]], float]) -> float:
    defined = [value for value in skews.values() if not np.isnan(value)]
    return float(choose(defined)) if defined else float("nan")


def _skews(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    if not counts.sum():
        return np.full(len(counts), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        values: np.ndarray = np.log(counts / counts.sum() / shares)
    return values


def _counts(
    ranking: Sequence[object], labels: Mapping[Hashable, float], k: int | None
) -> np.ndarray:
    """Membership of the first k items in the groups, (k, groups) int64 of 0 and 1."""
    if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
        raise OptionError(f"k is {k!r}. Expected a positive number of items.")
    if isinstance(ranking, (str, bytes, Mapping)) or not hasattr(ranking, "__iter__"):
        raise OptionError(f"ranking is {ranking!r}. Expected the group of each item, best first.")
    items = list(ranking)[:k]
    position_of = {label: position for position, label in enumerate(labels)}
    counts = np.zeros((len(items), len(position_of)), np.int64)
    for number, item in enumerate(items):
        for label in _groups(item):
            if label not in position_of:
                raise OptionError(
                    f"The item at rank {number + 1:,} is in the group {label!r}, which is not in "
                    "reference. Add a share for it, which may be 0, or use None for an item "
                    "that is in no group."
                )
            counts[number, position_of[label]] = 1
    return counts


def _groups(item: Any) -> tuple[object, ...]:
    if isinstance(item, (tuple, list, set, frozenset, np.ndarray)):
        return tuple(item)
    return () if pd.isna(item) else (item,)
