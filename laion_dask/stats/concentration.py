"""Measures of how unevenly rows are distributed over labels, such as image domains.

All functions take the row count of each label, in any order. Include a 0 for a label that has no
rows but could have; omit it to describe only the labels that occur, as `ld.concentration` does. If
there are no rows, the result is NaN.
"""

from __future__ import annotations

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.stats.checks import Numbers, check_integer
from laion_dask.stats.checks import counts as checked


def gini(counts: Numbers) -> float:
    """Gini coefficient: 0 if all labels have equally many rows, close to 1 if one label has all.

    Half the mean absolute difference of two labels drawn with replacement, divided by their mean;
    with x sorted ascending, sum((2 i - n - 1) x_i) / (n sum(x)). At most (n - 1) / n for n labels;
    0 for one label.

    Parameters
    ----------
    counts : (labels,) int array

    Returns
    -------
    float
        In [0, 1).

    Raises
    ------
    OptionError
        If a count is negative or not a number.

    References
    ----------
    Gini, C. (1912). Variabilità e mutabilità. The form: Dixon, P. M. et al. (1987). Bootstrapping
    the Gini coefficient of inequality. Ecology 68, 1548-1551 (without its factor n / (n - 1)).

    Examples
    --------
    >>> from laion_dask import stats
    >>> float(stats.gini([1, 1, 1])), round(float(stats.gini([0, 0, 9])), 3)
    (0.0, 0.667)
    """
    x = _sorted("gini", counts)
    if not x.any():
        return float("nan")
    n = len(x)
    return float(((2 * np.arange(1, n + 1) - n - 1) * x).sum() / (n * x.sum()))


def herfindahl(counts: Numbers) -> float:
    """Herfindahl-Hirschman index: the sum of the squared shares of the labels.

    This is the probability that two rows drawn with replacement have the same label. 1 for one
    label, 1 / n if n labels have equally many rows; its inverse is the number of equally frequent
    labels with the same concentration.

    Parameters
    ----------
    counts : (labels,) int array

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    OptionError
        If a count is negative or not a number.

    References
    ----------
    Simpson, E. H. (1949). Measurement of diversity. Nature 163, 688; Hirschman, A. O. (1964). The
    paternity of an index. The American Economic Review 54, 761-762.

    Examples
    --------
    >>> from laion_dask import stats
    >>> float(stats.herfindahl([5, 5]))
    0.5
    """
    x = _sorted("herfindahl", counts)
    return float(((x / x.sum()) ** 2).sum()) if x.any() else float("nan")


def effective_number(counts: Numbers) -> float:
    """Effective number of labels: the number of equally frequent labels with equal concentration.

    1 / `herfindahl`, the Hill number of order 2.

    Parameters
    ----------
    counts : (labels,) int array

    Returns
    -------
    float
        From 1 to the number of labels.

    Raises
    ------
    OptionError
        If a count is negative or not a number.

    References
    ----------
    Laakso, M., Taagepera, R. (1979). "Effective" number of parties. Comparative Political Studies
    12, 3-27; Hill, M. O. (1973). Diversity and evenness. Ecology 54, 427-432.

    Examples
    --------
    >>> from laion_dask import stats
    >>> round(float(stats.effective_number([5, 5, 5, 5])), 6)
    4.0
    """
    return 1 / herfindahl(counts)


def theil(counts: Numbers) -> float:
    """Theil's index T: 0 if all labels have equally many rows, ln(n) if one of n labels has all.

    The mean over labels of (x / mean) ln(x / mean), where 0 ln 0 is 0.

    Parameters
    ----------
    counts : (labels,) int array

    Returns
    -------
    float
        In [0, ln(labels)].

    Raises
    ------
    OptionError
        If a count is negative or not a number.

    References
    ----------
    Theil, H. (1967). Economics and information theory. North-Holland.

    Examples
    --------
    >>> from laion_dask import stats
    >>> float(stats.theil([5, 5]))
    0.0
    """
    x = _sorted("theil", counts)
    if not x.any():
        return float("nan")
    ratio = x[x > 0] / x.mean()
    return max(0.0, float((ratio * np.log(ratio)).sum()) / len(x))


def entropy(counts: Numbers) -> float:
    """Normalized Shannon entropy: 1 if all labels have equally many rows, 0 if one label has all.

    -sum(p ln p) / ln(n) for the shares p of n labels, where 0 ln 0 is 0. For one label the formula
    is 0 / 0 and the result is 0.

    Parameters
    ----------
    counts : (labels,) int array

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    OptionError
        If a count is negative or not a number.

    References
    ----------
    Shannon, C. E. (1948). A mathematical theory of communication; normalized as in Pielou, E. C.
    (1966). The measurement of diversity in different types of biological collections. Journal of
    Theoretical Biology 13, 131-144.

    Examples
    --------
    >>> from laion_dask import stats
    >>> float(stats.entropy([5, 5, 5, 5]))
    1.0
    """
    x = _sorted("entropy", counts)
    if not x.any():
        return float("nan")
    if len(x) == 1:
        return 0.0
    p = x[x > 0] / x.sum()
    return min(1.0, abs(float((p * np.log(p)).sum())) / float(np.log(len(x))))


def top_share(counts: Numbers, k: int) -> float:
    """Share of the rows that belong to the k most frequent labels.

    Parameters
    ----------
    counts : (labels,) int array
    k : int
        At least 1; if k exceeds the number of labels, the share is 1.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    OptionError
        If a count is negative or not a number, or k is not a positive integer.

    Examples
    --------
    >>> from laion_dask import stats
    >>> float(stats.top_share([6, 3, 1], 2))
    0.9
    """
    check_integer("k", k, 1)
    x = _sorted("top_share", counts)
    return float(x[-k:].sum() / x.sum()) if x.any() else float("nan")


def _sorted(caller: str, counts: Numbers) -> np.ndarray:
    """The counts in ascending order, so that sums do not depend on the input order."""
    (array,) = checked(caller, counts=counts)
    if array.ndim != 1:
        raise OptionError(f"{caller} was given counts of shape {array.shape}; expected (labels,).")
    return np.sort(array)
