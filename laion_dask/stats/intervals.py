"""Intervals and tests."""

from __future__ import annotations

from statistics import NormalDist

from laion_dask.errors import OptionError


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a share.

    Parameters
    ----------
    k, n : int
        ``k`` of ``n`` have the property.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    lo, hi : float
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
    if not 0 <= k <= n or not 0 < level < 1:
        raise OptionError(
            f"wilson was given k={k}, n={n}, level={level}; expected 0 <= k <= n, 0 < level < 1."
        )
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p, shrink = k / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / shrink
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)
