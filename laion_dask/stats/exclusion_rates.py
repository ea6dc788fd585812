"""Exclusion by a filter: the share of each group that it removes, compared with all rows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from laion_dask.reserved_labels import AMPLIFIED
from laion_dask.stats.exclusion_inputs import (
    GroupNames,
    GroupRows,
    expected_shares,
    group_counts,
    totals,
)
from laion_dask.stats.intervals import risk_ratio, wilson
from laion_dask.stats.significance import benjamini_hochberg, two_proportions
from laion_dask.stats.table import Table, table

_Frame = TypeVar("_Frame", bound=pd.DataFrame)

#: Relative tolerance within which shares count as equal; they come from different divisions.
_EQUAL = 1e-12
#: The method of the intervals.
_METHOD = "Wilson; ratio: Katz log interval against the rest"


def exclusion(
    n_before: GroupRows,
    n_after: GroupRows,
    by: GroupNames = None,
    *,
    total: tuple[int, int] | None = None,
    reference: Mapping[Hashable, float] | None = None,
    level: float = 0.95,
) -> Table:
    """Exclusion rate of each group, E_g = 1 - kept / n, and its ratio to the rate of all rows.

    The ratio is E_g / E with E = 1 - kept / n of all rows. Its interval is derived from rho, the
    ratio to the rest of the rows, which compares two disjoint groups and hence has a log interval
    (`risk_ratio`). With w, the group's share of all rows, E_g / E = 1 / (w + (1 - w) / rho). This
    increases with rho, so the interval of rho maps to that of the ratio. The ratio exceeds 1 if and
    only if rho does.

    A group is under-represented before the filter if its share of the groups' rows is below its
    expected share: that of the reference, or an equal share (1 / number of groups) by default. The
    ``verdict`` column holds the conclusion for each group, see `verdicts`: a group only counts as
    excluded more or less if its difference from the rest is a discovery at a false discovery rate
    of 1 - level among the groups.

    Parameters
    ----------
    n_before, n_after : mapping or Series of group to int, or sequence of int
        Rows of each group before the filter, and rows kept. A group without kept rows may be
        missing from the second mapping.
    by : sequence of labels, or str
        Names of the groups, one per count. A str names the axis instead; the groups are then those
        of the mappings, or are numbered.
    total : (int, int), optional
        All rows before and after. Defaults to the sums over the groups, which is wrong if a row can
        be in several groups or in none.
    reference : mapping of group to number, optional
        Expected distribution of the groups; normalized to sum to 1. A group that only the reference
        names has no rows before; a group that it does not name has no expected share and is never
        amplified.
    level : float
        Coverage of the intervals, between 0 and 1.

    Returns
    -------
    Table
        One row per group, in the given order: ``axis, group, n`` (before), ``k`` (excluded),
        ``rate`` (E_g) with ``lo, hi`` (Wilson), ``kept``, ``overall`` (E), ``ratio, ratio_lo,
        ratio_hi``, ``p`` (test of two proportions, the group against the rest) and ``q`` (adjusted
        after Benjamini and Hochberg), ``share_before, share_after`` (of the groups' rows; a row
        counts once in each of its groups), ``share_expected``, ``under_represented``, ``verdict``.
        A group without rows before has a rate of NaN. The ratio is NaN if nothing was excluded at
        all, and 1 for a group that contains all rows.

    Raises
    ------
    OptionError
        If a count is invalid, more rows were kept than there were, or labels do not match.

    References
    ----------
    Hong, R., Agnew, W., Kohno, T., Morgenstern, J. (2024). Who's in and who's out? A case study of
    multimodal CLIP-filtering in DataComp. EAAMO.

    Examples
    --------
    >>> from laion_dask import stats
    >>> table = stats.exclusion({"a": 100, "b": 100}, {"a": 50, "b": 80})
    >>> list(table.columns)[:4]
    ['statistic', 'term', 'axis', 'group']
    """
    axis, counts = group_counts(n_before, n_after, by)
    expected = expected_shares(counts, reference)
    counts |= {label: (0, 0) for label in expected if label not in counts}
    rows_before, rows_after = totals(counts, total)
    n_all, k_all = rows_before, rows_before - rows_after
    n = np.array([count[0] for count in counts.values()], np.int64)
    kept = np.array([count[1] for count in counts.values()], np.int64)
    expected_share = np.array([expected.get(label, np.nan) for label in counts], float)
    before, after = _shares(n), _shares(kept)
    under = before < expected_share * (1 - _EQUAL)  # False if either is NaN
    columns = {
        "statistic": "exclusion",
        "axis": axis,
        "group": np.array([str(label) for label in counts], object),
        **excluded(n, kept, n_all, k_all, level),
        "p": two_proportions(n - kept, n, k_all - (n - kept), n_all - n),
        "share_before": before,
        "share_after": after,
        "share_expected": expected_share,
        "under_represented": under,
    }
    return corrected(table(pd.DataFrame(columns)), level)


def excluded(
    n: np.ndarray, kept: np.ndarray, n_all: int, k_all: int, level: float
) -> dict[str, np.ndarray | float | str]:
    """The columns of `exclusion` that apply to any subset of all rows."""
    k = n - kept
    lo, hi = wilson(k, n, level)
    ratio, ratio_lo, ratio_hi = _to_all(k, n, k_all, n_all, level)
    return {
        "n": n,
        "k": k,
        "rate": _divided(k, n),
        "lo": lo,
        "hi": hi,
        "kept": kept,
        "overall": k_all / n_all if n_all else float("nan"),
        "ratio": ratio,
        "ratio_lo": ratio_lo,
        "ratio_hi": ratio_hi,
        "method": _METHOD,
    }


def corrected(result: _Frame, level: float) -> _Frame:
    """The table with ``q`` and ``verdict`` computed over its groups; NaN means not tested."""
    attrs = result.attrs
    result = result.drop(columns=["q", "verdict"], errors="ignore")
    q = benjamini_hochberg(result["p"].to_numpy(float))
    result.insert(list(result.columns).index("p") + 1, "q", q)
    k, n, overall, under = (
        result[name].to_numpy() for name in ("k", "n", "overall", "under_represented")
    )
    position = list(result.columns).index("under_represented") + 1
    result.insert(position, "verdict", verdicts(k, n, overall, under, q, 1 - level))
    result.attrs = attrs
    return result


def verdicts(
    k: np.ndarray,
    n: np.ndarray,
    overall: np.ndarray,
    under_represented: np.ndarray,
    q: np.ndarray,
    rate: float,
) -> np.ndarray:
    """Conclusion for each group at a false discovery rate: a text, or None if not tested.

    ===================  =====================================================================
    text                 meaning
    ===================  =====================================================================
    ``amplified``        under-represented before, and excluded more than the rest: "exclusion
                         amplification" (Hong et al.)
    ``excluded more``    excluded more than the rest, and not under-represented before
    ``excluded less``    excluded less than the rest
    ``inconclusive``     q exceeds the rate: the difference may be due to chance
    ===================  =====================================================================
    """
    texts = np.where(k > overall * n, "excluded more", "excluded less").astype(object)
    texts[(k > overall * n) & under_represented.astype(bool)] = AMPLIFIED
    texts[q > rate] = "inconclusive"
    texts[np.isnan(q.astype(float))] = None
    return texts


def _to_all(
    k: np.ndarray, n: np.ndarray, k_all: int, n_all: int, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio of the rates of subsets to the rate of all rows, with its interval."""
    _, lo, hi = risk_ratio(k, n, k_all - k, n_all - n, level)
    group_share = _divided(n, np.full(len(n), n_all))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = _divided(k, n) / (k_all / n_all if n_all else np.nan)
        # Convert rho to the ratio to all rows, 1 / (share + (1 - share) / rho); 0 if rho is 0.
        lo, hi = (1 / (group_share + (1 - group_share) / np.asarray(rho)) for rho in (lo, hi))
    is_all_rows = (n == n_all) & (k_all > 0)  # the group contains all rows
    ratio, lo, hi = (np.where(is_all_rows, 1.0, bound) for bound in (ratio, lo, hi))
    unknown = (n == 0) | (k_all == 0)
    lo, hi = np.where(unknown, 0.0, lo), np.where(unknown, np.inf, hi)
    # The two divisions round differently.
    return np.where(unknown, np.nan, ratio), np.fmin(lo, ratio), np.fmax(hi, ratio)


def _divided(dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Divide; 0 / 0 is NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(divisor == 0, np.nan, dividend / divisor)


def _shares(n: np.ndarray) -> np.ndarray:
    return _divided(n, np.full(len(n), n.sum()))
