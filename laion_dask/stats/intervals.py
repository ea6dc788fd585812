"""Intervals and tests. Counts may be numbers or arrays, which broadcast against each other."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from laion_dask.errors import OptionError

#: A number, or an array of them.
Numbers = npt.ArrayLike


def wilson(k: Numbers, n: Numbers, level: float = 0.95) -> tuple:
    """The Wilson score interval of a share.

    Parameters
    ----------
    k, n : int or array of int
        ``k`` of ``n`` have the property.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    lo, hi : float, or array of float64
        Shares in [0, 1]; (0, 1) when n is 0, since nothing is known then.

    Raises
    ------
    OptionError
        When k is not between 0 and n, or the level not between 0 and 1.

    References
    ----------
    Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference.
    JASA 22, 209-212.
    """
    z = _z(level, "wilson")
    k, n = shares("wilson", k, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, shrink = k / n, 1 + z * z / n
        centre = (p + z * z / (2 * n)) / shrink
        half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / shrink
    return plain(np.where(k == 0, 0.0, centre - half), np.where(k == n, 1.0, centre + half))


def risk_ratio(k1: Numbers, n1: Numbers, k2: Numbers, n2: Numbers, level: float = 0.95) -> tuple:
    """The ratio of two shares, (k1 / n1) / (k2 / n2), with its log interval.

    The interval is symmetric on the log scale, with the variance 1/k1 - 1/n1 + 1/k2 - 1/n2. Where
    that has no value, these are the definitions:

    ================================  ==========  ===============================================
    counts                            ratio       interval
    ================================  ==========  ===============================================
    k1 = 0, k2 > 0                    0           from 0 to the upper end below
    k1 > 0, k2 = 0                    inf         from the lower end below to inf
    k1 = n1 and k2 = n2, none 0       1           both ends below
    k1 = k2 = 0, or n1 = 0 or n2 = 0  NaN         from 0 to inf: nothing is known
    ================================  ==========  ===============================================

    "Below" is the same formula with a half added to each of the four cells, so k + 1/2 of n + 1.

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
        When a count is impossible, or the level not between 0 and 1.

    References
    ----------
    Katz, D., Baptista, J., Azen, S. P., Pike, M. C. (1978). Obtaining confidence intervals for the
    risk ratio in cohort studies. Biometrics 34, 469-474. The half: Anscombe, F. J. (1956). On
    estimating binomial response relations. Biometrika 43, 461-464.
    """
    z = _z(level, "risk_ratio")
    k1, n1, k2, n2 = (*shares("risk_ratio", k1, n1), *shares("risk_ratio", k2, n2))
    k1, n1, k2, n2 = np.broadcast_arrays(k1, n1, k2, n2)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (k1 / n1) / (k2 / n2)
        exact = (k1 > 0) & (k2 > 0) & ((k1 < n1) | (k2 < n2))
        add, more = np.where(exact, 0.0, 0.5), np.where(exact, 0, 1)
        k1, n1, k2, n2 = k1 + add, n1 + more, k2 + add, n2 + more
        spread = z * np.sqrt(1 / k1 - 1 / n1 + 1 / k2 - 1 / n2)
        return _around(ratio, (k1 / n1) / (k2 / n2), spread)


def odds_ratio(a: Numbers, b: Numbers, c: Numbers, d: Numbers, level: float = 0.95) -> tuple:
    """The ratio of two odds, (a / b) / (c / d), with its log interval.

    The interval is symmetric on the log scale, with the variance 1/a + 1/b + 1/c + 1/d. Where a
    cell is 0 the ratio is 0, inf, or NaN (nothing is known) by its own formula, and the interval
    takes a half more in each cell, its end on the side of the 0 being 0 or inf.

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
        When a count is negative, or the level not between 0 and 1.

    References
    ----------
    Woolf, B. (1955). On estimating the relation between blood group and disease. Annals of Human
    Genetics 19, 251-253. The half: Gart, J. J. (1966). Alternative analyses of contingency tables.
    JRSS B 28, 164-179.
    """
    z = _z(level, "odds_ratio")
    a, b, c, d = counts("odds_ratio", a=a, b=b, c=c, d=d)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where((a * d == 0) & (b * c == 0), np.nan, (a * d) / (b * c))
        add = np.where((a > 0) & (b > 0) & (c > 0) & (d > 0), 0.0, 0.5)
        a, b, c, d = a + add, b + add, c + add, d + add
        spread = z * np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
        return _around(ratio, (a / b) / (c / d), spread)


def _around(ratio: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> tuple:
    """The ratio with the interval around a centre, open where the ratio is 0, inf or unknown."""
    unknown = np.isnan(ratio)
    lo = np.where(unknown | (ratio == 0), 0.0, centre * np.exp(-spread))
    hi = np.where(unknown | np.isinf(ratio), np.inf, centre * np.exp(spread))
    return plain(ratio, lo, hi)


def two_proportions(k1: Numbers, n1: Numbers, k2: Numbers, n2: Numbers):
    """The two-sided p of the hypothesis that two shares are equal, by the pooled z test.

    It is the chi-squared test of the 2 x 2 table without a continuity correction, and like that
    one approximate where fewer than about 5 are expected in a cell.

    Parameters
    ----------
    k1, n1, k2, n2 : int or array of int
        ``k1`` of ``n1`` in the first group have the property, ``k2`` of ``n2`` in the second.

    Returns
    -------
    float, or array of float64
        In [0, 1]; 1 when nobody has the property, or everybody; NaN when a group is empty.

    Raises
    ------
    OptionError
        When a count is impossible.

    References
    ----------
    Pearson, K. (1900). On the criterion that a given system of deviations from the probable ...
    Philosophical Magazine 50, 157-175; for shares, Fleiss, J. L. (1981). Statistical methods for
    rates and proportions, chapter 2.
    """
    from scipy.special import erfc

    k1, n1, k2, n2 = (*shares("two_proportions", k1, n1), *shares("two_proportions", k2, n2))
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = (k1 + k2) / (n1 + n2)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        p = erfc(np.abs(k1 / n1 - k2 / n2) / spread / np.sqrt(2))
    same = (n1 > 0) & (n2 > 0) & ((k1 + k2 == 0) | (k1 + k2 == n1 + n2))
    return plain(np.where(same, 1.0, p))[0]


def benjamini_hochberg(p: Numbers) -> np.ndarray:
    """Each p value as the smallest false discovery rate at which it would count as a discovery.

    Parameters
    ----------
    p : array of float
        Of the tests of one family; NaN is no test, and stays NaN.

    Returns
    -------
    array of float64
        Of the same shape, in [0, 1].

    Raises
    ------
    OptionError
        When a value is outside [0, 1].

    References
    ----------
    Benjamini, Y., Hochberg, Y. (1995). Controlling the false discovery rate. JRSS B 57, 289-300;
    as adjusted values, Yekutieli, D., Benjamini, Y. (1999). Journal of Statistical Planning and
    Inference 82, 171-196.
    """
    p = numbers("benjamini_hochberg", p=p)[0]
    if ((p < 0) | (p > 1)).any():
        raise OptionError(
            f"benjamini_hochberg was given p from {np.nanmin(p)} to {np.nanmax(p)}; expected "
            "values in [0, 1], or NaN."
        )
    q, tests = p.flatten(), np.flatnonzero(~np.isnan(p))
    falling = tests[np.argsort(-q[tests], kind="stable")]
    ranks = np.arange(len(falling), 0, -1)
    q[falling] = np.minimum(np.minimum.accumulate(q[falling] * (len(falling) / ranks)), 1)
    return q.reshape(p.shape)


def shard_bootstrap(
    k: Numbers, n: Numbers, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The interval of a share whose rows come in shards, by drawing whole shards again.

    Rows of one shard are not independent, so Wilson's interval is too narrow for a share that
    differs between shards. Here as many shards are drawn, with replacement, as there are, and the
    share is taken of all their rows; the ends are percentiles of such shares, taken further out
    than the level says by as much as a t interval is wider than a normal one, because few shards
    are less variable than what they were drawn from.

    Parameters
    ----------
    k, n : (shards,) int array
        ``k[i]`` of the ``n[i]`` rows of a shard have the property. Their order does not matter,
        nor do shards without rows.
    level : float
        Coverage, between 0 and 1.
    n_resamples : int
        At least 1.
    seed : int

    Returns
    -------
    lo, hi : float
        Shares in [0, 1]. (0, 1) when fewer than two shards have rows, since nothing is known of
        how shards differ then; Wilson's interval when no row has the property, or every row.

    Raises
    ------
    OptionError
        When the two are not of one length, a count is impossible, or an option out of its range.

    References
    ----------
    Davison, A. C., Hinkley, D. V. (1997). Bootstrap methods and their application, sections 2.4
    and 3.8. The widening: Hesterberg, T. C. (2015). What teachers should know about the bootstrap.
    The American Statistician 69, 371-386, section 4.1 ("expanded percentile interval").
    """
    _z(level, "shard_bootstrap")
    _whole("n_resamples", n_resamples, 1)
    _whole("seed", seed, 0)
    if np.shape(k) != np.shape(n) or np.ndim(k) != 1:
        raise OptionError(
            f"shard_bootstrap was given k of shape {np.shape(k)} and n of {np.shape(n)}; expected "
            "one number a shard in each."
        )
    k, n = shares("shard_bootstrap", k, n)
    order = np.lexsort((k, n))
    order = order[n[order] > 0]
    k, n, shards = k[order], n[order], len(order)
    if shards < 2:
        return 0.0, 1.0
    if k.sum() in (0, n.sum()):
        return wilson(k.sum(), n.sum(), level)
    draws = _draws(shards, n_resamples, seed)
    found = np.empty(n_resamples)
    for start in range(0, n_resamples, 256):
        some = draws[start : start + 256].astype(np.float64)
        found[start : start + 256] = (some @ k) / (some @ n)
    tail = _expanded(shards, level)
    lo, hi = np.quantile(found, [tail, 1 - tail])
    return float(lo), float(hi)


