"""Hypothesis tests, and the correction for multiple tests."""

from __future__ import annotations

import warnings

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.stats.checks import FloatOrArray, Numbers, numbers, plain, shares
from laion_dask.stats.exact import fisher

#: If every cell of a table has at least this expected count, the pooled z test is used, otherwise
#: Fisher's. The usual 5 is for a single test at 0.05. For many tests the far tail matters, where
#: the normal distribution is too thin: among 200 true hypotheses with 5 expected, it finds a false
#: discovery in 14 % of data sets; with 500 expected, in 5.5 %.
EXPECTED = 500


def two_proportions(k1: Numbers, n1: Numbers, k2: Numbers, n2: Numbers) -> FloatOrArray:
    """Two-sided p-value of the hypothesis that two proportions are equal.

    Uses Fisher's exact test if any cell of the 2 x 2 table has an expected count below 500;
    otherwise the pooled z test, which equals the chi-squared test without continuity correction.

    Parameters
    ----------
    k1, n1, k2, n2 : int or array of int
        ``k1`` of ``n1`` in the first group have the property, ``k2`` of ``n2`` in the second.

    Returns
    -------
    float, or array of float64
        In [0, 1]; 1 if no row or every row has the property; NaN if a group is empty.

    Raises
    ------
    OptionError
        If a count is impossible.

    References
    ----------
    Fisher, R. A. (1935). The logic of inductive inference. Journal of the Royal Statistical
    Society 98, 39-54; see `laion_dask.stats.exact.fisher`. The z test: Pearson, K. (1900). On the
    criterion that a given system of deviations from the probable ... Philosophical Magazine 50,
    157-175; for shares, Fleiss, J. L. (1981). Statistical methods for rates and proportions,
    chapter 2.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.two_proportions(50, 100, 50, 100)), 6)
    1.0
    """
    k1, n1, k2, n2 = (*shares("two_proportions", k1, n1), *shares("two_proportions", k2, n2))
    k1, n1, k2, n2 = np.broadcast_arrays(k1, n1, k2, n2)
    n, k = n1 + n2, k1 + k2
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.minimum(n1, n2) / n * np.minimum(k, n - k)
    p = np.atleast_1d(_pooled_z(k1, n1, k2, n2))
    is_rare = np.atleast_1d((n1 > 0) & (n2 > 0) & (expected < EXPECTED))
    p[is_rare] = fisher(*(np.atleast_1d(v)[is_rare] for v in (k1, n1, k2, n2)))
    return plain(p.reshape(n.shape))[0]


def _pooled_z(k1: np.ndarray, n1: np.ndarray, k2: np.ndarray, n2: np.ndarray) -> np.ndarray:
    from scipy.special import erfc

    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = (k1 + k2) / (n1 + n2)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        p: np.ndarray = erfc(np.abs(k1 / n1 - k2 / n2) / spread / np.sqrt(2))
    return p


def benjamini_hochberg(p: Numbers) -> np.ndarray:
    """Adjusted p-values: the smallest false discovery rate at which each test is a discovery.

    Parameters
    ----------
    p : array of float
        P-values of one family of tests; NaN is not a test and stays NaN.

    Returns
    -------
    array of float64
        Adjusted p-values, of the same shape, in [0, 1].

    Raises
    ------
    OptionError
        If a value is outside [0, 1].

    References
    ----------
    Benjamini, Y., Hochberg, Y. (1995). Controlling the false discovery rate. JRSS B 57, 289-300;
    as adjusted values, Yekutieli, D., Benjamini, Y. (1999). Journal of Statistical Planning and
    Inference 82, 171-196.

    Examples
    --------
    >>> from laion_dask import stats
    >>> [round(float(q), 3) for q in stats.benjamini_hochberg([0.01, 0.04, 0.5])]
    [0.03, 0.06, 0.5]
    """
    p = numbers("benjamini_hochberg", p=p)[0]
    if ((p < 0) | (p > 1)).any():
        raise OptionError(
            f"benjamini_hochberg was given p from {np.nanmin(p)} to {np.nanmax(p)}; expected "
            "values in [0, 1], or NaN."
        )
    q, tests = p.copy(), ~np.isnan(p)
    q[tests] = _adjusted(p[tests])
    return q


def _adjusted(p: np.ndarray) -> np.ndarray:
    """The smallest of p m / rank over the p-values that are not below, for (m,) p-values.

    Equals ``scipy.stats.false_discovery_control`` to the last bit; importing that takes 0.5 s.
    """
    m, order = len(p), np.argsort(p)
    q = np.empty(m)
    q[order] = np.minimum.accumulate((p[order] * (m / np.arange(1.0, m + 1)))[::-1])[::-1]
    return np.minimum(q, 1)


def welch(a: Numbers, b: Numbers) -> tuple[float, float, float]:
    """Welch's t test of two means, which does not assume equal variances.

    Parameters
    ----------
    a, b : (n,), (m,) float array
        Samples, such as the rates per file of two data sets. A NaN makes all results NaN.

    Returns
    -------
    t, df, p : float
        ``t`` is positive if the mean of a is greater; ``df`` are Satterthwaite's degrees of
        freedom; ``p`` is two-sided. NaN if a sample has fewer than two values. If both variances
        are 0, ``df`` is NaN, and t is NaN, or infinite with p = 0.

    Raises
    ------
    OptionError
        If an argument is not a one-dimensional array of numbers.

    References
    ----------
    Welch, B. L. (1947). The generalization of "Student's" problem when several different
    population variances are involved. Biometrika 34, 28-35.

    Examples
    --------
    >>> from laion_dask import stats
    >>> [round(float(x), 4) for x in stats.welch([1, 2, 3], [2, 3, 4])]
    [-1.2247, 4.0, 0.2879]
    """
    from scipy.stats import ttest_ind

    (a,), (b,) = numbers("welch", a=a), numbers("welch", b=b)
    if a.ndim != 1 or b.ndim != 1:
        raise OptionError(
            f"welch was given arrays of shape {a.shape} and {b.shape}; expected (n,)."
        )
    if min(len(a), len(b)) < 2:
        return float("nan"), float("nan"), float("nan")
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # scipy warns of values that hardly differ, which the docstring covers.
        warnings.simplefilter("ignore", RuntimeWarning)
        result = ttest_ind(a, b, equal_var=False)
    differs = a.var() > 0 or b.var() > 0  # without a difference, scipy has df = 1
    df = float(result.df) if differs else float("nan")
    return float(result.statistic), df, float(result.pvalue)
