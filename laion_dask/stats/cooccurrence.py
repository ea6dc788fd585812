"""Association of a word and a group: how much more often they co-occur than expected by chance.

Counts are numbers of documents (captions) that contain something at least once: ``n`` documents,
``n_w`` with the word, ``n_g`` with the group, ``n_wg`` with both. Logarithms are natural. Arguments
are numbers or arrays, which are broadcast.
"""

from __future__ import annotations

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.stats.checks import FloatOrArray, Numbers, counts, plain, shares, z_of


def pmi(n_wg: Numbers, n_w: Numbers, n_g: Numbers, n: Numbers) -> FloatOrArray:
    """Pointwise mutual information, ln[p(w, g) / (p(w) p(g))].

    Parameters
    ----------
    n_wg, n_w, n_g, n : int or array of int

    Returns
    -------
    float, or array of float64
        0 if the two are independent, -inf if they never co-occur, NaN if the word or the group
        never occurs.

    Raises
    ------
    OptionError
        If the counts are inconsistent, such as more documents with both than with one.

    References
    ----------
    Church, K. W., Hanks, P. (1990). Word association norms, mutual information, and lexicography.
    Computational Linguistics 16, 22-29.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.pmi(20, 40, 50, 100)), 6)
    0.0
    """
    return plain(_pmi(*_checked_counts("pmi", n_wg, n_w, n_g, n)))[0]


def npmi(n_wg: Numbers, n_w: Numbers, n_g: Numbers, n: Numbers) -> FloatOrArray:
    """Normalized pointwise mutual information, ln[p(w, g) / (p(w) p(g))] / -ln p(w, g).

    The denominator uses the joint probability, not that of the word or of the group; only this
    choice bounds the result by -1 and 1.

    Parameters
    ----------
    n_wg, n_w, n_g, n : int or array of int

    Returns
    -------
    float, or array of float64
        In [-1, 1]: -1 if the two never co-occur (the limit), 0 if they are independent, 1 if
        neither occurs without the other. By definition also 1 if both occur in every document,
        where the formula is 0 / 0. NaN if the word or the group never occurs.

    Raises
    ------
    OptionError
        If the counts are inconsistent, such as more documents with both than with one.

    References
    ----------
    Bouma, G. (2009). Normalized (pointwise) mutual information in collocation extraction.
    Proceedings of GSCL, 31-40.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.npmi(20, 20, 20, 100)), 6)
    1.0
    """
    return plain(_npmi(*_checked_counts("npmi", n_wg, n_w, n_g, n)))[0]


def npmi_gap(
    n_wa: Numbers, n_a: Numbers, n_wb: Numbers, n_b: Numbers, n_w: Numbers, n: Numbers
) -> FloatOrArray:
    """Difference of a word's nPMI with two groups: the first minus the second.

    Parameters
    ----------
    n_wa, n_a : int or array of int
        Documents with the word and the first group, and with the first group.
    n_wb, n_b : int or array of int
        The same for the second group.
    n_w, n : int or array of int
        Documents with the word, and all documents.

    Returns
    -------
    float, or array of float64
        In [-2, 2]; positive if the word is more associated with the first group.

    Raises
    ------
    OptionError
        If the counts are inconsistent.

    References
    ----------
    Aka, O., Burke, K., Bäuerle, A., Greer, C., Mitchell, M. (2021). Measuring model biases in the
    absence of ground truth. AIES. Defines nPMI and its gap under these names.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.npmi_gap(20, 50, 20, 50, 40, 100)), 6)
    0.0
    """
    a = _npmi(*_checked_counts("npmi_gap", n_wa, n_w, n_a, n))
    return plain(a - _npmi(*_checked_counts("npmi_gap", n_wb, n_w, n_b, n)))[0]


