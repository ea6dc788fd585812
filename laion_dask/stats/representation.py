"""Who is at the top of a ranking: skew@k and NDKL against a reference distribution.

Shares are of memberships: an item that is in several groups counts once in each, one that is in
none counts in none. With one group an item, the case of the paper, they are shares of items.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from laion_dask.errors import OptionError
from laion_dask.stats.exclusion_inputs import distribution


def skew(
    ranking: Sequence, reference: Mapping[Hashable, float], k: int | None = None
) -> dict[Hashable, float]:
    """Each group's skew@k: the log of its share of the first k over its share of the reference.

    ``ln(p_k(g) / p_ref(g))``: 0 is as in the reference, above is more, below is less. By
    definition, and not by a small number put in place of 0: a group of which none is among the
    first k has -inf; one of which some are, and that has no share of the reference, inf; one that
    has neither NaN, for nothing was asked and nothing came. Where no item among the first k is in
    a group, every skew is NaN.

    Parameters
    ----------
    ranking : sequence
        The group of each item, the first first; None (or NaN) for none, and a tuple, list or set
        of groups for several.
    reference : mapping of group to number
        The expected share of each group; scaled to sum to 1.
    k : int, optional
        How many of the first count, from 1 on; fewer where there are fewer. By default all.

    Returns
    -------
    dict of group to float
        In the order of the reference.

    Raises
    ------
    OptionError
        When k is not from 1 on, the reference is none, or an item's group is not in it.

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
    wanted = distribution(reference)
    counts = _counts(ranking, wanted, k).sum(axis=0)
    return dict(zip(wanted, _skews(counts, np.array(list(wanted.values()))).tolist(), strict=True))


def min_skew(ranking: Sequence, reference: Mapping[Hashable, float], k: int | None = None) -> float:
    """The smallest skew@k: how far the group that is short the most falls short; 0 at most.

    Parameters, definitions and errors as `skew` has them; NaN where every skew is.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.min_skew(list("aab"), {"a": 0.5, "b": 0.5})), 3)
    -0.405
    """
    return _end(skew(ranking, reference, k), np.nanmin)


def max_skew(ranking: Sequence, reference: Mapping[Hashable, float], k: int | None = None) -> float:
    """The largest skew@k: how far the group that exceeds the most exceeds; 0 at least.

    Parameters, definitions and errors as `skew` has them; NaN where every skew is.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.max_skew(list("aab"), {"a": 0.5, "b": 0.5})), 3)
    0.288
    """
    return _end(skew(ranking, reference, k), np.nanmax)


def ndkl(ranking: Sequence, reference: Mapping[Hashable, float], k: int | None = None) -> float:
    """The normalised discounted cumulative Kullback-Leibler divergence of a ranking.

    ``(1 / Z) sum_i D_i / log2(i + 1)`` with ``D_i = sum_g p_i(g) ln(p_i(g) / p_ref(g))`` of the
    first i items and ``Z = sum_i 1 / log2(i + 1)``: 0 where every beginning of the ranking is as
    the reference, which a few items can hardly be, and larger the further off, most of all at the
    top. By definition a group of which there are none yet adds 0 to D_i (the limit of x ln x);
    where a group is there that has no share of the reference, the result is inf. A beginning
    without any item that is in a group is left out of both sums; NaN where all are.

    Parameters and errors as `skew` has them.

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
    wanted = distribution(reference)
    shares = np.array(list(wanted.values()))
    counts = _counts(ranking, wanted, k).cumsum(axis=0)
    some = counts.sum(axis=1)
    known = some > 0
    if not known.any():
        return float("nan")
    p = counts[known] / some[known, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / shares), 0.0)
    discount = 1 / np.log2(np.flatnonzero(known) + 2)
    # Rounding may take a divergence of 0 below it.
    return max(0.0, float((terms.sum(axis=1) * discount).sum() / discount.sum()))


def _end(skews: Mapping[Hashable, float], choose) -> float:
    known = [value for value in skews.values() if not np.isnan(value)]
    return float(choose(known)) if known else float("nan")


def _skews(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    if not counts.sum():
        return np.full(len(counts), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(counts / counts.sum() / shares)


def _counts(ranking: Sequence, wanted: Mapping[Hashable, float], k: int | None) -> np.ndarray:
    """Group membership of the first k items, (k, groups) int64 of 0 and 1."""
    if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
        raise OptionError(f"k is {k!r}. Expected a whole number of items, from 1 on.")
    if isinstance(ranking, (str, bytes, Mapping)) or not hasattr(ranking, "__iter__"):
        raise OptionError(
            f"ranking is {ranking!r}. Expected the group of each item, the first first."
        )
    items = list(ranking)[:k]
    places = {label: place for place, label in enumerate(wanted)}
    counts = np.zeros((len(items), len(places)), np.int64)
    for number, item in enumerate(items):
        for label in _groups(item):
            if label not in places:
                raise OptionError(
                    f"The item at rank {number + 1:,} is in the group {label!r}, of which "
                    "reference says nothing. Give it a share, which may be 0, or None to an item "
                    "that is in no group."
                )
            counts[number, places[label]] = 1
    return counts


def _groups(item) -> tuple:
    if isinstance(item, (tuple, list, set, frozenset, np.ndarray)):
        return tuple(item)
    return () if pd.isna(item) else (item,)
