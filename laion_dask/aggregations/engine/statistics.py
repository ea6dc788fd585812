"""Any number of statistics in one pass over a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import TypeVar

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.engine.reduction import Reduction, reduction_of
from laion_dask.cost import Cost, PlannedFrame, is_spec
from laion_dask.dtypes import measured_column_type
from laion_dask.errors import OptionError, must_be, parameter
from laion_dask.frame.accounting import Rows
from laion_dask.frame.map_with_accounting import map_with_accounting
from laion_dask.frame.provenance import Provenance
from laion_dask.runtime import cancellation
from laion_dask.stats.table import Table, suppressed, table

_Statistic = TypeVar("_Statistic", bound=Statistic)


def statistics(
    frame: dd.DataFrame, *measures: Statistic, level: float = 0.95, min_n: int = 30
) -> Table:
    """Statistics of a frame as one tidy table, in one pass over the columns they read. Eager.

    The result is the same to the last bit for any partitioning, order of shards and number of
    workers.

    Parameters
    ----------
    frame : dask DataFrame
    *measures : Statistic
        Such as ``ld.describe()``, ``ld.rates("punsafe > 0.5", by="language")``.
    level : float
        Coverage of the intervals, between 0 and 1.
    min_n : int
        Results based on fewer rows are suppressed and counted.

    Returns
    -------
    Table
        See `laion_dask.stats.Table`. ``attrs["rows"]`` accounts for every row that was read;
        ``attrs["suppressed"]`` is the number of suppressed results.

    Raises
    ------
    OptionError, ColumnError, PredicateError
        Immediately, before any data is read.
    ShardError, SchemaError
        If a damaged shard is found while reading.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = frame.laion.statistics(ld.describe(), ld.rates("punsafe > 0.5"))
    >>> sorted(set(table["statistic"]))
    ['describe', 'rates']
    """
    return statistics_of(Provenance.of(frame), measures, level=level, min_n=min_n)


def statistics_of(
    provenance: Provenance, measures: Sequence[Statistic], *, level: float, min_n: int
) -> Table:
    """The `statistics` of a frame whose provenance is known. Eager."""
    bound = bind(provenance, measures)
    options = report_options(level, min_n)
    states, rows = collect(provenance, bound)
    return to_table(bound, states, options, rows)


def report_options(level: float, min_n: int) -> ReportOptions:
    """Validate the options and return them as `ReportOptions`.

    Raises
    ------
    OptionError
        If a number is out of range.
    """
    if not isinstance(level, (int, float)) or not 0 < level < 1:
        raise OptionError(f"level is {level!r}. Expected a share between 0 and 1, such as 0.95.")
    if isinstance(min_n, bool) or not isinstance(min_n, int) or min_n < 0:
        raise OptionError(
            f"{parameter('min_n')} is {min_n!r}. Expected a number of rows, such as 30."
        )
    return ReportOptions(level, min_n)


def bind(provenance: Provenance, measures: Sequence[_Statistic]) -> tuple[_Statistic, ...]:
    """Bind every statistic to the frame.

    Raises
    ------
    OptionError, ColumnError, PredicateError
        If an argument is not a statistic, or the frame lacks what a statistic needs.
    """
    if len(measures) == 1 and isinstance(measures[0], (list, tuple)):
        measures = measures[0]
    if not measures:
        raise OptionError("No statistic was given. Give one or more, such as ld.describe().")
    for measure in measures:
        must_be(
            "A statistic", measure, Statistic, "a statistic of laion_dask, such as ld.describe()"
        )
    column_types = provenance.column_types(measured_column_type)
    return tuple(measure.bind(column_types) for measure in measures)


def collect(
    provenance: Provenance, bound: tuple[Statistic, ...], label: str = "statistics"
) -> tuple[tuple, Rows | None]:
    """The state of each statistic over the whole frame, and the account of its rows. Eager.

    ``label`` is the text of the progress bar.
    """
    reads = {name for measure in bound for name in measure.reads}
    # Keep the frame's order: Dask loses a selection in a different order after `categorize`.
    columns = provenance.frame.columns
    narrow = provenance.select([n for n in columns if n in reads] or columns[-1:])
    return map_with_accounting(
        narrow,
        _chunk,
        bound,
        combine=partial(_combine, bound=bound),
        label=label,
        share=any(measure.is_shared for measure in bound),
        reduction_of=reduction_of,
    )


def to_table(
    bound: Sequence[Statistic], states: Sequence, options: ReportOptions, rows: Rows | None
) -> Table:
    """The results of all statistics as one table."""
    parts: list[pd.DataFrame] = []
    columns_of: dict[str, list[str]] = {}
    for measure, state in zip(bound, states, strict=True):
        results = measure.finalize(state, options)
        parts.append(results.assign(statistic=measure.name))
        columns = columns_of.setdefault(measure.name, [])
        columns += [name for name in map(str, results) if name not in columns]
    combined = suppressed(table(pd.concat(parts, ignore_index=True)), options.min_n)
    combined.attrs["statistics"] = columns_of
    caveats = tuple(dict.fromkeys(caveat for measure in bound for caveat in measure.caveats))
    if caveats:
        combined.attrs["caveats"] = caveats
    if rows is not None:
        combined.attrs["rows"] = rows.counts
    return combined


def _chunk(
    arrow: pa.Table, number: int, bound: tuple[Statistic, ...], reduced: Reduction | None = None
) -> tuple:
    partition = Partition(arrow, bound, reduced)
    states = []
    for measure in bound:
        cancellation.check()
        states.append(measure.chunk(partition))
    return tuple(states)


def _combine(results: list[tuple], bound: tuple[Statistic, ...]) -> tuple:
    """The states of several partitions as one, by each statistic's `combine`."""
    by_measure = zip(*results, strict=True)
    return tuple(m.combine(list(states)) for m, states in zip(bound, by_measure, strict=True))


def pass_cost(frame: PlannedFrame, measures: Sequence[Statistic], label: str = "") -> Cost:
    """Cost of statistics in one pass: reading, each statistic, and each grouping once.

    Raises
    ------
    OptionError, ColumnError, PredicateError
        As for `statistics`.
    """
    bound = bind(frame.provenance, measures)
    groupings = dict.fromkeys(spec for measure in bound for spec in _groupings(measure))
    costs = [measure.cost for measure in bound] + [grouping.cost for grouping in groupings]
    rates = ["statistics", *(rate for cost in costs for rate in cost.rates)]
    rates += dict.fromkeys(rate for cost in costs for rate in cost.shared)
    columns = dict.fromkeys(name for measure in bound for name in measure.reads)
    return Cost(tuple(rates), columns=tuple(columns), label=label)


def _groupings(measure: Statistic) -> list:
    """The groupings of a statistic: its fields, or their items, that have their own cost."""
    if not is_dataclass(measure):
        return []
    values = [getattr(measure, field.name) for field in fields(measure)]
    flat = [v for value in values for v in (value if isinstance(value, tuple) else (value,))]
    return [value for value in flat if is_spec(value)]
