"""Two overlapping subsets of one data set, counted by group in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from laion_dask.aggregations.counts import ALL, NONE, Tally, merge_tallies, tally
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.exclusion import ExclusionCounts
from laion_dask.aggregations.grouping.base import Grouping
from laion_dask.cost import Cost
from laion_dask.reserved_labels import group_label
from laion_dask.stats.exclusion_inputs import distribution
from laion_dask.stats.overlap import overlap_difference, overlap_test
from laion_dask.stats.significance import benjamini_hochberg

#: Values of a column of marks: outside a subset, undecided, inside.
_MARKS, _UNDECIDED, _INSIDE = 3, 1, 2
_METHOD = "MOVER; p: Fisher or z, of the rows that only one has; q: Benjamini-Hochberg"


@dataclass(frozen=True)
class Overlap(Statistic):
    """Rows of each group in each of two subsets, which two columns of marks identify."""

    one: str
    other: str
    by: tuple[Grouping, ...]
    reference: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    name = "comparison"
    method = (
        "The share of each group in two overlapping subsets. The interval of the difference "
        "combines those of the rows in only one subset and of the rows in both (Zou, Huang and "
        "Zhang 2009); p is from Fisher's exact test of the rows in only one subset (Gart 1969).",
    )

    @property
    def cost(self) -> Cost:
        """Cost of one row; see `laion_dask.cost`."""
        return Cost(("statistic rates",) * max(1, len(self.by)))

    def bind(self, column_types: Mapping[str, str]) -> Self:
        return replace(self, by=tuple(axis.bind(column_types) for axis in self.by))

    @property
    def reads(self) -> tuple[str, ...]:
        names = [name for axis in self.by for name in axis.reads]
        return tuple(dict.fromkeys([self.one, self.other, *names]))

    def chunk(self, partition: Partition) -> tuple[Tally, ...]:
        one, other = (
            partition.table[n].to_numpy().astype(np.int64) for n in (self.one, self.other)
        )
        return tuple(tally(partition, axis, one * _MARKS + other, _MARKS**2) for axis in self.by)

    def combine(self, states: Sequence[tuple[Tally, ...]]) -> tuple[Tally, ...]:
        by_axis = zip(*states, strict=True)
        return tuple(
            merge_tallies(tallies, axis) for tallies, axis in zip(by_axis, self.by, strict=True)
        )

    def finalize(self, state: tuple[Tally, ...], options: ReportOptions) -> pd.DataFrame:
        references = dict(self.reference)
        parts = [
            _to_rows(group_tally, axis, references.get(axis.axis), options)
            for group_tally, axis in zip(state, self.by, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)


def by_marks(group_tally: Tally) -> dict[tuple, np.ndarray]:
    """Rows of each label by their marks for the first and the second subset, (3, 3) int64."""
    counts = group_tally.groups.values.reshape(-1, _MARKS, _MARKS)
    return dict(zip(group_tally.groups.labels[0], counts, strict=True))


def inside_and_undecided(everyone: np.ndarray, side: int) -> tuple[int, int]:
    """Numbers of rows that are in a subset, and that its filter cannot decide."""
    counts = everyone.sum(axis=1 - side)
    return int(counts[_INSIDE]), int(counts[_UNDECIDED])


def sizes(everyone: np.ndarray) -> tuple[int, int, int]:
    """Numbers of rows in the first subset, in the second, and in both."""
    first, second = (inside_and_undecided(everyone, side)[0] for side in (0, 1))
    return first, second, int(everyone[_INSIDE, _INSIDE])


def as_filter_counts(state: Sequence[Tally]) -> ExclusionCounts:
    """Counts of a filter, for a second subset that is contained in the first."""

    def kept(counts: np.ndarray) -> tuple[int, int, int]:
        rows, left, undecided = counts[_INSIDE].sum(), *counts[_INSIDE, [_INSIDE, _UNDECIDED]]
        return int(rows), int(left), int(undecided)

    results = [
        {label: kept(n) for label, n in by_marks(group_tally).items()} for group_tally in state
    ]
    groups = tuple(
        {label[1]: n for label, n in by_label.items() if label not in (ALL, NONE)}
        for by_label in results
    )
    return ExclusionCounts(results[0][ALL], groups, tuple(by_label[NONE] for by_label in results))


def _to_rows(group_tally: Tally, axis: Grouping, reference, options: ReportOptions) -> pd.DataFrame:
    """All rows, the groups in order of their rows in either subset, and the rows in no group."""
    cells = by_marks(group_tally)
    counts = {label: _parts(marks) for label, marks in cells.items()}
    named = {ALL, NONE, *((1, label) for label in axis.labels)}
    present = (label for label in counts if label in named or any(counts[label]))
    order = sorted(present, key=lambda label: (label[0], -sum(counts[label]), label))
    first, both, second = (np.array([counts[label][i] for label in order]) for i in range(3))
    n_first, n_both, n_second = (int(part_counts[0]) for part_counts in (first, both, second))
    three = ((first, n_first), (both, n_both), (second, n_second))
    value, lo, hi = overlap_difference(*three, options.level)
    p = overlap_test(*three)
    n, is_group = first + both + second, np.array([label != ALL for label in order])
    p = np.where(is_group & (n >= options.min_n), p, np.nan)
    texts, expected = (
        {ALL: "(all)", NONE: axis.no_group},
        distribution(dict(reference or [("", 1)])),
    )
    labels = [texts.get(label) or group_label(label[1]) for label in order]
    q = benjamini_hochberg(p)
    return pd.DataFrame(
        {
            "axis": axis.axis,
            "group": np.array(labels, object),
            "n": n,
            "n_before": first + both,
            "n_after": both + second,
            "n_both": both,
            "share_before": _over(first + both, n_first + n_both),
            "share_after": _over(both + second, n_both + n_second),
            "share_expected": [expected.get(label[1], np.nan) for label in order],
            "value": np.where(is_group, value, np.nan),
            "lo": np.where(is_group, lo, np.nan),
            "hi": np.where(is_group, hi, np.nan),
            "p": p,
            "q": q,
            "verdict": _verdicts(
                value, _over(second, n_second) - _over(first, n_first), q, options
            ),
            "undecided": [int(_undecided(cells[label])) for label in order],
            "method": _METHOD,
        }
    )


def _parts(marks: np.ndarray) -> tuple[int, int, int]:
    """Numbers of rows only in the first subset, in both, and only in the second."""
    first, second, both = sizes(marks)
    return first - both, both, second - both


def _undecided(marks: np.ndarray) -> int:
    """Number of rows that one of the two filters cannot decide, and that its subset lacks."""
    return marks[_UNDECIDED].sum() + marks[:, _UNDECIDED].sum() - marks[_UNDECIDED, _UNDECIDED]


def _verdicts(difference, of_discordant, q, options: ReportOptions) -> np.ndarray:
    """Conclusion for each group; None if it was not tested."""
    texts = np.where(difference > 0, "larger share after", "smaller share after").astype(object)
    is_opposite = np.nan_to_num(difference * of_discordant) < 0
    texts[(q > 1 - options.level) | is_opposite] = "inconclusive"
    texts[np.isnan(q)] = None
    return texts


def _over(k: np.ndarray, n: int) -> np.ndarray:
    return k / n if n else np.full(len(k), np.nan)
