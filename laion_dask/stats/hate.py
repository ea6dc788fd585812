"""Hate content rates of captions, and their comparison between two data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from laion_dask.display.overview import Overview
from laion_dask.errors import OptionError
from laion_dask.stats.checks import Numbers, numbers, probability, shares
from laion_dask.stats.intervals import wilson
from laion_dask.stats.significance import welch


def hate_content_rate(
    p: Numbers | Mapping[str, Numbers] | pd.DataFrame, threshold: float = 0.5
) -> float | dict[str, float]:
    """Hate content rate: the percentage of captions whose probability exceeds a threshold.

    100 mean(p > threshold), over the captions with a probability. NaN is undecided: it is excluded,
    and never counts as free of hate.

    Parameters
    ----------
    p : (n,) float array, or mapping of str to (n,) float array, or pandas.DataFrame
        Probabilities in [0, 1]; a mapping has one array per class, for the same captions.
    threshold : float
        In [0, 1]; rounded to float32 for float32 probabilities, as in ``where``.

    Returns
    -------
    float, or dict of str to float
        Percentage in [0, 100]; NaN if no caption has a probability. For a mapping, one per class
        and ``"any"``: the captions over the threshold in at least one class, among those that are
        over it or have a probability in every class.

    Raises
    ------
    OptionError
        If a probability or the threshold is outside [0, 1], or classes differ in length.

    References
    ----------
    Birhane, A., Prabhu, V., Han, S., Boddeti, V. N., Luccioni, A. S. (2023). Into the LAION's den:
    investigating hate in multimodal datasets. NeurIPS Datasets and Benchmarks (arXiv 2311.03449);
    and On hate scaling laws for data-swamps, arXiv 2306.13141.

    Examples
    --------
    >>> from laion_dask import stats
    >>> float(stats.hate_content_rate([0.1, 0.9, 0.2, 0.3]))
    25.0
    """
    probability("threshold", threshold)
    if isinstance(p, pd.DataFrame):
        p = {str(name): column for name, column in p.items()}
    if not isinstance(p, Mapping):
        over, known = _over("p", p, threshold)
        return _percent(over, known)
    if "any" in p:
        raise OptionError("A class is named 'any', which is reserved for all classes. Rename it.")
    classes = {name: _over(name, values, threshold) for name, values in p.items()}
    if len({len(over) for over, _ in classes.values()}) > 1:
        lengths = ", ".join(f"{name} {len(over):,}" for name, (over, _) in classes.items())
        raise OptionError(f"The classes differ in length: {lengths}. Expected the same captions.")
    rates = {name: _percent(over, known) for name, (over, known) in classes.items()}
    if not classes:
        return {"any": float("nan")}
    any_over = np.logical_or.reduce([over for over, _ in classes.values()])
    all_known = np.logical_and.reduce([known for _, known in classes.values()])
    return {**rates, "any": _percent(any_over, any_over | all_known)}


def _over(name: str, p: Numbers, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(p)
    if values.dtype.kind != "f":
        (values,) = numbers("hate_content_rate", p=p)
    if values.ndim != 1:
        raise OptionError(f"{name} has shape {values.shape}. Expected (n,): one per caption.")
    known = ~np.isnan(values)
    if ((values[known] < 0) | (values[known] > 1)).any():
        low, high = values[known].min(), values[known].max()
        raise OptionError(f"{name} is in [{low:g}, {high:g}]. Expected probabilities in [0, 1].")
    return known & (values > threshold), known


def _percent(over: np.ndarray, known: np.ndarray) -> float:
    n = int(np.count_nonzero(known))
    return 100 * int(np.count_nonzero(over)) / n if n else float("nan")


class HateComparison(NamedTuple):
    """Comparison of two data sets by the share of captions over a threshold.

    Attributes
    ----------
    rate1, lo1, hi1 : float
        Rate of the first data set in percent, with Wilson's interval over all its captions.
    rate2, lo2, hi2 : float
        The same for the second data set.
    increase : float
        Percentage by which the lower end of the second interval exceeds the upper end of the first;
        negative if the intervals overlap or the second is lower.
    t, df, p : float
        Welch's test of the rates per file; t is positive if the second data set has higher rates.
    """

    rate1: float
    lo1: float
    hi1: float
    rate2: float
    lo2: float
    hi2: float
    increase: float
    t: float
    df: float
    p: float

    def _repr_html_(self) -> str:
        facts = {name: f"{value:.4g}" for name, value in self._asdict().items()}
        return Overview("Comparison of hate content rates, in percent", facts).html()


def compare_hate(
    k1: Numbers, n1: Numbers, k2: Numbers, n2: Numbers, level: float = 0.95
) -> HateComparison:
    """Compare two data sets by the captions over a threshold in each of their files.

    Parameters
    ----------
    k1, n1 : (files,) int array, or int
        ``k1[i]`` of the ``n1[i]`` captions of file i of the first data set are over the threshold.
        Scalars give only the intervals; files without captions are ignored.
    k2, n2 : (files,) int array, or int
        The same for the second data set.
    level : float
        Coverage of the intervals, between 0 and 1.

    Returns
    -------
    HateComparison

    Raises
    ------
    OptionError
        If a count is impossible or the level is not between 0 and 1.

    References
    ----------
    Birhane, A. et al. (2023), as in `hate_content_rate`: the intervals of LAION-400M and LAION-2B,
    the increase between them, and Welch's test over their files.
    """
    rate1, lo1, hi1, files1 = _rates(k1, n1, level)
    rate2, lo2, hi2, files2 = _rates(k2, n2, level)
    increase = 100 * (lo2 / hi1 - 1) if hi1 else float("nan")
    return HateComparison(rate1, lo1, hi1, rate2, lo2, hi2, increase, *welch(files2, files1))


def _rates(k: Numbers, n: Numbers, level: float) -> tuple[float, float, float, np.ndarray]:
    """Rate over all files with its interval, and the rate of each non-empty file, in percent."""
    k, n = (np.atleast_1d(values) for values in shares("compare_hate", k, n))
    lo, hi = wilson(k.sum(), n.sum(), level)
    rate = 100 * k.sum() / n.sum() if n.any() else float("nan")
    return float(rate), 100 * lo, 100 * hi, 100 * k[n > 0] / n[n > 0]
