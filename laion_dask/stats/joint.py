"""Intervals of the association of two properties, from four counts."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from laion_dask.stats.checks import FloatOrArray, Numbers, counts, plain, z_of
from laion_dask.stats.jeffreys import jeffreys


def observed_over_expected(
    n_ab: Numbers, n_a: Numbers, n_b: Numbers, n: Numbers, level: float = 0.95
) -> tuple[FloatOrArray, FloatOrArray, FloatOrArray]:
    """Ratio of the rows in both of two groups to the number expected under independence.

    The interval is symmetric on the log scale. The variance of the logarithm follows from the delta
    method on the four cells of the table: 1/n_ab - 1/n_a - 1/n_b + 2 n_ab / (n_a n_b) - 1/n. This
    is the interval of exp(PMI). If ``n_ab`` is 0, the ratio is 0, and the interval goes from 0 to
    the upper end for half a row.

    Parameters
    ----------
    n_ab, n_a, n_b, n : int or array of int
        Rows in both groups, in the first, in the second, and all rows.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    ratio, lo, hi : float, or array of float64
        From 0 to inf. NaN, with an interval from 0 to inf, if a group is empty.

    Raises
    ------
    OptionError
        If a count is negative or the level is not between 0 and 1.

    References
    ----------
    Agresti, A. (2013). Categorical data analysis, section 16.1 (the delta method for cell counts).

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.observed_over_expected(20, 40, 50, 100)[0]), 6)
    1.0
    """
    z = z_of(level, "observed_over_expected")
    n_ab, n_a, n_b, n = counts("observed_over_expected", n_ab=n_ab, n_a=n_a, n_b=n_b, n=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = n_ab * n / (n_a * n_b)
        k = np.where(n_ab == 0, 0.5, n_ab)
        log = np.log(k * n / (n_a * n_b))
        variance = 1 / k - 1 / n_a - 1 / n_b + 2 * k / (n_a * n_b) - 1 / n
        spread = z * np.sqrt(np.maximum(variance, 0))
        lo, hi = np.exp(log - spread), np.exp(log + spread)
    unknown = np.isnan(ratio)
    lo, hi = np.where(unknown | (n_ab == 0), 0.0, lo), np.where(unknown, np.inf, hi)
    return plain(ratio, lo, hi)


def npmi_interval(
    n_wg: Numbers, n_w: Numbers, n_g: Numbers, n: Numbers, level: float = 0.95
) -> tuple[FloatOrArray, FloatOrArray]:
    """Interval of nPMI, ln[p(w,g) / (p(w) p(g))] / -ln p(w,g).

    nPMI is a function of three cells of the table: documents with both, with only the word, and
    with only the group. Each has a Jeffreys interval (`laion_dask.stats.jeffreys`). The changes in
    nPMI from moving one cell to an end of its interval are combined as the root of the sum of
    squares (MOVER), with the correlation of multinomial cells. The interval therefore has a
    positive width even if a cell is 0, for example if the word and the group always co-occur.

    Coverage at 0.95, from summing over all tables of 2,000 to 10 million documents, with 1 to 400
    expected with both and 0.5 to 500 with only one: 0.935 to 0.967 with at least 40 expected with
    both, and nowhere below 0.93. With fewer it reaches 0.986, mostly if at most one document is
    expected with only the word or only the group, because few tables are then likely.

    Parameters
    ----------
    n_wg, n_w, n_g, n : int or array of int
        Documents with both, with the word, with the group, and all documents.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    lo, hi : float, or array of float64
        In [-1, 1]. ``lo`` is -1 if ``n_wg`` is 0; ``hi`` is 1 if the two always co-occur. From -1
        to 1 if ``n_w`` or ``n_g`` is 0 or all documents.

    Raises
    ------
    OptionError
        If a count is negative or the level is not between 0 and 1.

    References
    ----------
    nPMI: Bouma, G. (2009). Normalized (pointwise) mutual information in collocation extraction.
    GSCL. MOVER: Zou, G. Y., Donner, A. (2008), as in `npmi_gap_interval`. Jeffreys: Brown, L. D.,
    Cai, T. T., DasGupta, A. (2001). Interval estimation for a binomial proportion. Statistical
    Science 16, 101-133.

    Examples
    --------
    >>> from laion_dask import stats
    >>> len(stats.npmi_interval(20, 40, 50, 100))
    2
    """
    z_of(level, "npmi_interval")
    n_wg, n_w, n_g, n = counts("npmi_interval", n_wg=n_wg, n_w=n_w, n_g=n_g, n=n)
    return plain(*_ends(n_wg, n_w, n_g, n, level))


def npmi_gap_interval(
    a: tuple[Numbers, Numbers],
    b: tuple[Numbers, Numbers],
    both: tuple[Numbers, Numbers],
    n_w: Numbers,
    n: Numbers,
    level: float = 0.95,
) -> tuple[FloatOrArray, FloatOrArray]:
    """Interval of nPMI(w, a) - nPMI(w, b), for one word and two groups.

    Combines the intervals of the two (MOVER), with their correlation from the delta method: they
    share the word, and possibly documents that are in both groups.

    Parameters
    ----------
    a, b, both : pair of int, or of arrays of int
        Documents with the word and the group, and documents with the group: for the first group,
        the second group, and the intersection of both.
    n_w, n : int or array of int
        Documents with the word, and all documents.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    lo, hi : float, or array of float64
        In [-2, 2].

    Raises
    ------
    OptionError
        If a count is negative or the level is not between 0 and 1.

    References
    ----------
    Zou, G. Y., Donner, A. (2008). Construction of confidence limits about effect measures: a
    general approach. Statistics in Medicine 27, 1693-1702; for correlated measures, Zou, G. Y.
    (2007). Toward using confidence intervals to compare correlations. Psychological Methods 12.
    """
    z_of(level, "npmi_gap_interval")
    named = {"n_wa": a[0], "n_a": a[1], "n_wb": b[0], "n_b": b[1], "n_wab": both[0]}
    arrays = counts("npmi_gap_interval", **named, n_ab=both[1], n_w=n_w, n=n)
    n_wa, n_a, n_wb, n_b, n_wab, n_ab, n_w, n = arrays
    one, other = _Slopes(n_wa, n_w, n_a, n), _Slopes(n_wb, n_w, n_b, n)
    (lo_a, hi_a), (lo_b, hi_b) = (_ends(k, n_w, m, n, level) for k, m in ((n_wa, n_a), (n_wb, n_b)))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = one.covariance(other, n_ab / n, n_wab / n) / np.sqrt(one.variance * other.variance)
        r = np.clip(np.nan_to_num(r), -1, 1)
        gap, unknown = one.npmi - other.npmi, one.unknown | other.unknown
        down, up = one.npmi - lo_a, hi_b - other.npmi
        lo = gap - np.sqrt(np.maximum(down**2 + up**2 - 2 * r * down * up, 0))
        up, down = hi_a - one.npmi, other.npmi - lo_b
        hi = gap + np.sqrt(np.maximum(up**2 + down**2 - 2 * r * up * down, 0))
    return plain(
        np.where(unknown, -2.0, np.clip(lo, -2, 2)), np.where(unknown, 2.0, np.clip(hi, -2, 2))
    )


class _Slopes:
    """nPMI and its derivatives with respect to the three shares it depends on, per document."""

    def __init__(self, n_wg: np.ndarray, n_w: np.ndarray, n_g: np.ndarray, n: np.ndarray):
        self.none = n_wg == 0
        self.unknown = (n_w == 0) | (n_g == 0) | (n_w == n) | (n_g == n)
        self.n = n
        with np.errstate(invalid="ignore", divide="ignore"):
            self.w, self.g, self.j = n_w / n, n_g / n, np.where(self.none, 0.5, n_wg) / n
            log = np.log(self.j)
            ratio = (np.log(self.w) + np.log(self.g)) / log
            self.npmi = np.where(self.none, -1.0, ratio - 1)
            self.by_w, self.by_g = 1 / (self.w * log), 1 / (self.g * log)
            self.by_j = -ratio / (self.j * log)
            self.mean = (2 - ratio) / log
        self.variance = self.covariance(self, self.g, self.j)

    def covariance(self, other: _Slopes, p_ab: np.ndarray, p_wab: np.ndarray) -> np.ndarray:
        """Covariance of two nPMI of one word whose groups share documents."""
        with np.errstate(invalid="ignore", divide="ignore"):
            product = self.by_w * other.by_w * self.w + self.by_g * other.by_g * p_ab
            product += self.by_w * (other.by_g + other.by_j) * other.j
            product += other.by_w * (self.by_g + self.by_j) * self.j
            cross_terms = self.by_g * other.by_j + self.by_j * other.by_g + self.by_j * other.by_j
            covariance: np.ndarray = (
                product + cross_terms * p_wab - self.mean * other.mean
            ) / self.n
        return covariance


def _ends(
    n_wg: np.ndarray, n_w: np.ndarray, n_g: np.ndarray, n: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of nPMI, from the Jeffreys intervals of three cells of the table."""
    unknown = (n_w == 0) | (n_g == 0) | (n_w >= n) | (n_g >= n)
    safe = np.where(unknown, 1, n)
    cells = [np.where(unknown, 0, cell) for cell in (n_wg, n_w - n_wg, n_g - n_wg)]
    shares = [cell / safe for cell in cells]
    limits = list(zip(*jeffreys(np.stack(cells), safe, level), strict=True))
    lo = np.maximum(_moved(shares, limits, (0, 1, 1)), -1)
    hi = np.minimum(_moved(shares, limits, (1, 0, 0)), 1)
    return np.where(unknown, -1.0, lo), np.where(unknown, 1.0, hi)


