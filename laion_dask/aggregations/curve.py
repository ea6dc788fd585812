"""The share of rows above each of many thresholds, by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from laion_dask.aggregations.binning import cuts_reached
from laion_dask.aggregations.counts import Tally, merge_tallies, pool_groups, tally
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.grouping.base import Grouping
from laion_dask.aggregations.rates import label_columns, resolve_by, validate_top
from laion_dask.cost import Cost
from laion_dask.errors import OptionError, must_be, no_column
from laion_dask.stats.intervals import wilson

#: Default thresholds: 0.05, 0.10, …, 0.95.
THRESHOLDS = tuple(i / 20 for i in range(1, 20))


@dataclass(frozen=True)
class Curve(Statistic):
    """See `curve`."""

    column: str
    by: tuple[Grouping | None, ...]
    thresholds: tuple[float, ...]
    above: bool
    top: int | None = None
    name = "curve"
    section_position = 4
    method = ("The share of a group's scored rows above each threshold, with Wilson's interval.",)

    @property
    def cost(self) -> Cost:
        """Cost of one row; see `laion_dask.cost`."""
        return Cost(("statistic curve",) * len(self.by))

    def bind(self, column_types: Mapping[str, str]) -> Self:
        if self.column not in column_types:
            raise no_column(self.column, column_types)
        if column_types[self.column] not in ("integer", "float32", "float64"):
            raise OptionError(
                f"The column {self.column!r} holds {column_types[self.column]}, but a curve needs "
                "numbers. Count groups with ld.rates(None, by=...)."
            )
        return replace(self, by=tuple(axis and axis.bind(column_types) for axis in self.by))

    @property
    def reads(self) -> tuple[str, ...]:
        by = [name for axis in self.by if axis for name in axis.reads]
        return tuple(dict.fromkeys([self.column, *by]))

    def chunk(self, partition: Partition) -> tuple[Tally, ...]:
        n_reached = partition.memo(_cuts_reached, self.column, self.thresholds, self.above)
        return tuple(
            tally(partition, axis, n_reached, len(self.thresholds) + 2) for axis in self.by
        )

    def combine(self, states: Sequence[tuple[Tally, ...]]) -> tuple[Tally, ...]:
        by_axis = zip(*states, strict=True)
        return tuple(
            merge_tallies(tallies, axis) for tallies, axis in zip(by_axis, self.by, strict=True)
        )

    def finalize(self, state: tuple[Tally, ...], options: ReportOptions) -> pd.DataFrame:
        parts = []
        for number, (axis, group_tally) in enumerate(zip(self.by, state, strict=True)):
            results = self._to_rows(pool_groups(group_tally, self.top), axis, options)
            parts.append(results if number == 0 else results.iloc[len(self.thresholds) :])
        combined = pd.concat(parts, ignore_index=True)
        combined.insert(0, "term", self.column)
        return combined

    def _to_rows(
        self, group_tally: Tally, axis: Grouping | None, options: ReportOptions
    ) -> pd.DataFrame:
        labels, named = label_columns(group_tally, axis)
        counts, m = group_tally.groups.ordered(labels), len(self.thresholds)
        below = np.cumsum(counts[:, :-1], axis=1)
        n = np.repeat(below[:, -1], m)
        k = (below[:, -1:] - below[:, :-1] if self.above else below[:, :-1]).ravel()
        lo, hi = wilson(k, n, options.level)
        return pd.DataFrame(
            {
                **{name: np.array(texts, object).repeat(m) for name, texts in named.items()},
                "threshold": np.tile(_as_column(self.thresholds), len(labels)),
                "n": n,
                "k": k,
                "rate": np.divide(k, n, out=np.full(len(n), np.nan), where=n > 0),
                "lo": lo,
                "hi": hi,
                "side": "above" if self.above else "below",
                "undecided": np.repeat(counts[:, -1], m),
                "method": "Wilson",
            }
        )


def curve(
    column: str,
    *,
    by: str | Grouping | Sequence[str | Grouping] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    above: bool = True,
    top: int | None = None,
) -> Curve:
    """Share of rows above each threshold, with its interval, by group.

    All thresholds are counted in one pass. Each row of the result equals that of
    ``rates(f"{column} > {threshold}", by=by)``: a float32 column is compared with the threshold
    rounded to float32; null and NaN are undecided and excluded from all rates.

    Parameters
    ----------
    column : str
        A numeric column; integers are compared exactly.
    by : str, Grouping, or sequence of them, optional
        As for `rates`.
    thresholds : sequence of float
        In any order; by default 0.05, 0.10, …, 0.95. Integers beyond 2**53 are exact.
    above : bool
        False for the share below each threshold. A value equal to the threshold is on neither side.
    top : int, optional
        As for `rates`.

    Returns
    -------
    Curve
        For `laion_dask.statistics`, which reports for all rows (group ``(all)``), each group and
        the rows in no group, at each ``threshold`` in ascending order: ``k`` of the ``n`` rows with
        a value are on that ``side``; the ``rate`` with Wilson's interval ``lo``, ``hi``; and the
        number of ``undecided`` rows.

    Raises
    ------
    OptionError
        If ``thresholds`` is empty, or contains anything but numbers. When bound, ColumnError or
        OptionError if the column does not exist or is not numeric.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.curve("punsafe"))
    >>> bool(table["rate"].is_monotonic_decreasing)
    True
    """
    must_be("column", column, str, "the name of a column of numbers, such as 'punsafe'")
    must_be("above", above, bool, "True or False")
    values = _ascending(thresholds)
    if not values:
        raise OptionError(
            f"thresholds is {thresholds!r}. Expected numbers, such as [0.5, 0.8, 0.9]."
        )
    return Curve(column, resolve_by(by), values, above, validate_top(top))


def _ascending(thresholds) -> tuple[float, ...]:
    """The distinct thresholds in ascending order, keeping integers; () if one is not a number."""
    try:
        values = [thresholds] if np.ndim(thresholds) == 0 else list(thresholds)
        floats = [float(v) for v in values]
        values = [
            int(v) if _is_whole(v) else number for v, number in zip(values, floats, strict=True)
        ]
    except (TypeError, ValueError, OverflowError):
        return ()
    return () if any(v != v for v in floats) else tuple(sorted(set(values)))


def _is_whole(value) -> bool:
    """Whether a threshold is an integer that float64 may not represent exactly."""
    return isinstance(value, (int, np.integer)) and abs(int(value)) > 2**53


def _as_column(thresholds: tuple[float, ...]) -> np.ndarray:
    """The thresholds as integers if only these represent all of them exactly, else as float64."""
    if any(isinstance(t, int) for t in thresholds) and all(t == t // 1 for t in thresholds):
        integers = [int(t) for t in thresholds]
        for dtype in (np.int64, np.uint64):
            limits = np.iinfo(dtype)
            if limits.min <= integers[0] and integers[-1] <= limits.max:
                return np.array(integers, dtype)
    return np.array(thresholds, np.float64)


def _cuts_reached(
    partition: Partition, column: str, thresholds: tuple[float, ...], above: bool
) -> np.ndarray:
    return cuts_reached(partition.table[column], thresholds, "left" if above else "right")
