"""Calibration of probabilities."""

from __future__ import annotations

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.stats.checks import Numbers, check_integer, numbers


def reliability(
    p: Numbers, y: Numbers, bins: int = 15
) -> tuple[tuple[tuple[float, ...], ...], float]:
    """Reliability table of probabilities, and the expected calibration error.

    Parameters
    ----------
    p : (n,) float array
        Probabilities of the positive class, in [0, 1].
    y : (n,) bool array
        Outcomes; numbers must be 0 or 1.
    bins : int
        Number of bins of equal width over [0, 1]; at least 1.

    Returns
    -------
    rows : tuple of (low, high, n, mean p, share positive)
        One per non-empty bin.
    ece : float
        Mean of ``|mean p - share positive|``, weighted by n; NaN if there are no rows.

    Raises
    ------
    OptionError
        If the lengths differ, p is not a probability, y is not 0 or 1 (NaN is neither), or bins is
        not a positive integer.

    References
    ----------
    Naeini, M. P., Cooper, G. F., Hauskrecht, M. (2015). Obtaining well calibrated probabilities
    using Bayesian binning. AAAI.

    Examples
    --------
    >>> from laion_dask import stats
    >>> table, error = stats.reliability([0.1, 0.9], [0, 1])
    >>> round(float(error), 3)
    0.1
    """
    check_integer("bins", bins, 1)
    (p,), (y,) = numbers("reliability", p=p), numbers("reliability", y=y)
    if p.ndim != 1 or p.shape != y.shape:
        raise OptionError(
            f"reliability was given p of shape {p.shape} and y of shape {y.shape}. Expected one "
            "probability and one outcome per row, (n,)."
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise OptionError(
            "reliability was given p outside [0, 1], or NaN. Expected probabilities; drop the rows "
            "without one. Convert a logit by 1 / (1 + exp(-x))."
        )
    if not ((y == 0) | (y == 1)).all():
        raise OptionError("reliability was given y other than 0 and 1. Expected booleans.")
    y = y.astype(bool)
    bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
    n = np.bincount(bin_of, minlength=bins)
    filled = np.flatnonzero(n)
    mean = np.bincount(bin_of, p, bins)[filled] / n[filled]
    share = np.bincount(bin_of, y, bins)[filled] / n[filled]
    ece = float(np.average(np.abs(mean - share), weights=n[filled])) if len(p) else float("nan")
    rows = zip(filled / bins, (filled + 1) / bins, n[filled], mean, share, strict=True)
    return tuple(tuple(value.item() for value in row) for row in rows), ece
