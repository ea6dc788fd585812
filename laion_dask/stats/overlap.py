"""Compare the proportion of a property in two overlapping samples."""

from __future__ import annotations

import numpy as np

from laion_dask.stats.checks import FloatOrArray, Numbers, plain, shares, z_of
from laion_dask.stats.intervals import wilson
from laion_dask.stats.significance import two_proportions


def overlap_difference(
    first: tuple[Numbers, Numbers],
    both: tuple[Numbers, Numbers],
    second: tuple[Numbers, Numbers],
    level: float = 0.95,
) -> tuple[FloatOrArray, FloatOrArray, FloatOrArray]:
    """Proportion in the second sample minus that in the first, for samples that share rows.

    Shared rows count in both proportions, so the two are not independent, and an interval for
    independent samples is too wide or too narrow. The rows only in the first sample, those in both,
    and those only in the second are independent; the difference is a linear function of their three
    proportions, and its interval is combined from their Wilson intervals (MOVER). Without shared
    rows it is Newcombe's interval, see `risk_difference`.

    Parameters
    ----------
    first, both, second : pair of int, or of arrays of int
        ``k`` of ``n`` rows have the property: among the rows only in the first sample, in both
        samples, and only in the second sample.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    difference, lo, hi : float, or array of float64
        In [-1, 1]; NaN, with an interval from -1 to 1, if a sample is empty.

    Raises
    ------
    OptionError
        If a count is impossible or the level is not between 0 and 1.

    References
    ----------
    Zou, G. Y., Huang, W., Zhang, X. (2009). A note on confidence interval estimation for a linear
    function of binomial proportions. Computational Statistics and Data Analysis 53, 1080-1085.

    Examples
    --------
    >>> from laion_dask import stats
    >>> found = stats.overlap_difference((10, 100), (50, 100), (30, 100))
    >>> tuple(round(x, 3) for x in found)
    (0.1, 0.045, 0.153)
    """
    z_of(level, "overlap_difference")
    samples = [shares("overlap_difference", k, n) for k, n in (first, both, second)]
    k, n = (np.stack(np.broadcast_arrays(*arrays)) for arrays in zip(*samples, strict=True))
    n_first, n_second = n[0] + n[1], n[1] + n[2]
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = np.stack([-n[0] / n_first, n[1] / n_second - n[1] / n_first, n[2] / n_second])
        share = np.where(n > 0, k / n, 0.0)
    lo, hi = wilson(k, n, level)
    down = weights * (np.where(weights > 0, lo, hi) - share)
    up = weights * (np.where(weights > 0, hi, lo) - share)
    difference = (weights * share).sum(axis=0)
    unknown = np.isnan(difference)
    lo = np.maximum(difference - np.sqrt((down**2).sum(axis=0)), -1)
    hi = np.minimum(difference + np.sqrt((up**2).sum(axis=0)), 1)
    return plain(difference, np.where(unknown, -1.0, lo), np.where(unknown, 1.0, hi))


def overlap_test(
    first: tuple[Numbers, Numbers],
    both: tuple[Numbers, Numbers],
    second: tuple[Numbers, Numbers],
) -> FloatOrArray:
    """Two-sided p-value that a property is equally frequent in the rows unique to each sample.

    Rows in both samples carry no information about the difference. The test is therefore
    conditional on the rows in only one sample: those only in the first against those only in the
    second, by `two_proportions`. If one sample contains the other, the rows of the smaller are
    tested against the remaining rows of the larger.

    Parameters
    ----------
    first, both, second : pair of int, or of arrays of int
        As for `overlap_difference`.

    Returns
    -------
    float, or array of float64
        In [0, 1]; NaN if the samples are equal, or if one is empty.

    Raises
    ------
    OptionError
        If a count is impossible.

    References
    ----------
    Gart, J. J. (1969). An exact test for comparing matched proportions in crossover designs.
    Biometrika 56, 75-80: Fisher's exact test of the discordant observations. Based on McNemar, Q.
    (1947). Note on the sampling error of the difference between correlated proportions or
    percentages. Psychometrika 12, 153-157.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(stats.overlap_test((10, 100), (50, 100), (30, 100)), 5)
    0.00065
    """
    samples = [shares("overlap_test", k, n) for k, n in (first, both, second)]
    k, n = (np.stack(np.broadcast_arrays(*arrays)) for arrays in zip(*samples, strict=True))
    one, other = (
        tuple(np.where(n[side] > 0, array[side], array[1]) for array in (k, n)) for side in (0, 2)
    )
    p = two_proportions(*one, *other)
    return plain(np.where((n[0] == 0) & (n[2] == 0), np.nan, p))[0]