@lru_cache(maxsize=4)
def _draws(shards: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each shard is drawn, (n_resamples, shards)."""
    rng = np.random.default_rng(seed)
    dtype = np.min_scalar_type(shards)
    drawn = np.empty((n_resamples, shards), dtype)
    for row in drawn:
        row[:] = np.bincount(rng.integers(0, shards, shards), minlength=shards)
    drawn.flags.writeable = False
    return drawn


def _expanded(shards: int, level: float) -> float:
    """The share below the lower end: the normal's at the t quantile, widened for ddof 1."""
    from scipy.special import ndtr, stdtrit

    t = stdtrit(shards - 1, 0.5 - level / 2)
    return float(ndtr(t * np.sqrt(shards / (shards - 1))))


def welch(a: Numbers, b: Numbers) -> tuple[float, float, float]:
    """Welch's t test of two means, without the assumption that the variances are equal.

    Parameters
    ----------
    a, b : (n,), (m,) float array
        Such as a rate per file of two data sets. A NaN makes all three NaN.

    Returns
    -------
    t, df, p : float
        ``t`` is positive when the mean of a is the greater; ``df`` the degrees of freedom by
        Satterthwaite; ``p`` two-sided. NaN with fewer than two values on a side; where no value
        differs from its mean ``df`` is NaN, and t is NaN or infinite with p = 0.

    Raises
    ------
    OptionError
        When one is no array of numbers in one dimension.

    References
    ----------
    Welch, B. L. (1947). The generalization of "Student's" problem when several different
    population variances are involved. Biometrika 34, 28-35.
    """
    from scipy.special import stdtr

    (a,), (b,) = numbers("welch", a=a), numbers("welch", b=b)
    if a.ndim != 1 or b.ndim != 1:
        raise OptionError(
            f"welch was given arrays of shape {a.shape} and {b.shape}; expected (n,)."
        )
    if min(len(a), len(b)) < 2:
        return float("nan"), float("nan"), float("nan")
    u, v = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    difference = a.mean() - b.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        t = float(difference / np.sqrt(u + v))
        df = float((u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1)))
    p = 0.0 if np.isinf(t) else float(2 * stdtr(df, -abs(t)))
    return t, df, p


