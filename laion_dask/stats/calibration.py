"""How well probabilities are calibrated."""

from __future__ import annotations

import numpy as np


def reliability(
    p: np.ndarray, y: np.ndarray, bins: int = 15
) -> tuple[tuple[tuple[float, ...], ...], float]:
    """How well probabilities are calibrated: a reliability table, and its expected error.

    Parameters
    ----------
    p : (n,) float array
        Probabilities of the positive class.
    y : (n,) bool array
    bins : int
        Of equal width over [0, 1].

    Returns
    -------
    rows : tuple of (low, high, n, mean p, share positive)
        One a bin that is not empty.
    ece : float
        The mean of ``|mean p - share positive|``, weighted by n; NaN without any row.

    References
    ----------
    Naeini, M. P., Cooper, G. F., Hauskrecht, M. (2015). Obtaining well calibrated probabilities
    using Bayesian binning. AAAI.
    """
    p, y = np.asarray(p, np.float64), np.asarray(y, bool)
    number = np.minimum((p * bins).astype(np.int64), bins - 1)
    n = np.bincount(number, minlength=bins)
    some = np.flatnonzero(n)
    mean = np.bincount(number, p, bins)[some] / n[some]
    share = np.bincount(number, y, bins)[some] / n[some]
    ece = float(np.average(np.abs(mean - share), weights=n[some])) if len(p) else float("nan")
    rows = zip(some / bins, (some + 1) / bins, n[some], mean, share, strict=True)
    return tuple(tuple(value.item() for value in row) for row in rows), ece
