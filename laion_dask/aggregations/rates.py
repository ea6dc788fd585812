"""The share of rows for which an expression is true, by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from laion_dask.aggregations.counts import (
    ALL,
    NONE,
    OTHERS,
    Tally,
    merge_tallies,
    pool_groups,
    tally,
)
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.engine.reduction import Factory
from laion_dask.aggregations.grouping.base import Grouping, axes
from laion_dask.cost import Cost
from laion_dask.errors import must_be
from laion_dask.predicate import Predicate, parse
from laion_dask.reserved_labels import group_label
from laion_dask.stats import (
    benjamini_hochberg,
    risk_difference,
    risk_ratio,
    shard_bootstrap,
    two_proportions,
    wilson,
)
from laion_dask.stats.checks import check_integer

#: Outcomes of a row: the expression is undecided, false or true.
_OUTCOMES = 3
#: Minimum number of shards whose variation can be estimated.
MIN_SHARDS = 2
_COMPARED = (
    "ratio", "ratio_lo", "ratio_hi", "difference", "difference_lo", "difference_hi", "p", "q",
)  # fmt: skip
_SHARE = "Wilson; boot: whole shards"
_METHOD = f"{_SHARE}; ratio: Katz; difference: Newcombe; p: Fisher or z; q: Benjamini-Hochberg"


@dataclass(frozen=True)
class Rates(Statistic):
    """See `rates`."""

    where: str | None
    by: tuple[Grouping | None, ...]
    predicate: Predicate | None = None
    by_shard: bool = False
    top: int | None = None
    name = "rates"
    section_position = 3
    method = (
        "A rate is k / n, where n is the number of rows for which the expression can be decided. "
        "Its interval is Wilson's (1927): (p + z2 / 2n ± z sqrt(p (1 - p) / n + z2 / 4n2)) / "
        "(1 + z2 / n), with p = k / n, z the normal quantile and z2 its square.",
        "The ratio compares the rate of a group with that of all rows outside it; its interval is "
        "symmetric in the logarithm, with variance 1/k1 - 1/n1 + 1/k2 - 1/n2 (Katz et al. 1978). "
        "p is two-sided, by Fisher's exact test if fewer than 500 rows are expected in a cell, "
        "else by the pooled z test; q is p adjusted for the number of groups compared (Benjamini "
        "and Hochberg 1995).",
        "The bootstrap draws whole shards with replacement, because rows of one shard are not "
        "independent: its interval is the standard error of such draws with Student's t, in logits "
        "(Efron and Tibshirani 1993, 6.2 and 12.2). If it is much wider than Wilson's, trust the "
        "bootstrap.",
    )

    @property
    def cost(self) -> Cost:
        """Cost of one row; see `laion_dask.cost`."""
        return Cost(("statistic rates",) * len(self.by))

    def bind(self, column_types: Mapping[str, str]) -> Self:
        predicate = None if self.where is None else parse(self.where, column_types)
        by = tuple(axis and axis.bind(column_types) for axis in self.by)
        return replace(
            self, by=by, predicate=predicate, by_shard=column_types.get("shard") == "integer"
        )

    @property
    def reads(self) -> tuple[str, ...]:
        columns = [] if self.predicate is None else [*self.predicate.columns]
        columns += [name for axis in self.by if axis for name in axis.reads]
        return tuple(dict.fromkeys([*columns, *(["shard"] if self.by_shard else [])]))

    @property
    def reduces(self) -> dict[str, tuple[Factory, ...]]:
        axes_reduced = [axis.reduces for axis in self.by if axis]
        whole = {
            name for axis in self.by if axis for name in axis.reads if name not in axis.reduces
        }
        whole.update(() if self.predicate is None else self.predicate.columns)
        factories: dict[str, tuple[Factory, ...]] = {}
        for axis in axes_reduced:
            for name in axis.keys() - whole:
                factories[name] = tuple({*factories.get(name, ()), *axis[name]})
        return factories

    def chunk(self, partition: Partition) -> tuple[Tally, ...]:
        outcomes = np.full(len(partition), 2, np.int8)
        if self.predicate is not None:
            true, known = partition.evaluate(self.predicate)
            outcomes = known.astype(np.int8) + true.astype(np.int8)
        return tuple(tally(partition, axis, outcomes, _OUTCOMES, self.by_shard) for axis in self.by)

    def combine(self, states: Sequence[tuple[Tally, ...]]) -> tuple[Tally, ...]:
        by_axis = zip(*states, strict=True)
        return tuple(
            merge_tallies(tallies, axis) for tallies, axis in zip(by_axis, self.by, strict=True)
        )

    def finalize(self, state: tuple[Tally, ...], options: ReportOptions) -> pd.DataFrame:
        parts = []
        for number, (axis, group_tally) in enumerate(zip(self.by, state, strict=True)):
            results = _to_rows(
                pool_groups(group_tally, self.top), axis, options, self.where is None
            )
            parts.append(results if number == 0 else results.iloc[1:])  # all rows are reported once
        results = pd.concat(parts, ignore_index=True)
        results.insert(0, "term", "rows" if self.where is None else self.where)
        return results


def rates(
    where: str | None,
    *,
    by: str | Grouping | Sequence[str | Grouping] | None = None,
    top: int | None = None,
) -> Rates:
    """Share of rows for which an expression is true, with intervals, by group.

    Computed for all rows (group ``(all)``), for each group, and for the rows in no group. A row for
    which the expression cannot be decided, because it compares a null or NaN, is excluded from all
    rates and counted as undecided.

    Parameters
    ----------
    where : str or None
        See `laion_dask.predicate`, such as ``"punsafe > 0.5"``. None for the share of each group in
        all rows.
    by : str, Grouping, or sequence of them, optional
        A column name, or a grouping such as ``ld.terms("gender")``; several are reported one after
        the other, not crossed (see `intersections` for that).
    top : int, optional
        Report only this many groups of each grouping, the largest; the rows of the others form one
        group, ``(others)``, so that rows add up. If a row can be in several groups, the others are
        dropped.

    Returns
    -------
    Rates
        For `laion_dask.statistics`. Its rows, for each group, largest first:

        ``n``, ``k``, ``rate``, ``lo``, ``hi``
            The expression is true for ``k`` of the ``n`` rows for which it can be decided; with
            Wilson's interval.
        ``undecided``
            Rows of the group for which it cannot be decided.
        ``ratio``, ``ratio_lo``, ``ratio_hi``
            The rate divided by that of the rest, which is every decided row outside the group, with
            its log interval; see `laion_dask.stats.risk_ratio` for zero counts.
        ``difference``, ``difference_lo``, ``difference_hi``
            The rate minus that of the rest, with Newcombe's interval; see
            `laion_dask.stats.risk_difference`.
        ``p``, ``q``
            ``p`` tests whether the group's rate equals that of the rest, two-sided; ``q`` is p
            adjusted for all groups of the axis that are shown, including the rows in no group.
        ``boot_lo``, ``boot_hi``
            An interval of the rate by a bootstrap over shards: rows of one shard are not
            independent, so if the rate differs between shards, Wilson's interval and that of the
            ratio are too narrow and p is too small. NaN if the frame has no column ``shard``, the
            group has rows in fewer than two shards, or groups times shards exceed 2,097,152.

        If ``where`` is None, ``n`` is all rows, ``k`` those of the group, and there is no ratio.

    Raises
    ------
    OptionError
        If an argument is of the wrong type; PredicateError and ColumnError from `statistics`.

    References
    ----------
    For each number: `laion_dask.stats.wilson`, `risk_ratio`, `two_proportions`,
    `benjamini_hochberg` and `shard_bootstrap`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.rates("punsafe > 0.5", by=ld.terms("gender")))
    >>> table["group"][0]
    '(all)'
    """
    if where is not None:
        must_be("where", where, str, "an expression such as 'punsafe > 0.5', or None")
    return Rates(where, resolve_by(by), top=validate_top(top))


def resolve_by(by: str | Grouping | Sequence[str | Grouping] | None) -> tuple[Grouping | None, ...]:
    """The groupings that ``by=`` names; (None,) if it is omitted.

    Raises
    ------
    OptionError
        If ``by`` is not a name, a grouping or a sequence of these.
    """
    return (None,) if by is None else axes(by)


def validate_top(top: int | None) -> int | None:
    """Validate the number of groups to report; None for all.

    Raises
    ------
    OptionError
    """
    if top is not None:
        check_integer("top", top, 1)
    return top


def label_columns(group_tally: Tally, axis: Grouping | None) -> tuple[list[tuple], dict[str, list]]:
    """The labels of a tally in the order of the results, and the columns that name them.

    All rows come first, then the groups in order of size, then the pooled groups, and last the rows
    in no group. A group whose name equals a reserved label is shown in quotes.
    """
    size = dict(
        zip(
            group_tally.groups.labels[0],
            group_tally.groups.values.sum(axis=1).tolist(),
            strict=True,
        )
    )
    labels = sorted(size, key=lambda label: (label[0], -size[label], label))
    texts = {ALL: "(all)", OTHERS: "(others)", NONE: axis.no_group if axis else None}
    return labels, {
        "axis": [None if label == ALL or axis is None else axis.axis for label in labels],
        "group": [texts.get(label) or group_label(label[1]) for label in labels],
    }


def _to_rows(
    group_tally: Tally, axis: Grouping | None, options: ReportOptions, shares: bool
) -> pd.DataFrame:
    labels, named = label_columns(group_tally, axis)
    undecided, false, true = group_tally.groups.ordered(labels).T
    n = np.full(len(labels), true[0]) if shares else false + true
    lo, hi = wilson(true, n, options.level)
    results = {**named, "n": n, "k": true, "rate": _over(true, n), "lo": lo, "hi": hi}
    tests = np.full((8, len(labels)), np.nan)
    if not shares:
        remaining = (true[0] - true[1:], n[0] - n[1:])
        tests[:3, 1:] = risk_ratio(true[1:], n[1:], *remaining, options.level)
        tests[3:6, 1:] = risk_difference(true[1:], n[1:], *remaining, options.level)
        tests[6, 1:] = two_proportions(true[1:], n[1:], *remaining)
        shown = n >= options.min_n
        tests[7, shown] = benjamini_hochberg(tests[6, shown])
    results["undecided"] = undecided
    results |= dict(zip(_COMPARED, tests, strict=True))
    results["boot_lo"], results["boot_hi"] = _bootstrapped(
        group_tally, labels, n, options, shares
    ).T
    return pd.DataFrame({**results, "method": _SHARE if shares else _METHOD})


def _bootstrapped(
    group_tally: Tally, labels: list[tuple], n: np.ndarray, options: ReportOptions, shares: bool
) -> np.ndarray:
    """The interval of each rate that is shown, (labels, 2); NaN for the others."""
    ends = np.full((len(labels), 2), np.nan)
    if group_tally.shards is None:
        return ends
    counts = group_tally.shards.ordered(labels, group_tally.shards.labels[1])
    for i in np.flatnonzero(n >= options.min_n):
        rows = counts[0 if shares else i, :, 1:].sum(axis=1)
        if (rows > 0).sum() >= MIN_SHARDS:
            ends[i] = shard_bootstrap(counts[i, :, 2], rows, options.level)
    return ends


def _over(k: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.divide(k, n, out=np.full(len(n), np.nan), where=n > 0)
