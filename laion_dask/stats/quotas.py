"""How many rows to keep of each cluster: complex concepts get more (Abbas et al. 2024)."""

from __future__ import annotations

import math

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.stats.checks import Numbers, counts, numbers
from laion_dask.validation import number, whole_number


def cluster_quotas(
    d_intra: Numbers,
    d_inter: Numbers,
    sizes: Numbers,
    n: int,
    *,
    temperature: float = 0.5,
    lower: int = 1,
    exact: bool = False,
) -> np.ndarray:
    """The number of rows to keep of each cluster, which add up to n. Eager.

    The complexity of a cluster is ``d_intra * d_inter``; where it is NaN, it is the mean of the
    others. With ``p = softmax(complexity / temperature)``, the quotas x minimize ``|x - n p|**2``
    where ``sum(x) = n`` and ``min(lower, sizes - 1) <= x <= sizes``. So ``x = clip(n p + m, …)``
    for a number m, the multiplier of the sum, which is found by bisection of the points where a
    bound begins to hold, and is exact. The published code solves the same program numerically and
    rounds each quota by itself, so its quotas need not add up to n.

    Parameters
    ----------
    d_intra : (k,) float array
        The mean cosine distance of a cluster's rows to its centroid, in [0, 2]; or NaN.
    d_inter : (k,) float array
        The mean cosine distance of its centroid to its nearest other centroids, in [0, 2]; or NaN.
    sizes : (k,) int array
        The rows of each cluster. Where it is 0 or 1, the lower bound is 0.
    n : int
        The number of rows to keep: at least the sum of the lower bounds, at most that of the sizes.
    temperature : float
        Above 0; the smaller, the more rows go to complex clusters. The default is the paper's.
    lower : int
        Rows to keep of every cluster, 0 or more.
    exact : bool
        Whether to return the solution in real numbers.

    Returns
    -------
    (k,) int64 array
        The solution, rounded down, plus 1 where its fractional part is largest (of equal ones, for
        the first cluster). With ``exact``, (k,) float64.

    Raises
    ------
    OptionError
        If an argument is not a number of its range, or the bounds do not permit n rows.

    References
    ----------
    Abbas, A., Rusak, E., Tirumala, K., Brendel, W., Chaudhuri, K. and Morcos, A. (2024). Effective
    pruning of web-scale datasets based on complexity of concept clusters. ICLR.

    Examples
    --------
    >>> from laion_dask import stats
    >>> stats.cluster_quotas([0.2, 0.4, 0.6], [0.3, 0.3, 0.3], [50, 50, 4], 40)
    array([17, 19,  4])
    """
    p, low, high, total = _checked(d_intra, d_inter, sizes, n, temperature, lower)
    if not len(high):
        return np.zeros(0, np.float64 if exact else np.int64)
    x = _projected(total * p, low, high, total)
    return x if exact else _rounded(x, low, high, total)


def _checked(
    d_intra: Numbers, d_inter: Numbers, sizes: Numbers, n: int, temperature: float, lower: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The shares, the bounds, and the number of rows to keep."""
    name = "cluster_quotas"
    high = counts(name, sizes=sizes)[0]
    distances = numbers(name, d_intra=d_intra, d_inter=d_inter)
    if high.ndim != 1 or any(np.shape(each) != high.shape for each in (d_intra, d_inter)):
        shapes = ", ".join(str(np.shape(values)) for values in (d_intra, d_inter, sizes))
        raise OptionError(
            f"{name} was given d_intra, d_inter and sizes of shape {shapes}; expected one number "
            "per cluster in each."
        )
    if (high != np.floor(high)).any():
        raise OptionError(f"{name} was given sizes={sizes!r}; expected whole numbers of rows.")
    for label, values in zip(("d_intra", "d_inter"), distances, strict=True):
        if (values < 0).any() or np.isinf(values).any():
            raise OptionError(f"{name} was given a {label} below 0 or infinite; expected 0 to 2.")
    temperature = number("temperature", temperature, "a number above 0, such as 0.5")
    lower = whole_number("lower", lower, "rows to keep of every cluster", minimum=0)
    total = whole_number("n", n, "the number of rows to keep", minimum=0)
    low = np.maximum(0.0, np.minimum(float(lower), high - 1))
    if not low.sum() <= total <= high.sum():
        raise OptionError(
            f"n is {total:,}. Expected at least {int(low.sum()):,}, which is {lower:,} of each "
            f"cluster (see lower), and at most {int(high.sum()):,}, the rows of all clusters."
        )
    return _shares(distances[0] * distances[1], temperature), low, high, total


def _shares(complexity: np.ndarray, temperature: float) -> np.ndarray:
    """The softmax of the complexities, with the mean in place of NaN."""
    is_known = ~np.isnan(complexity)
    mean = math.fsum(complexity[is_known]) / max(1, int(is_known.sum()))
    filled = np.where(is_known, complexity, mean)
    with np.errstate(over="ignore"):  # of a temperature near 0: the weight is 0
        weights = np.exp((filled - filled.max(initial=-np.inf)) / temperature)
    return np.asarray(weights / math.fsum(weights) if len(weights) else weights)


def _projected(wanted: np.ndarray, low: np.ndarray, high: np.ndarray, total: int) -> np.ndarray:
    """The nearest point to ``wanted`` within the bounds whose elements add up to ``total``."""
    points = np.unique(np.concatenate([low - wanted, high - wanted]))
    first, last = 0, len(points) - 1
    while last - first > 1:  # the sum grows with the multiplier, linearly between two points
        middle = (first + last) // 2
        if math.fsum(np.clip(wanted + points[middle], low, high)) <= total:
            first = middle
        else:
            last = middle
    lower, upper = (np.clip(wanted + points[at], low, high) for at in (first, last))
    below, above = math.fsum(lower), math.fsum(upper)
    if above <= total:
        return np.asarray(upper)
    share = (total - below) / (above - below)
    return np.asarray(np.clip(lower + share * (upper - lower), low, high))


def _rounded(x: np.ndarray, low: np.ndarray, high: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers within the bounds that add up to ``total``: the largest remainders get 1."""
    whole = np.clip(np.floor(x), low, high).astype(np.int64)
    order = np.argsort(whole - x, kind="stable")  # the largest remainder first
    while (missing := total - int(whole.sum())) != 0:  # more than once only after rounding errors
        step = 1 if missing > 0 else -1
        room = whole < high if step > 0 else whole > low
        candidates = order[::step][room[order[::step]]]
        whole[candidates[: abs(missing)]] += step
    return np.asarray(whole)