def numbers(what: str, **values: Numbers) -> tuple[np.ndarray, ...]:
    """Numbers as float64 arrays of one shape, or an error that names what is none."""
    found = []
    for name, value in values.items():
        try:
            found.append(np.asarray(value, np.float64))
        except (TypeError, ValueError) as error:
            raise OptionError(f"{what} was given {name}={value!r}; expected numbers.") from error
    try:
        return tuple(np.broadcast_arrays(*found))
    except ValueError as error:
        shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in values.items())
        raise OptionError(
            f"{what} was given arrays that do not go together, of shape {shapes}."
        ) from error


def counts(what: str, **values: Numbers) -> tuple[np.ndarray, ...]:
    """Counts as float64 arrays of one shape.

    Raises
    ------
    OptionError
        When one is negative, infinite or no number.
    """
    found = numbers(what, **values)
    for name, value in zip(values, found, strict=True):
        if not ((value >= 0) & np.isfinite(value)).all():
            raise OptionError(f"{what} was given {name}={values[name]!r}; expected counts, from 0.")
    return found


def shares(what: str, k: Numbers, n: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """``k`` of ``n`` as float64 arrays of one shape.

    Raises
    ------
    OptionError
        When k is not between 0 and n.
    """
    some, all_of = numbers(what, k=k, n=n)
    if not ((some >= 0) & (some <= all_of) & np.isfinite(all_of)).all():
        raise OptionError(f"{what} was given k={k}, n={n}; expected 0 <= k <= n.")
    return some, all_of


def plain(*results: np.ndarray) -> tuple:
    """Arrays as they are, and single numbers as Python's."""
    return tuple(r.item() if np.ndim(r) == 0 else np.asarray(r) for r in results)


def _z(level: float, what: str) -> float:
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)):
        raise OptionError(f"{what} was given level={level!r}; expected 0 < level < 1.")
    if not 0 < level < 1:
        raise OptionError(f"{what} was given level={level}; expected 0 < level < 1.")
    return NormalDist().inv_cdf(0.5 + float(level) / 2)


def _whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise OptionError(f"{name} is {value!r}. Expected a whole number, from {least}.")
