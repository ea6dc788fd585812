"""Contingency tables of two groupings: rows in each group, and in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.aggregations.counts import MAX_CELLS, Counts, merge_counts
from laion_dask.aggregations.engine.base import Partition, ReportOptions
from laion_dask.aggregations.grouping.base import Grouping, Members, members
from laion_dask.errors import OptionError
from laion_dask.stats import two_proportions


@dataclass(frozen=True, eq=False)
class ContingencyTable:
    """Rows per group of two groupings, and per pair of groups.

    Attributes
    ----------
    n : int
        Rows that have a value in every column that the groupings read.
    undecided : int
        The other rows, which are not counted in any group.
    first, second : Counts
        Rows in each group.
    both : Counts
        Rows in each pair of a group of the first and a group of the second grouping.
    """

    n: int
    undecided: int
    first: Counts
    second: Counts
    both: Counts


def contingency_table(partition: Partition, one: Grouping, other: Grouping) -> ContingencyTable:
    """The contingency table of one partition."""
    is_known = known_rows(partition, one, other)
    first, second = (select_rows(members(partition, by), is_known) for by in (one, other))
    check_pairs(one, other, len(first.labels), len(second.labels))
    return ContingencyTable(
        int(is_known.sum()),
        int(len(is_known) - is_known.sum()),
        Counts((first.labels,), first.counts()),
        Counts((second.labels,), second.counts()),
        Counts((first.labels, second.labels), first.intersections(second)),
    )


def merge_tables(
    several: Sequence[ContingencyTable], one: Grouping, other: Grouping
) -> ContingencyTable:
    """The sum of several tables of the same two groupings."""
    first, second = (
        merge_counts([c.first for c in several]),
        merge_counts([c.second for c in several]),
    )
    check_pairs(one, other, len(first.labels[0]), len(second.labels[0]))
    n, undecided = sum(c.n for c in several), sum(c.undecided for c in several)
    return ContingencyTable(n, undecided, first, second, merge_counts([c.both for c in several]))


def check_pairs(one: Grouping, other: Grouping, n_one: int, n_other: int) -> None:
    """Raise if two groupings have more pairs of groups than fit in memory.

    Raises
    ------
    OptionError
        If there are more than `MAX_CELLS` pairs.
    """
    if n_one * n_other > MAX_CELLS:
        raise OptionError(
            f"{one.axis!r} with {n_one:,} groups and {other.axis!r} with {n_other:,} make more "
            f"than {MAX_CELLS:,} pairs. Use a coarser grouping for one of them."
        )


def select_rows(memberships: Members, mask: np.ndarray) -> Members:
    """The memberships of the rows selected by a mask of shape (n_rows,)."""
    if mask.all():
        return memberships
    kept = mask[memberships.rows]
    return Members(
        memberships.labels, memberships.rows[kept], memberships.codes[kept], memberships.n_rows
    )


def known_rows(partition: Partition, one: Grouping, other: Grouping) -> np.ndarray:
    """Mask of rows with a value in all columns that two groupings read, (n,) bool."""
    return partition.memo(_known_mask, tuple(dict.fromkeys((*one.reads, *other.reads))))


def _known_mask(partition: Partition, columns: tuple[str, ...]) -> np.ndarray:
    mask = np.ones(len(partition), bool)
    for name in columns:
        valid: pa.ChunkedArray = pc.is_valid(partition.table[name])
        mask &= valid.to_numpy()
    return mask


def pairs_to_rows(contingency: ContingencyTable, options: ReportOptions) -> pd.DataFrame:
    """All pairs of groups of the first and the second grouping, the largest first.

    Returns
    -------
    pandas.DataFrame
        ``first`` and ``second``, the labels; ``n_first``, ``n_second``, ``n_rows``; ``n``, the
        smaller of the first two, which the result is based on; ``k`` rows in both, and ``expected``
        under independence; ``p`` of independence, if ``n`` is at least ``min_n``.
    """
    firsts, seconds = by_size(contingency.first), by_size(contingency.second)
    a = np.repeat(contingency.first.ordered(firsts), len(seconds))
    b = np.tile(contingency.second.ordered(seconds), len(firsts))
    k, n = contingency.both.ordered(firsts, seconds).ravel(), np.minimum(a, b)
    expected, p = np.full((2, len(n)), np.nan)
    shown = n >= max(1, options.min_n)
    expected[shown] = a[shown] / contingency.n * b[shown]
    remaining = (b[shown] - k[shown], contingency.n - a[shown])
    p[shown] = two_proportions(k[shown], a[shown], *remaining)
    return pd.DataFrame(
        {
            "first": np.array(firsts, object).repeat(len(seconds)),
            "second": np.tile(np.array(seconds, object), len(firsts)),
            "n": n,
            "k": k,
            "expected": expected,
            "p": p,
            "n_first": a,
            "n_second": b,
            "n_rows": np.int64(contingency.n),
            "undecided": np.int64(contingency.undecided),
        }
    )


def by_size(groups: Counts) -> list:
    """The labels in order of descending count, then alphabetically."""
    size = dict(zip(groups.labels[0], groups.values.tolist(), strict=True))
    return sorted(size, key=lambda label: (-size[label], label))
