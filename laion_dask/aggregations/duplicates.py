"""The share of rows that repeat a value of another row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.errors import ColumnError, OptionError, did_you_mean
from laion_dask.stats.checks import check_integer
from laion_dask.stats.intervals import wilson
from laion_dask.stats.sketches.bottom_k import CAPACITY, BottomK
from laion_dask.stats.sketches.heavy_hitters import text_hashes


@dataclass(frozen=True)
class DuplicateShare(Statistic):
    """See `duplicate_share`."""

    column: str
    capacity: int
    name = "duplicate_share"
    section_position = 2
    method = (
        "Repeats: rows minus distinct values. Exact for at most 65,536 distinct values; beyond "
        "that, estimated from the values with that many smallest hashes, to about 1 % (Bar-Yossef "
        "et al. 2002; Beyer et al. 2007).",
    )

    def bind(self, column_types: Mapping[str, str]) -> Self:
        if self.column not in column_types:
            raise ColumnError(
                f"The frame has no column {self.column!r}.{did_you_mean(self.column, column_types)}"
            )
        if column_types[self.column] not in ("string", "integer", "boolean"):
            raise OptionError(
                f"The column {self.column!r} holds {column_types[self.column]}. Name a column of "
                "text or integers, such as 'url' or 'text'."
            )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def chunk(self, partition: Partition) -> tuple[BottomK, int]:
        values = partition.table[self.column].drop_null().cast(pa.large_string()).combine_chunks()
        return BottomK.of(text_hashes(values), self.capacity), len(partition)

    def combine(self, states: Sequence[tuple[BottomK, int]]) -> tuple[BottomK, int]:
        sketches, rows = zip(*states, strict=True)
        return BottomK.merged(sketches), sum(rows)

    def finalize(self, state: tuple[BottomK, int], options: ReportOptions) -> pd.DataFrame:
        sketch, rows = state
        missing, n = rows - sketch.n, sketch.n
        lo, hi = wilson(missing, rows, options.level)
        method = "exact" if sketch.is_exact else f"bottom-k, k = {len(sketch.hashes):,}"
        number, lower, upper = distinct = sketch.distinct(options.level)
        ends = {} if sketch.is_exact else {"lo": lower, "hi": upper}
        common = {"n": n, "method": method}
        results = [
            {
                "group": "missing", "n": rows, "k": missing, "rate": _over(missing, rows),
                "lo": lo, "hi": hi, "method": "Wilson",
            },
            {"group": "distinct", **common, "value": number, **ends},
            {"group": "repeats", **common, **_remaining_share(n, distinct, sketch.is_exact)},
            {
                "group": "rows whose value repeats", **common,
                **_remaining_share(n, sketch.singletons(options.level), sketch.is_exact),
            },
            {
                "group": "most frequent", **common, "value": float(sketch.counts.max(initial=0)),
                "method": "exact" if sketch.is_exact else f"among {len(sketch.hashes):,} values",
            },
        ]  # fmt: skip
        return pd.DataFrame(results).assign(term=self.column)


def duplicate_share(column: str = "url", *, capacity: int = CAPACITY) -> DuplicateShare:
    """Share of rows that repeat the URL or caption of another row.

    Values are compared byte by byte: different case, an extra space, or the same URL with ``www.``
    is a different value. Missing values are counted separately and are not repeats.

    All results are exact for at most ``capacity`` distinct values. With more, the ``capacity``
    values with the smallest 64-bit hashes are counted exactly, and the rest is estimated from them:
    the numbers of distinct values and of values that occur once have a relative error of at most
    z / sqrt(k), 0.8 % by default, for any number of rows. The result does not depend on the
    partitioning. A state takes 1 MB.

    Parameters
    ----------
    column : str
        A column of text or integers.
    capacity : int
        Maximum number of values kept; at least 3.

    Returns
    -------
    DuplicateShare
        For `laion_dask.statistics`, which reports, for ``term``, the column, by ``group``:

        ``missing``
            ``k`` of all ``n`` rows have no value.
        ``distinct``
            ``value``: the number of distinct values in ``n`` rows.
        ``repeats``
            ``k`` and ``rate``: the number of rows minus the number of distinct values, that is, the
            rows that are dropped if one row per value is kept.
        ``rows whose value repeats``
            ``k`` and ``rate``: rows whose value also occurs in another row.
        ``most frequent``
            ``value``: the count of the most frequent value among the values kept. For the values
            themselves see `concentration`.

        If ``method`` says that a result is estimated, ``lo`` and ``hi`` cover the error of the
        estimate. They do not extrapolate to rows that were not read, because the share of
        duplicates grows with the number of rows.

    Raises
    ------
    OptionError
        If an argument has the wrong type or is out of range. When bound, ColumnError or OptionError
        if the column does not exist or is not of text or integers.

    References
    ----------
    See `laion_dask.stats.sketches.bottom_k.BottomK`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.duplicate_share("url"))
    >>> table["group"].tolist()[:3]
    ['missing', 'distinct', 'repeats']
    """
    if not isinstance(column, str):
        raise OptionError(f"column is {column!r}. Expected the name of a column, such as 'url'.")
    check_integer("capacity", capacity, 3)
    return DuplicateShare(column, capacity)


def _remaining_share(n: int, subtracted: tuple[float, float, float], exact: bool) -> dict:
    """The rows of n that remain after subtracting an estimate, as a share with its interval."""
    remaining, lo, hi = (
        min(max(n - end, 0), n) for end in (subtracted[0], subtracted[2], subtracted[1])
    )
    result = {"k": round(remaining), "rate": _over(remaining, n)}
    return result if exact else {**result, "lo": lo / n, "hi": hi / n}


def _over(k: float, n: int) -> float:
    return float(np.float64(k) / n) if n else float("nan")
