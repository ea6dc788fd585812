"""Confidence intervals. Counts may be numbers or arrays, which are broadcast."""

from __future__ import annotations

import numpy as np

from laion_dask.stats.checks import FloatOrArray, Numbers, counts, plain, shares, z_of


def wilson(k: Numbers, n: Numbers, level: float = 0.95) -> tuple[FloatOrArray, FloatOrArray]:
    """Wilson score interval of a proportion.

    Parameters
    ----------
    k, n : int or array of int
        ``k`` of ``n`` have the property.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    lo, hi : float, or array of float64
        Proportions in [0, 1]; (0, 1) if n is 0.

    Raises
    ------
    OptionError
        If k is not between 0 and n or the level is not between 0 and 1.

    References
    ----------
    Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference.
    JASA 22, 209-212.

    Examples
    --------
    >>> from laion_dask import stats
    >>> lo, hi = stats.wilson(5, 10)
    >>> round(float(lo), 4), round(float(hi), 4)
    (0.2366, 0.7634)
    """
    z = z_of(level, "wilson")
    k, n = shares("wilson", k, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, shrink = k / n, 1 + z * z / n
        centre = (p + z * z / (2 * n)) / shrink
        half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / shrink
    return plain(np.where(k == 0, 0.0, centre - half), np.where(k == n, 1.0, centre + half))


def risk_ratio(
    k1: Numbers, n1: Numbers, k2: Numbers, n2: Numbers, level: float = 0.95
) -> tuple[FloatOrArray, FloatOrArray, FloatOrArray]:
    """Ratio of two proportions, (k1 / n1) / (k2 / n2), with its log interval.

    The interval is symmetric on the log scale, with the variance 1/k1 - 1/n1 + 1/k2 - 1/n2. If the
    ratio or this variance is undefined, the following definitions apply:

    ================================  ==========  ===============================================
    counts                            ratio       interval
    ================================  ==========  ===============================================
    k1 = 0, k2 > 0                    0           from 0 to the upper end below
    k1 > 0, k2 = 0                    inf         from the lower end below to inf
    k1 = n1 and k2 = n2, none 0       1           both ends below
    k1 = k2 = 0, or n1 = 0 or n2 = 0  NaN         from 0 to inf
    ================================  ==========  ===============================================

    "Below" is the same formula with a half added to each of the four cells: k + 1/2 of n + 1.

    Parameters
    ----------
    k1, n1, k2, n2 : int or array of int
        ``k1`` of ``n1`` in the first group have the property, ``k2`` of ``n2`` in the second.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    ratio, lo, hi : float, or array of float64
        From 0 to inf.

    Raises
    ------
    OptionError
        If a count is impossible or the level is not between 0 and 1.

    References
    ----------
    Katz, D., Baptista, J., Azen, S. P., Pike, M. C. (1978). Obtaining confidence intervals for the
    risk ratio in cohort studies. Biometrics 34, 469-474. The half: Anscombe, F. J. (1956). On
    estimating binomial response relations. Biometrika 43, 461-464.

    Examples
    --------
    >>> from laion_dask import stats
    >>> tuple(round(float(x), 2) for x in stats.risk_ratio(20, 100, 10, 100))
    (2.0, 0.99, 4.05)
    """
    z = z_of(level, "risk_ratio")
    k1, n1, k2, n2 = (*shares("risk_ratio", k1, n1), *shares("risk_ratio", k2, n2))
    k1, n1, k2, n2 = np.broadcast_arrays(k1, n1, k2, n2)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (k1 / n1) / (k2 / n2)
        exact = (k1 > 0) & (k2 > 0) & ((k1 < n1) | (k2 < n2))
        add, more = np.where(exact, 0.0, 0.5), np.where(exact, 0, 1)
        k1, n1, k2, n2 = k1 + add, n1 + more, k2 + add, n2 + more
        spread = z * np.sqrt(1 / k1 - 1 / n1 + 1 / k2 - 1 / n2)
        return _around(ratio, (k1 / n1) / (k2 / n2), spread)


def risk_difference(
    k1: Numbers, n1: Numbers, k2: Numbers, n2: Numbers, level: float = 0.95
) -> tuple[FloatOrArray, FloatOrArray, FloatOrArray]:
    """Difference of two proportions, k1 / n1 - k2 / n2, with Newcombe's hybrid score interval.

    Each end is the difference minus (or plus) the square root of the sum of the squared distances
    of the proportions from the ends of their Wilson intervals.

    Parameters
    ----------
    k1, n1, k2, n2 : int or array of int
        ``k1`` of ``n1`` in the first group have the property, ``k2`` of ``n2`` in the second.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    difference, lo, hi : float, or array of float64
        In [-1, 1]; NaN, with an interval from -1 to 1, if a group is empty.

    Raises
    ------
    OptionError
        If a count is impossible or the level is not between 0 and 1.

    References
    ----------
    Newcombe, R. G. (1998). Interval estimation for the difference between independent proportions:
    comparison of eleven methods. Statistics in Medicine 17, 873-890; method 10.

    Examples
    --------
    >>> from laion_dask import stats
    >>> tuple(round(float(x), 3) for x in stats.risk_difference(56, 70, 48, 80))
    (0.2, 0.052, 0.334)
    """
    k1, n1, k2, n2 = (*shares("risk_difference", k1, n1), *shares("risk_difference", k2, n2))
    (lo1, hi1), (lo2, hi2) = wilson(k1, n1, level), wilson(k2, n2, level)
    with np.errstate(invalid="ignore", divide="ignore"):
        p1, p2 = k1 / n1, k2 / n2
        difference = p1 - p2
    lo = difference - np.hypot(p1 - lo1, hi2 - p2)
    hi = difference + np.hypot(hi1 - p1, p2 - lo2)
    unknown = np.isnan(difference)
    return plain(difference, np.where(unknown, -1.0, lo), np.where(unknown, 1.0, hi))


def odds_ratio(
    a: Numbers, b: Numbers, c: Numbers, d: Numbers, level: float = 0.95
) -> tuple[FloatOrArray, FloatOrArray, FloatOrArray]:
    """Ratio of two odds, (a / b) / (c / d), with its log interval.

    The interval is symmetric on the log scale, with the variance 1/a + 1/b + 1/c + 1/d. If a cell
    is 0, the ratio is 0, inf or NaN by its formula; the interval is then computed with a half added
    to each cell, and its end on the side of the 0 is 0 or inf.

    Parameters
    ----------
    a, b, c, d : int or array of int
        The first group has ``a`` with the property and ``b`` without, the second ``c`` and ``d``.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    ratio, lo, hi : float, or array of float64
        From 0 to inf.

    Raises
    ------
    OptionError
        If a count is negative or the level is not between 0 and 1.

    References
    ----------
    Woolf, B. (1955). On estimating the relation between blood group and disease. Annals of Human
    Genetics 19, 251-253. The half: Gart, J. J. (1966). Alternative analyses of contingency tables.
    JRSS B 28, 164-179.

    Examples
    --------
    >>> from laion_dask import stats
    >>> tuple(round(float(x), 2) for x in stats.odds_ratio(20, 80, 10, 90))
    (2.25, 0.99, 5.09)
    """
    z = z_of(level, "odds_ratio")
    a, b, c, d = counts("odds_ratio", a=a, b=b, c=c, d=d)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where((a * d == 0) & (b * c == 0), np.nan, (a * d) / (b * c))
        add = np.where((a > 0) & (b > 0) & (c > 0) & (d > 0), 0.0, 0.5)
        a, b, c, d = a + add, b + add, c + add, d + add
        spread = z * np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
        return _around(ratio, (a / b) / (c / d), spread)


def _around(
    ratio: np.ndarray, centre: np.ndarray, spread: np.ndarray
) -> tuple[FloatOrArray, FloatOrArray, FloatOrArray]:
    """The ratio with the interval around a center, open if the ratio is 0, inf or NaN."""
    unknown = np.isnan(ratio)
    lo = np.where(unknown | (ratio == 0), 0.0, centre * np.exp(-spread))
    hi = np.where(unknown | np.isinf(ratio), np.inf, centre * np.exp(spread))
    return plain(ratio, lo, hi)