def pmi_bias(
    n_wa: Numbers, n_a: Numbers, n_wb: Numbers, n_b: Numbers, level: float = 0.95
) -> tuple[FloatOrArray, FloatOrArray, FloatOrArray]:
    """PMI(w, A) - PMI(w, B), with its interval as a log odds ratio.

    The difference is ln[p(w | A) / p(w | B)]: the rest of the corpus cancels out. For a word that
    is rare in both groups, this approximates a log odds ratio, hence the standard error
    sqrt(1/a + 1/b + 1/c + 1/d), with documents of A with and without the word, and of B with and
    without it. For a common word the interval is too wide (by a tenth if one document in ten has
    the word); `risk_ratio` of the same counts then gives a narrower interval for the same ratio.

    If a count is 0, the standard error adds a half to each of the four counts. The bias is -inf if
    the word never occurs with A, and inf if it never occurs with B; the interval is then open on
    that side, and its other end uses the added halves. The bias is NaN, with an interval from -inf
    to inf, if the word occurs with neither or a group is empty.

    Parameters
    ----------
    n_wa, n_a : int or array of int
        Documents with the word and group A, and with group A.
    n_wb, n_b : int or array of int
        The same for B.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    bias, lo, hi : float, or array of float64

    Raises
    ------
    OptionError
        If a count is impossible, or the level is not between 0 and 1.

    References
    ----------
    Valentini, F., Rosati, G., Blasi, D., Fernandez Slezak, D., Altszyler, E. (2023). On the
    interpretability and significance of bias metrics in texts: a PMI-based approach. ACL, 509-520
    (arXiv 2104.06474).

    Examples
    --------
    >>> from laion_dask import stats
    >>> tuple(round(float(x), 3) for x in stats.pmi_bias(30, 100, 10, 100))
    (1.099, 0.318, 1.879)
    """
    z = z_of(level, "pmi_bias")
    a, n_a, b, n_b = (*shares("pmi_bias", n_wa, n_a), *shares("pmi_bias", n_wb, n_b))
    a, n_a, b, n_b = np.broadcast_arrays(a, n_a, b, n_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = np.log((a / n_a) / (b / n_b))
        add = np.where((a > 0) & (b > 0) & (a < n_a) & (b < n_b), 0.0, 0.5)
        one, two = a + add, b + add
        not_one, not_two = n_a - a + add, n_b - b + add
        spread = z * np.sqrt(1 / one + 1 / not_one + 1 / two + 1 / not_two)
        near = np.log((one / (one + not_one)) / (two / (two + not_two)))
    centre = np.where(np.isfinite(bias), bias, near)
    lo = np.where(np.isnan(bias) | (bias == -np.inf), -np.inf, centre - spread)
    hi = np.where(np.isnan(bias) | (bias == np.inf), np.inf, centre + spread)
    return plain(bias, lo, hi)


def _pmi(n_wg: np.ndarray, n_w: np.ndarray, n_g: np.ndarray, n: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi_values: np.ndarray = np.log((n_wg / n_w) * (n / n_g))
    return pmi_values


def _npmi(n_wg: np.ndarray, n_w: np.ndarray, n_g: np.ndarray, n: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.clip(_pmi(n_wg, n_w, n_g, n) / np.log(n / n_wg), -1.0, 1.0)
    values = np.where(n_wg == 0, -1.0, values)
    values = np.where(n_wg == n, 1.0, values)
    return np.where((n_w == 0) | (n_g == 0), np.nan, values)


def _checked_counts(
    caller: str, n_wg: Numbers, n_w: Numbers, n_g: Numbers, n: Numbers
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The four counts as arrays of one shape; raises if they are inconsistent."""
    both, word, group, total = counts(caller, n_wg=n_wg, n_w=n_w, n_g=n_g, n=n)
    fits = (both <= word) & (both <= group) & (word + group - both <= total)
    if not fits.all():
        i = np.unravel_index(int(np.argmin(fits)), fits.shape)
        raise OptionError(
            f"{caller} was given {both[i]:,.0f} documents with both, {word[i]:,.0f} with the word, "
            f"{group[i]:,.0f} with the group, {total[i]:,.0f} in all. Expected at most as "
            "many with both as with either, and at most as many with either as in all."
        )
    return both, word, group, total
