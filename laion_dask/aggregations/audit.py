"""Exclusion by a filter for each group, before and after; and comparison of two subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import dask.dataframe as dd
import numpy as np

from laion_dask.aggregations.counts import ALL
from laion_dask.aggregations.default_set import LISTS
from laion_dask.aggregations.engine.statistics import bind, collect, pass_cost, report_options
from laion_dask.aggregations.exclusion import Exclusion, ExclusionCounts, references, with_kept
from laion_dask.aggregations.grouping.base import ByColumn, Grouping, axes
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.aggregations.overlap import (
    Overlap,
    as_filter_counts,
    by_marks,
    inside_and_undecided,
    sizes,
)
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import measured_column_type
from laion_dask.errors import OptionError, must_be
from laion_dask.frame.accounting import Rows
from laion_dask.frame.filter_difference import filter_between
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.repeated_rows import rows_in_both
from laion_dask.frame.subset_membership import IN_ONE, IN_OTHER, mark_membership
from laion_dask.frame.where_kernel import passes
from laion_dask.predicate import Predicate
from laion_dask.stats.table import Table, suppressed, table

_ON_TRUST = (
    "The rows after are assumed to be among the rows before. This cannot be checked, because the "
    "two come from different calls of read_shards, or lost shard and row."
)


def default_axes(frame: dd.DataFrame) -> tuple[Grouping, ...]:
    """Default axes of a report: languages, and the people whom captions mention.

    Empty if the frame has neither a column ``language`` nor ``text``.
    """
    column_types = {name: measured_column_type(dtype) for name, dtype in frame.dtypes.items()}
    groupings: list[Grouping] = []
    if column_types.get("language") == "string":
        groupings.append(ByColumn("language"))
    if column_types.get("text") == "string":
        groupings += [terms(name) for name in LISTS]
    return tuple(groupings)


def check_axes(frame: dd.DataFrame, by: str | Grouping | Sequence[str | Grouping]) -> None:
    """Raise if `audit` cannot group the frame by the given axes.

    Raises
    ------
    OptionError, ColumnError
    """
    bind(Provenance.of(frame), [Exclusion(None, axes(by))])


def audit(
    before: dd.DataFrame,
    after: dd.DataFrame | str,
    by: str | Grouping | Sequence[str | Grouping],
    *,
    reference: Mapping | None = None,
    level: float = 0.95,
    min_n: int = 30,
) -> Table:
    """Share of each group that a filter excludes, compared with that of all rows. Eager.

    The exclusion rate is E_g = 1 - kept / n. If two subsets of one data set overlap and neither
    contains the other, such as ``frame.laion.where("similarity > 0.3")`` and
    ``frame.laion.where("aesthetic > 5")``, the result compares them instead: the share that each
    group has in either subset.

    Takes one pass if ``after`` is an expression, or if both frames are filtered from one frame by
    expressions or masks. Otherwise it takes one pass over each frame, and one over their row
    numbers. The result is the same to the last bit for any partitioning, order of shards and number
    of workers. A row that the filter cannot decide (it compares a null or NaN) is not kept, so it
    counts as excluded; ``undecided`` is the number of these rows.

    Parameters
    ----------
    before : dask DataFrame
    after : dask DataFrame, or str
        The rows of ``before`` that remain; or the filter, see `laion_dask.predicate`; or another
        subset of the same data set.
    by : str, Grouping, or several
        A column name, or a grouping such as ``ld.terms("gender")``. A row may be in several groups
        of an axis, or in none.
    reference : mapping, optional
        Expected distribution over the groups, which determines the groups that are
        under-represented before; by default equal shares of all groups: those that a term list
        names, with or without rows, or the values that occur in ``before``. Maps groups to numbers;
        for several axes, maps each axis name to such a mapping.
    level : float
        Coverage of the intervals, between 0 and 1.
    min_n : int
        Groups with fewer rows before are suppressed and counted.

    Returns
    -------
    Table
        For each axis one row for all rows, ``(all)``, then one per group in order of size, then one
        for the rows in no group. The columns are those of `laion_dask.stats.exclusion`. Ratios are
        relative to all rows of ``before``, shares to the groups' rows; ``q`` corrects for the
        groups of the axis that are shown. ``undecided`` is present if a single pass counted it.
        ``attrs["rows"]`` accounts for all rows of ``after``, ``attrs["rows_before"]`` for those of
        ``before``; ``attrs["groupings"]`` describes the source of each axis.

        If ``after`` has rows that are not in ``before``, ``statistic`` is ``comparison``, and a
        caveat states the sizes of the two frames and of their intersection. The columns are then:
        ``n_before``, ``n_after``, ``n_both``, the rows of the group in each frame and in both;
        ``n``, in either; ``share_before`` and ``share_after``, of all rows of each frame;
        ``value``, ``lo``, ``hi``, the second share minus the first, with its interval
        (`laion_dask.stats.overlap_difference`); ``p``, computed from the rows in only one frame
        (`laion_dask.stats.overlap_test`: Fisher's exact test of the discordant rows, Gart 1969), so
        two subsets that differ in few rows give little evidence even if their shares differ; ``q``;
        ``share_expected`` from ``reference``; ``verdict``, one of ``larger share after``, ``smaller
        share after`` and ``inconclusive``, which also applies if p and the shares point in opposite
        directions; ``undecided``, the rows that the filter of one frame cannot decide and that are
        therefore not in it.

    Raises
    ------
    OptionError, ColumnError, PredicateError
        Immediately, before any data is read.
    OptionError
        If ``after`` has rows that are not in ``before``, and the two are not filtered from one
        frame.
    ShardError, SchemaError
        If a damaged shard is found while reading.

    References
    ----------
    Hong, R., Agnew, W., Kohno, T., Morgenstern, J. (2024). Who's in and who's out? A case study of
    multimodal CLIP-filtering in DataComp. EAAMO.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = frame.laion.audit("similarity > 0.3", by="language")
    >>> table["group"][0]
    '(all)'
    """
    must_be("after", after, (dd.DataFrame, str), "a filtered frame, or an expression")
    options, expected = report_options(level, min_n), references(by, reference)
    unfiltered, filtered = Provenance.of(before), None
    where: str | Predicate | None
    if isinstance(after, str):
        where = after
    else:
        filtered = Provenance.of(after)
        where = filter_between(unfiltered, filtered, passes)
    exclusion = Exclusion(where, axes(by), expected)
    counts, rows_before, rows_after, caveats = _counted(unfiltered, filtered, exclusion)
    measure: Exclusion | Overlap = Overlap(IN_ONE, IN_OTHER, exclusion.by, expected)
    if isinstance(counts, ExclusionCounts):
        (measure,) = bind(unfiltered, [exclusion])
    results = measure.finalize(counts, options).assign(statistic=measure.name)
    result = suppressed(table(results), options.min_n)
    result.attrs["groupings"] = {axis.axis: _source(axis) for axis in measure.by}
    result.attrs |= {"caveats": caveats} if caveats else {}
    for name, account in (("rows", rows_after), ("rows_before", rows_before)):
        if account is not None:
            result.attrs[name] = account.counts
    return result


def _counted(before: Provenance, after: Provenance | None, measure: Exclusion) -> tuple:
    """Counts of one subset or two overlapping ones, the accounts of both frames, and caveats."""
    bound = bind(before, [measure])
    if measure.where is not None:
        (counted,), rows = collect(before, bound)
        return counted, rows, _beyond(rows, counted), ()
    assert after is not None  # without a filter, `after` is a frame
    if before.number_column != after.number_column:
        raise OptionError(
            "One of the two frames has one record for each caption (explode_captions), and the "
            "other does not, so their rows cannot be compared. Call explode_captions on both with "
            "the same number=, or on neither."
        )
    left = bind(after, bound)
    marked = mark_membership(before.frame, after.frame, bound[0].reads)
    if marked is not None:
        joint = Provenance.of(marked)
        (overlap,) = bind(joint, [Overlap(IN_ONE, IN_OTHER, bound[0].by)])
        (tallies,), rows = collect(joint, (overlap,))
        return _compared(tallies, rows)
    (counted,), rows_before = collect(before, bound)
    (kept,), rows_after = collect(after, left)
    in_both = rows_in_both(before, after)
    _check_narrower(counted, kept, in_both)
    caveats = (_ON_TRUST,) if in_both is None else ()
    return with_kept(counted, kept), rows_before, rows_after, caveats


def _compared(tallies, rows: Rows | None) -> tuple:
    """The result of `_counted` for rows that are marked with the subsets they are in."""
    everyone = by_marks(tallies[0])[ALL]
    accounts = [_account_of_side(rows, everyone, side) for side in (0, 1)]
    n_before, n_after, n_both = sizes(everyone)
    if n_both == n_after:
        return as_filter_counts(tallies), *accounts, ()
    caveat = (
        f"{n_before:,} rows before, {n_after:,} after, {n_both:,} of them in both: a comparison of "
        "two subsets, not of a frame and its filtered rows."
    )
    return tallies, *accounts, (caveat,)


def _account_of_side(rows: Rows | None, everyone: np.ndarray, side: int) -> Rows | None:
    """The account of one of two subsets, from the account of the rows they were selected from."""
    if rows is None or rows.records is not None:  # the counts are those of records
        return None
    kept, undecided = inside_and_undecided(everyone, side)
    dropped = rows.read - rows.rejected - rows.unscored - kept - undecided
    return Rows(rows.read, kept, dropped, rows.unscored + undecided, rows.rejected)


def _source(axis: Grouping) -> str:
    """The source of an axis's groups, if the axis states it."""
    if isinstance(axis, ByColumn):
        return f"the column {axis.axis}"
    texts = (getattr(axis, name, "") for name in ("version", "source"))
    version, source = map(str, texts)
    column = f" in the column {', '.join(axis.reads)}" if axis.reads else ""
    return f"terms{column}" + f", version {version}" * bool(version) + f"; {source}" * bool(source)


def _beyond(before: Rows | None, counted: ExclusionCounts) -> Rows | None:
    """The account of rows after one further filter."""
    if before is None or before.records is not None:  # the counts are those of records
        return None
    n, kept, unscored = counted.everyone
    dropped = before.dropped + n - kept - unscored
    return Rows(before.read, kept, dropped, before.unscored + unscored, before.rejected)


def _check_narrower(before: ExclusionCounts, after: ExclusionCounts, in_both: int | None) -> None:
    """Raise if the second frame is known not to be a subset of the first."""
    pairs = [(before.everyone[0], after.everyone[0])]
    for counts, remaining in zip(before.groups, after.groups, strict=True):
        pairs += [
            (counts[label][0] if label in counts else 0, remaining[label][0]) for label in remaining
        ]
    pairs += [(n, m) for (n, *_), (m, *_) in zip(before.none, after.none, strict=True)]
    n, m = pairs[0]
    if any(m > n for n, m in pairs) or in_both not in (None, m):
        overlap = "" if in_both is None else f", {in_both:,} of them in both"
        raise OptionError(
            f"before has {n:,} rows and after {m:,}{overlap}: after is not a subset of before. "
            "Expected a subset of it, audit(frame, frame.laion.where(...), by=...); or, to compare "
            "two subsets, both filtered from one frame by expressions or masks."
        )


def audit_cost(
    frame: PlannedFrame, by: str | Grouping | Sequence[str | Grouping] | None = None
) -> Cost:
    """Cost of `audit` in one pass; by default by language and by the people mentioned.

    Raises
    ------
    OptionError, ColumnError
        As for `audit`.
    """
    note = "audit: assumes one pass, as for a filter; two separately filtered frames take two"
    groupings = default_axes(frame.frame) if by is None else axes(by)
    cost = pass_cost(frame, [Exclusion(None, groupings)], label="audit")
    return replace(cost, notes=(note,))
