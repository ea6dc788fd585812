"""Interval of a proportion whose rows come in shards, by a bootstrap over whole shards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.stats.checks import Numbers, check_integer, shares, z_of
from laion_dask.stats.intervals import wilson

#: Draws of shards are cached for the next group up to this many numbers (16 MB). Larger draws are
#: repeated block by block, because there may be hundreds of thousands of shards.
_CACHED, _BLOCK = 1 << 23, 1 << 20


def shard_bootstrap(
    k: Numbers, n: Numbers, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of a proportion whose rows come in shards, by resampling whole shards.

    Rows of one shard are not independent, so Wilson's interval is too narrow for a proportion that
    varies between shards. Each resample draws as many shards as there are, with replacement, and
    takes the proportion over all their rows; the spread of these proportions is the standard error
    s. It is multiplied by sqrt(m / (m - 1)) for m shards, to correct the downward bias of resampled
    variances. The interval is symmetric in logits: logit(k / n) ± t s / (p (1 - p)) with p = k / n
    and t from Student's distribution with m - 1 degrees of freedom. Its coverage is correct for few
    shards too, unlike that of percentile intervals.

    Parameters
    ----------
    k, n : (shards,) int array
        ``k[i]`` of the ``n[i]`` rows of a shard have the property. The order of shards does not
        matter; shards without rows are ignored.
    level : float
        Coverage, between 0 and 1.
    n_resamples : int
        At least 2.
    seed : int

    Returns
    -------
    lo, hi : float
        Proportions in [0, 1]. (0, 1) if fewer than two shards have rows, because the variation
        between shards is then unknown. Wilson's interval if the proportion is equal in all shards,
        including when no row or every row has the property.

    Raises
    ------
    OptionError
        If lengths differ, a count is impossible, or an option is out of range.

    References
    ----------
    Efron, B., Tibshirani, R. J. (1993). An introduction to the bootstrap, sections 6.2 (the
    standard error) and 12.2 (Student's t). The correction: Hesterberg, T. C. (2015). What teachers

    Examples
    --------
    >>> from laion_dask import stats
    >>> lo, hi = stats.shard_bootstrap([1, 2, 3], [10, 10, 10])
    >>> bool(lo <= 0.2 <= hi)
    True
    """
    z_of(level, "shard_bootstrap")
    check_integer("n_resamples", n_resamples, 2)
    check_integer("seed", seed, 0)
    if np.shape(k) != np.shape(n) or np.ndim(k) != 1:
        raise OptionError(
            f"shard_bootstrap was given k of shape {np.shape(k)} and n of {np.shape(n)}; expected "
            "one number per shard in each."
        )
    k, n = shares("shard_bootstrap", k, n)
    order = np.lexsort((k, n))
    order = order[n[order] > 0]
    k, n, m = k[order], n[order], len(order)
    if m < 2:
        return 0.0, 1.0
    if np.ptp(k / n) == 0:
        return wilson(k.sum(), n.sum(), level)
    drawn = _drawn_shares(k, n, n_resamples, seed)
    p = k.sum() / n.sum()
    half = _t(level, m - 1) * drawn.std(ddof=1) * np.sqrt(m / (m - 1)) / (p * (1 - p))
    odds = p / (1 - p)
    with np.errstate(over="ignore"):
        return float(1 / (1 + np.exp(half) / odds)), float(1 / (1 + np.exp(-half) / odds))


def _drawn_shares(k: np.ndarray, n: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Proportion of all rows in each resample, (n_resamples,); sums are exact below 2**53."""
    results, at = np.empty(n_resamples), 0
    source = _cached_draws if len(k) * n_resamples <= _CACHED else _draws
    for draws in source(len(k), n_resamples, seed):
        weights = draws.astype(np.float64)
        results[at : at + len(weights)] = (weights @ k) / (weights @ n)
        at += len(weights)
    return results


@lru_cache(maxsize=4)
def _cached_draws(shards: int, n_resamples: int, seed: int) -> tuple[np.ndarray, ...]:
    """As `_draws`, cached for the next group with rows in as many shards."""
    return tuple(_draws(shards, n_resamples, seed))


def _draws(shards: int, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The number of times each shard is drawn, in blocks of shape (resamples, shards)."""
    rng = np.random.default_rng(seed)
    step = max(1, min(256, _BLOCK // shards))
    for at in range(0, n_resamples, step):
        drawn = np.empty((min(step, n_resamples - at), shards), np.min_scalar_type(shards))
        for row in drawn:
            row[:] = np.bincount(rng.integers(0, shards, shards), minlength=shards)
        yield drawn


@lru_cache(maxsize=64)
def _t(level: float, df: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))
