"""Contingency tables of two groupings: rows in each group, and in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.aggregations.counts import MOST_CELLS, Counts, merge_counts
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
    known = known_rows(partition, one, other)
    first, second = (among(members(partition, by), known) for by in (one, other))
    check_pairs(one, other, len(first.labels), len(second.labels))
    return ContingencyTable(
        int(known.sum()),
        int(len(known) - known.sum()),
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
        If there are more than `MOST_CELLS` pairs.
    """
    if n_one * n_other > MOST_CELLS:
        raise OptionError(
            f"{one.axis!r} with {n_one:,} groups and {other.axis!r} with {n_other:,} make more "
            f"than {MOST_CELLS:,} pairs. Group one of them by something coarser."
        )


def among(found: Members, rows: np.ndarray) -> Members:
    """The memberships of the rows selected by a mask of shape (n_rows,)."""
    if rows.all():
        return found
    kept = rows[found.rows]
    return Members(found.labels, found.rows[kept], found.codes[kept], found.n_rows)


def known_rows(partition: Partition, one: Grouping, other: Grouping) -> np.ndarray:
    """Mask of rows with a value in all columns that two groupings read, (n,) bool."""
    return partition.memo(_known, tuple(dict.fromkeys((*one.reads, *other.reads))))


def _known(partition: Partition, columns: tuple[str, ...]) -> np.ndarray:
    known = np.ones(len(partition), bool)
    for name in columns:
        valid: pa.ChunkedArray = pc.is_valid(partition.table[name])
        known &= valid.to_numpy()
    return known


def pairs_to_rows(found: ContingencyTable, options: ReportOptions) -> pd.DataFrame:
    """All pairs of groups of the first and the second grouping, the largest first.

    Returns
    -------
    pandas.DataFrame
        ``first`` and ``second``, the labels; ``n_first``, ``n_second``, ``n_rows``; ``n``, the
        smaller of the first two, which the result is based on; ``k`` rows in both, and ``expected``
        under independence; ``p`` of independence, if ``n`` is at least ``min_n``.
    """
    ones, others = by_size(found.first), by_size(found.second)
    a = np.repeat(found.first.ordered(ones), len(others))
    b = np.tile(found.second.ordered(others), len(ones))
    k, n = found.both.ordered(ones, others).ravel(), np.minimum(a, b)
    expected, p = np.full((2, len(n)), np.nan)
    shown = n >= max(1, options.min_n)
    expected[shown] = a[shown] / found.n * b[shown]
    rest = (b[shown] - k[shown], found.n - a[shown])
    p[shown] = two_proportions(k[shown], a[shown], *rest)
    return pd.DataFrame(
        {
            "first": np.array(ones, object).repeat(len(others)),
            "second": np.tile(np.array(others, object), len(ones)),
            "n": n,
            "k": k,
            "expected": expected,
            "p": p,
            "n_first": a,
            "n_second": b,
            "n_rows": np.int64(found.n),
            "undecided": np.int64(found.undecided),
        }
    )


def by_size(groups: Counts) -> list:
    """The labels in order of descending count, then alphabetically."""
    size = dict(zip(groups.labels[0], groups.values.tolist(), strict=True))
    return sorted(size, key=lambda label: (-size[label], label))
