"""Exclusion by a filter, counted in one pass: the rows of each group, and the rows kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.grouping.base import (
    MAX_GROUPS,
    Grouping,
    axes,
    members,
    too_many_groups,
)
from laion_dask.cost import Cost
from laion_dask.errors import OptionError
from laion_dask.predicate import Predicate, parse
from laion_dask.reserved_labels import group_label
from laion_dask.stats.exclusion_rates import corrected, excluded, exclusion
from laion_dask.stats.significance import two_proportions

#: Number of rows, of rows kept, and of rows that the filter could not decide.
Count = tuple[int, int, int]
_NONE: Count = (0, 0, 0)
_OF_GROUPS = ("share_before", "share_after", "share_expected")


@dataclass(frozen=True)
class ExclusionCounts:
    """Counts for all rows, and on each axis for every group and for the rows in no group.

    ``has_undecided`` is False if rows were counted separately before and after a filter, which
    does not show which rows the filter could not decide.
    """

    everyone: Count
    groups: tuple[dict[str, Count], ...]
    none: tuple[Count, ...]
    has_undecided: bool = True


@dataclass(frozen=True)
class Exclusion(Statistic):
    """See `excluded_by`. Without a filter, rows are counted and none is kept."""

    where: str | Predicate | None
    by: tuple[Grouping, ...]
    reference: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    name = "exclusion"
    method = (
        "E_g = 1 - kept / n for each group, after Hong et al. (2024); its verdict is "
        "amplified if it was under-represented before and is excluded more than the rest, at a "
        "false discovery rate of 1 - level.",
    )

    @property
    def cost(self) -> Cost:
        """Cost of one row; see `laion_dask.cost`."""
        return Cost(("statistic rates",) * max(1, len(self.by)))

    def bind(self, column_types: Mapping[str, str]) -> Self:
        where = parse(self.where, column_types) if isinstance(self.where, str) else self.where
        return replace(self, where=where, by=tuple(axis.bind(column_types) for axis in self.by))

    @property
    def reads(self) -> tuple[str, ...]:
        names = [name for axis in self.by for name in axis.reads]
        return tuple(dict.fromkeys([*names, *(self._bound.columns if self._bound else ())]))

    @property
    def _bound(self) -> Predicate | None:
        """The filter of a bound statistic."""
        assert not isinstance(self.where, str), "not bound"
        return self.where

    def chunk(self, partition: Partition) -> ExclusionCounts:
        kept, unscored = np.zeros(len(partition), bool), np.zeros(len(partition), bool)
        if self._bound is not None:
            kept, known = partition.evaluate(self._bound)
            unscored = ~known
        groups, none = [], []
        for axis in self.by:
            memberships = members(partition, axis)
            counts = (memberships.counts(), memberships.counts(kept), memberships.counts(unscored))
            by_label = zip(*(count.tolist() for count in counts), strict=True)
            groups.append(dict(zip(memberships.labels, by_label, strict=True)))
            none.append(_count(~memberships.in_any(), kept, unscored))
        everyone = _count(np.ones(len(partition), bool), kept, unscored)
        return ExclusionCounts(everyone, tuple(groups), tuple(none))

    def combine(self, states: Sequence[ExclusionCounts]) -> ExclusionCounts:
        groups = []
        by_axis = zip(*(state.groups for state in states), strict=True)
        for axis, axis_counts in zip(self.by, by_axis, strict=True):
            merged: dict[str, Count] = {}
            for counts in axis_counts:
                for label, count in counts.items():
                    merged[label] = _sum((merged.get(label, _NONE), count))
            if len(merged) > MAX_GROUPS:
                raise too_many_groups(axis.axis, len(merged))
            groups.append(merged)
        none = tuple(map(_sum, zip(*(state.none for state in states), strict=True)))
        return ExclusionCounts(_sum(state.everyone for state in states), tuple(groups), none)

    def finalize(self, state: ExclusionCounts, options: ReportOptions) -> pd.DataFrame:
        by_axis = dict(self.reference)
        results = []
        for axis, groups, none in zip(self.by, state.groups, state.none, strict=True):
            reference = dict(by_axis[axis.axis]) if axis.axis in by_axis else None
            counts = _with_named_groups(groups, (*axis.labels, *(reference or ())))
            results.append(_axis_rows(axis, counts, none, state.everyone, reference, options))
        combined = pd.concat(results, ignore_index=True)
        return combined if state.has_undecided else combined.drop(columns="undecided")


def excluded_by(
    where: str,
    by: str | Grouping | Sequence[str | Grouping],
    *,
    reference: Mapping | None = None,
) -> Exclusion:
    """The groups that a filter would exclude, as a statistic that shares its pass with others.

    Its rows and parameters are those of `audit`.
    """
    return Exclusion(where, axes(by), references(by, reference))


def references(by, reference: Mapping | None) -> tuple:
    """The reference distribution of each axis that has one, in hashable form.

    Raises
    ------
    OptionError
        If the reference is not a distribution, or names an unknown axis.
    """
    if reference is None:
        return ()
    names = [axis.axis for axis in axes(by)]
    if isinstance(reference, pd.Series):
        reference = dict(reference.items())
    if not isinstance(reference, Mapping):
        raise OptionError(
            f"reference is {reference!r}. Expected a share per group, such as "
            "{'women': 0.5, 'men': 0.5}; for several axes, a mapping from axis to such shares."
        )
    by_axis = all(isinstance(value, Mapping) for value in reference.values()) and reference
    if not by_axis and len(names) > 1:
        raise OptionError(
            f"There are {len(names)} axes but only one reference. Name the axis of each: "
            f"{{{names[0]!r}: {{...}}}}."
        )
    by_name = dict(reference) if by_axis else {names[0]: reference}
    wrong = next((name for name in by_name if name not in names), None)
    if wrong is not None:
        raise OptionError(f"reference names {wrong!r}, which is not one of the axes {names}.")
    return tuple(
        (name, tuple((str(label), weight) for label, weight in shares.items()))
        for name, shares in by_name.items()
    )


def with_kept(before: ExclusionCounts, after: ExclusionCounts) -> ExclusionCounts:
    """Combine the row counts of two frames, before and after, into counts of rows and rows kept."""

    def kept(n: Count, m: Count) -> Count:
        return (n[0], m[0], 0)

    groups = tuple(
        {
            label: kept(n_before.get(label, _NONE), n_after.get(label, _NONE))
            for label in {**n_before, **n_after}
        }
        for n_before, n_after in zip(before.groups, after.groups, strict=True)
    )
    none = tuple(map(kept, before.none, after.none))
    everyone = kept(before.everyone, after.everyone)
    return ExclusionCounts(everyone, groups, none, has_undecided=False)


def _with_named_groups(counts: Mapping[str, Count], named: Iterable[str]) -> dict[str, Count]:
    """The counts of the groups that are named, even without rows, and of all others with rows.

    Expected shares depend on the groups, so these must not depend on how the rows were counted.
    """
    present = (label for label, count in counts.items() if count[0])
    return {label: counts.get(label, _NONE) for label in (*named, *present)}


def _axis_rows(
    axis: Grouping, groups, none: Count, everyone: Count, reference, options: ReportOptions
):
    """The results for one axis: all rows, groups by size, rows in no group."""
    order = sorted(groups, key=lambda label: (-groups[label][0], label))
    n_all, kept_all, _ = everyone
    k_all = n_all - kept_all
    result = exclusion(
        {label: groups[label][0] for label in order},
        {label: groups[label][1] for label in order},
        axis.axis,
        total=(n_all, kept_all),
        reference=reference,
        level=options.level,
    )
    result["undecided"] = [groups.get(label, _NONE)[2] for label in order]
    result["group"] = [group_label(label) for label in order]
    n, kept = np.array([everyone, none])[:, :2].T
    outer = pd.DataFrame(
        {
            "axis": axis.axis,
            "group": ["(all)", axis.no_group],
            **excluded(n, kept, n_all, k_all, options.level),
            # Rows in no group are compared with the rest, as in `rates`; all rows are not compared.
            "p": [float("nan"), two_proportions(*_versus_others(none, everyone))],
            **dict.fromkeys(_OF_GROUPS, float("nan")),
            "under_represented": False,
            "undecided": [everyone[2], none[2]],
        }
    )
    combined = pd.concat([outer[:1], result, outer[1:]], ignore_index=True)
    combined["p"] = combined["p"].where(combined["n"] >= options.min_n)
    columns = [name for name in result if name != "statistic"]  # the engine adds it
    return corrected(combined, options.level)[columns]


def _versus_others(subset: Count, everyone: Count) -> tuple[int, int, int, int]:
    """Rows excluded and rows in total, for a subset and for the other rows."""
    (n, kept, _), (n_all, kept_all, _) = subset, everyone
    return n - kept, n, n_all - kept_all - (n - kept), n_all - n


def _count(rows: np.ndarray, kept: np.ndarray, unscored: np.ndarray) -> Count:
    n, n_kept, n_unscored = map(np.count_nonzero, (rows, rows & kept, rows & unscored))
    return int(n), int(n_kept), int(n_unscored)


def _sum(counts: Iterable[Count]) -> Count:
    n, kept, unscored = map(sum, zip(*counts, strict=True))
    return n, kept, unscored
