"""Intersections of the groups of two axes: observed over expected counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Self

import numpy as np
import pandas as pd

from laion_dask.aggregations.contingency import (
    ContingencyTable,
    contingency_table,
    merge_tables,
    pairs_to_rows,
)
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.grouping.base import Grouping, grouping
from laion_dask.cost import Cost
from laion_dask.errors import OptionError
from laion_dask.stats import benjamini_hochberg
from laion_dask.stats.joint import observed_over_expected

_METHOD = "observed / expected: log, delta method; p: Fisher or z; q: Benjamini-Hochberg"


@dataclass(frozen=True)
class Intersections(Statistic):
    """See `intersections`."""

    axes: tuple[Grouping, ...]
    name = "intersections"
    section_position = 6
    method = (
        "Observed captions that mention both, divided by the number expected if the two mentions "
        "were independent (interval: log of the observed share, delta method). A word in both "
        "lists, such as girl, associates the two by definition.",
    )

    @property
    def cost(self) -> Cost:
        """Cost of one row; see `laion_dask.cost`."""
        return Cost(("statistic intersections",) * max(1, len(self.pairs)))

    @property
    def pairs(self) -> list[tuple[Grouping, Grouping]]:
        """All pairs of axes, in order."""
        return list(combinations(self.axes, 2))

    def bind(self, column_types: Mapping[str, str]) -> Self:
        return replace(self, axes=tuple(axis.bind(column_types) for axis in self.axes))

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for axis in self.axes for name in axis.reads))

    def chunk(self, partition: Partition) -> tuple[ContingencyTable, ...]:
        return tuple(contingency_table(partition, one, other) for one, other in self.pairs)

    def combine(
        self, states: Sequence[tuple[ContingencyTable, ...]]
    ) -> tuple[ContingencyTable, ...]:
        each = zip(*states, strict=True)
        return tuple(merge_tables(s, *pair) for s, pair in zip(each, self.pairs, strict=True))

    def finalize(self, state: tuple[ContingencyTable, ...], options: ReportOptions) -> pd.DataFrame:
        each = zip(state, self.pairs, strict=True)
        return pd.concat(
            [_to_rows(contingency, *pair, options) for contingency, pair in each], ignore_index=True
        )


def intersections(*groupings: str | Grouping) -> Intersections:
    """Rows in groups of two axes at once, relative to the number expected by chance.

    Computed for all pairs of axes, and all pairs of their groups. A row with a null in a column
    that either axis reads is undecided, and counted neither inside nor outside a group.

    Parameters
    ----------
    *groupings : str or Grouping
        Two or more: column names, or groupings such as ``ld.terms("gender")``.

    Returns
    -------
    Intersections
        For `laion_dask.statistics`. Its rows, for group ``group`` of ``axis`` and ``group_2`` of
        ``axis_2``:

        ``k``, ``expected``
            Rows in both groups, and their expected number under independence,
            n_group n_group_2 / n_rows.
        ``value``, ``lo``, ``hi``
            k / expected with its log interval; see
            `laion_dask.stats.joint.observed_over_expected`. 1 is independence.
        ``p``, ``q``
            ``p`` tests independence, two-sided (`laion_dask.stats.two_proportions`); ``q`` is p
            adjusted for all pairs of groups of the two axes that are shown.
        ``n``
            The rows of the smaller of the two groups, which the result is based on; compared with
            ``min_n``.
        ``n_group``, ``n_group_2``, ``n_rows``, ``undecided``
            Rows in each of the groups, all decided rows, and undecided rows.

        A term in two lists associates its groups by definition: "grandmother" names a gender and an
        age. Intervals and p assume independent rows; rows of one shard may not be.

    Raises
    ------
    OptionError
        If fewer than two groupings are given, or one is given twice.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> both = ld.intersections(ld.terms("gender"), ld.terms("age"))
    >>> set(ld.statistics(frame, both, min_n=0)["statistic"])
    {'intersections'}
    """
    axes = tuple(grouping(one) for one in groupings)
    if len(axes) < 2 or len(set(axes)) < len(axes):
        raise OptionError(
            f"intersections was given {len(axes)} groupings, {len(set(axes))} of them different. "
            "Expected at least two different ones, such as 'language' and ld.terms('gender')."
        )
    return Intersections(axes)


def _to_rows(
    contingency: ContingencyTable, one: Grouping, other: Grouping, options: ReportOptions
) -> pd.DataFrame:
    pairs = pairs_to_rows(contingency, options)
    counts = pairs[["k", "n_first", "n_second", "n_rows"]].to_numpy(np.int64)
    k, first, second, n_rows = counts.T
    value, lo, hi = observed_over_expected(k, first, second, n_rows, options.level)
    shown = (pairs["n"] >= options.min_n).to_numpy()
    q = np.full(len(pairs), np.nan)
    q[shown] = benjamini_hochberg(pairs["p"].to_numpy()[shown])
    return pd.DataFrame(
        {
            "axis": one.axis,
            "group": pairs["first"],
            "axis_2": other.axis,
            "group_2": pairs["second"],
            "n": pairs["n"],
            "k": pairs["k"],
            "expected": pairs["expected"],
            "value": value,
            "lo": lo,
            "hi": hi,
            "p": pairs["p"],
            "q": q,
            "n_group": pairs["n_first"],
            "n_group_2": pairs["n_second"],
            "n_rows": pairs["n_rows"],
            "undecided": pairs["undecided"],
            "method": _METHOD,
        }
    )
