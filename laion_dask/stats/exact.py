"""Fisher's exact test for many 2 x 2 tables at once."""

from __future__ import annotations

import numpy as np

#: Tables times terms summed at a time: half a megabyte, which fits in a core's cache.
_BLOCK = 1 << 16
#: Probabilities within this relative distance count as equal, as in R's fisher.test.
_TIES = 1e-7
#: Terms smaller than exp(-depth) times the largest are dropped; the second depth is the range of
#: float64.
_DEPTHS = (46.0, 700.0)
#: Sums below this are inaccurate at the first depth and are recomputed at the second.
_SMALL = 1e-9


def fisher(k1: np.ndarray, n1: np.ndarray, k2: np.ndarray, n2: np.ndarray) -> np.ndarray:
    """Two-sided p-value of Fisher's exact test for each table, in [0, 1].

    The sum of the hypergeometric probabilities of all tables with the same margins that are at most
    as probable as the observed one. Probabilities are computed from ratios of neighbors, not from
    differences of log factorials, so they are as accurate for billions of rows as for ten. The cost
    of a table grows with the square root of its smallest expected count.

    Parameters
    ----------
    k1, n1, k2, n2 : (m,) float64 arrays
        Whole numbers: ``k1`` of ``n1`` in the first group have the property, ``k2`` of ``n2`` in
        the second. No group is empty.

    Returns
    -------
    (m,) float64 array
        Relative error at most 1e-7; 0 for p below 1e-300.

    References
    ----------
    Fisher, R. A. (1935). The logic of inductive inference. Journal of the Royal Statistical
    Society 98, 39-54. The two-sided p-value and the tolerance for ties follow R's fisher.test.
    """
    count, draws, marked, others = _smallest_cell(k1, n1, k2, n2)
    p = np.ones(len(count))
    todo = np.arange(len(count))
    for depth in _DEPTHS:
        p[todo] = _p_values(count[todo], draws[todo], marked[todo], others[todo], depth)
        todo = todo[p[todo] < _SMALL]
    return p


def _smallest_cell(
    k1: np.ndarray, n1: np.ndarray, k2: np.ndarray, n2: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Describe each table by the cell with the smallest expected count.

    Returns
    -------
    count, draws, marked, others : (m,) float64 arrays
        ``count`` of ``draws`` rows without replacement are among the ``marked`` rows of
        ``marked + others``.
    """
    k, other = k1 + k2, n1 + n2 - k1 - k2
    is_first, is_rare = n1 <= n2, k <= other
    draws, hits = np.where(is_first, n1, n2), np.where(is_first, k1, k2)
    return np.where(is_rare, hits, draws - hits), draws, np.minimum(k, other), np.maximum(k, other)


def _p_values(
    count: np.ndarray, draws: np.ndarray, marked: np.ndarray, others: np.ndarray, depth: float
) -> np.ndarray:
    """p-value of each table from the terms down to a depth; 0 if the table itself is below it."""
    mode = np.floor((draws + 1) * (marked + 1) / (marked + others + 2))
    # Bernstein's and Chernoff's bounds; the hypergeometric is no wider than the Poisson
    # (Hoeffding, W. (1963). Probability inequalities for sums of bounded random variables. JASA).
    above = depth / 3 + np.sqrt(depth**2 / 9 + 2 * depth * (mode + 1)) + 1
    above = np.ceil(np.minimum(above, np.minimum(draws, marked) - mode))
    below = np.ceil(np.minimum(np.sqrt(2 * depth * (mode + 1)) + 1, mode))
    p, order = np.empty(len(count)), np.argsort(above, kind="stable")
    at = 0
    while at < len(order):
        # As many tables as fit in a block; the first ones have the fewest terms.
        chunk = order[at : at + max(1, int(_BLOCK / (above[order[at]] + below[order[at]] + 8)))]
        width = int(above[chunk].max()) + int(below[chunk].max()) + 1
        chunk = chunk[: max(1, _BLOCK // width)]
        p[chunk] = _block(*(v[chunk] for v in (count, draws, marked, others, mode, above, below)))
        at += len(chunk)
    return p


def _block(
    count: np.ndarray,
    draws: np.ndarray,
    marked: np.ndarray,
    others: np.ndarray,
    mode: np.ndarray,
    above: np.ndarray,
    below: np.ndarray,
) -> np.ndarray:
    draws, marked, spare = draws[:, None], marked[:, None], (others - draws)[:, None]
    with np.errstate(under="ignore"):
        x = mode[:, None] + np.arange(above.max())
        up = (marked - x) * (draws - x) / ((x + 1) * (spare + x + 1))
        up = np.cumprod(np.maximum(up, 0), axis=1)
        x = mode[:, None] - np.arange(below.max())
        down = x * (spare + x) / ((marked - x + 1) * (draws - x + 1))
        down = np.cumprod(np.maximum(down, 0), axis=1)
    terms = np.concatenate([down[:, ::-1], np.ones((len(mode), 1)), up], axis=1)
    position = count - mode + below.max()
    inside = (position >= 0) & (position < terms.shape[1])
    observed = terms[np.arange(len(mode)), np.where(inside, position, 0).astype(np.int64)]
    observed = np.where(inside, observed, 0.0)
    rarer = terms <= observed[:, None] * (1 + _TIES)
    p: np.ndarray = (terms * rarer).sum(axis=1) / terms.sum(axis=1)
    return p.clip(max=1.0)
