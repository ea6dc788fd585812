"""Confidence intervals. Counts may be numbers or arrays, which are broadcast."""

from __future__ import annotations

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.stats.checks import Numbers, counts, plain, shares, whole, z_of

#: Draws of shards are cached for the next group up to this many numbers (16 MB). Larger draws are
#: repeated block by block, because there may be hundreds of thousands of shards.
_KEPT, _BLOCK = 1 << 23, 1 << 20


def wilson(k: Numbers, n: Numbers, level: float = 0.95) -> tuple:
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


def risk_ratio(k1: Numbers, n1: Numbers, k2: Numbers, n2: Numbers, level: float = 0.95) -> tuple:
    """Ratio of two proportions, (k1 / n1) / (k2 / n2), with its log interval.

    The interval is symmetric on the log scale, with the variance 1/k1 - 1/n1 + 1/k2 - 1/n2. If this
    is undefined, the following definitions apply:

    ================================  ==========  ===============================================
    counts                            ratio       interval
    ================================  ==========  ===============================================
    k1 = 0, k2 > 0                    0           from 0 to the upper end below
    k1 > 0, k2 = 0                    inf         from the lower end below to inf
    k1 = n1 and k2 = n2, none 0       1           both ends below
    k1 = k2 = 0, or n1 = 0 or n2 = 0  NaN         from 0 to inf
    ================================  ==========  ===============================================

    "Below" is the same formula with a half added to each of the four cells: k + 1/2 of n + 1.
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
) -> tuple:
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


def odds_ratio(a: Numbers, b: Numbers, c: Numbers, d: Numbers, level: float = 0.95) -> tuple:
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


def _around(ratio: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> tuple:
    """The ratio with the interval around a centre, open if the ratio is 0, inf or NaN."""
    unknown = np.isnan(ratio)
    lo = np.where(unknown | (ratio == 0), 0.0, centre * np.exp(-spread))
    hi = np.where(unknown | np.isinf(ratio), np.inf, centre * np.exp(spread))
    return plain(ratio, lo, hi)


def shard_bootstrap(
    k: Numbers, n: Numbers, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of a proportion whose rows come in shards, by resampling whole shards.

    Rows of one shard are not independent, so Wilson's interval is too narrow for a proportion that
    varies between shards. Each resample draws as many shards as there are, with replacement, and
    takes the proportion over all their rows; the spread of these proportions is the standard error
    s. It is multiplied by sqrt(m / (m - 1)) for m shards, to correct the downward bias of resampled
    variances. The interval is symmetric in logits: logit(k / n) ± t s / (p (1 - p)) with p = k / n
    and t from Student's distribution with m - 1 degrees of freedom. Its coverage is correct for few
    shards too, unlike that of percentile intervals.

    Parameters
    ----------
    k, n : (shards,) int array
        ``k[i]`` of the ``n[i]`` rows of a shard have the property. The order of shards does not
        matter; shards without rows are ignored.
    level : float
        Coverage, between 0 and 1.
    n_resamples : int
        At least 2.
    seed : int

    Returns
    -------
    lo, hi : float
        Proportions in [0, 1]. (0, 1) if fewer than two shards have rows, because the variation
        between shards is then unknown. Wilson's interval if the proportion is equal in all shards,
        including when no row or every row has the property.

    Raises
    ------
    OptionError
        If lengths differ, a count is impossible, or an option is out of range.

    References
    ----------
    Efron, B., Tibshirani, R. J. (1993). An introduction to the bootstrap, sections 6.2 (the
    standard error) and 12.2 (Student's t). The widening: Hesterberg, T. C. (2015). What teachers
    standard error) and 12.2 (Student's t). The correction: Hesterberg, T. C. (2015). What teachers

    Examples
    --------
    >>> from laion_dask import stats
    >>> lo, hi = stats.shard_bootstrap([1, 2, 3], [10, 10, 10])
    >>> bool(lo <= 0.2 <= hi)
    True
    """
    z_of(level, "shard_bootstrap")
    whole("n_resamples", n_resamples, 2)
    whole("seed", seed, 0)
    if np.shape(k) != np.shape(n) or np.ndim(k) != 1:
        raise OptionError(
            f"shard_bootstrap was given k of shape {np.shape(k)} and n of {np.shape(n)}; expected "
            "one number per shard in each."
        )
    k, n = shares("shard_bootstrap", k, n)
    order = np.lexsort((k, n))
    order = order[n[order] > 0]
    k, n, m = k[order], n[order], len(order)
    if m < 2:
        return 0.0, 1.0
    if np.ptp(k / n) == 0:
        return wilson(k.sum(), n.sum(), level)
    drawn = _drawn_shares(k, n, n_resamples, seed)
    p = k.sum() / n.sum()
    half = _t(level, m - 1) * drawn.std(ddof=1) * np.sqrt(m / (m - 1)) / (p * (1 - p))
    odds = p / (1 - p)
    with np.errstate(over="ignore"):
        return float(1 / (1 + np.exp(half) / odds)), float(1 / (1 + np.exp(-half) / odds))


def _drawn_shares(k: np.ndarray, n: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Proportion of all rows in each resample, (n_resamples,); sums are exact below 2**53."""
    found, at = np.empty(n_resamples), 0
    made = _kept_draws if len(k) * n_resamples <= _KEPT else _draws
    for draws in made(len(k), n_resamples, seed):
        some = draws.astype(np.float64)
        found[at : at + len(some)] = (some @ k) / (some @ n)
        at += len(some)
    return found


@lru_cache(maxsize=4)
def _kept_draws(shards: int, n_resamples: int, seed: int) -> tuple[np.ndarray, ...]:
    """Cached `_draws`, shared by groups that have rows in equally many shards."""
    return tuple(_draws(shards, n_resamples, seed))


def _draws(shards: int, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each shard is drawn, in blocks of shape (resamples, shards)."""
    rng = np.random.default_rng(seed)
    step = max(1, min(256, _BLOCK // shards))
    for at in range(0, n_resamples, step):
        drawn = np.empty((min(step, n_resamples - at), shards), np.min_scalar_type(shards))
        for row in drawn:
            row[:] = np.bincount(rng.integers(0, shards, shards), minlength=shards)
        yield drawn


@lru_cache(maxsize=64)
def _t(level: float, df: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))