def _moved(
    shares: list[np.ndarray],
    limits: list[tuple[np.ndarray, np.ndarray]],
    ends: tuple[int, int, int],
) -> np.ndarray:
    """nPMI with each cell at one of its limits: 0 for the lower, 1 for the upper."""
    at = _npmi_of(*shares)
    moves = [
        _npmi_of(*(limits[i][ends[i]] if i == j else share for j, share in enumerate(shares))) - at
        for i in range(3)
    ]
    total = moves[0] ** 2 + moves[1] ** 2 + moves[2] ** 2
    for i, j in combinations(range(3), 2):
        odds = [shares[c] / (1 - shares[c]) for c in (i, j)]
        sign = -1 if ends[i] == ends[j] else 1  # the cells of a table are negatively correlated
        total += 2 * sign * np.sqrt(odds[0] * odds[1]) * np.abs(moves[i] * moves[j])
    moved: np.ndarray = at + (2 * ends[0] - 1) * np.sqrt(np.maximum(total, 0))
    return moved


def _npmi_of(both: np.ndarray, word_only: np.ndarray, group_only: np.ndarray) -> np.ndarray:
    """nPMI from the shares of documents; -1 if no document has both."""
    positive = np.where(both > 0, both, 0.5)
    ratio = np.log((positive + word_only) * (positive + group_only)) / np.log(positive)
    return np.where(both > 0, ratio - 1, -1.0)
