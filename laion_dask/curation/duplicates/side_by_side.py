"""The statistics of two data sets, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import dask.dataframe as dd
import pandas as pd

from laion_dask.aggregations.default_set import standard_statistics
from laion_dask.aggregations.engine.base import Statistic
from laion_dask.aggregations.engine.statistics import bind, statistics_of
from laion_dask.frame.provenance import Provenance
from laion_dask.stats.table import Table

#: Columns that say what a result is of, as far as a table has them.
_WHAT = (
    "statistic",
    "term",
    "axis",
    "group",
    "axis_2",
    "group_2",
    "threshold",
    "side",
    "measure",
)
#: Columns of results, each of which becomes one of ``a`` and one of ``b``.
_RESULTS = ("n", "k", "rate", "value", "lo", "hi", "undecided")


def measures_of(
    frame: dd.DataFrame, statistics: bool | Statistic | Sequence[Statistic]
) -> tuple[Statistic, ...]:
    """The statistics to compute of one side; none if they are not wanted.

    Raises
    ------
    OptionError, ColumnError, PredicateError
        Immediately, when the frame lacks what a statistic needs.
    """
    if statistics is False:
        return ()
    if statistics is True:
        return standard_statistics(frame)
    measures = (statistics,) if isinstance(statistics, Statistic) else tuple(statistics)
    bind(Provenance.of(frame), measures)
    return measures


def side_by_side(
    a: dd.DataFrame,
    b: dd.DataFrame,
    measures: Sequence[tuple[Statistic, ...]],
    level: float,
    min_n: int,
) -> pd.DataFrame:
    """The statistics of two frames as one table, those of ``a`` first, in their order. Eager.

    Results that only one side has are NaN on the other.
    """
    tables = [
        statistics_of(Provenance.of(side), one, level=level, min_n=min_n) if one else None
        for side, one in zip((a, b), measures, strict=True)
    ]
    return merged(*(_plain(one) for one in tables))


def merged(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Two tables of results, joined by what they are of."""
    on = [*_WHAT, "_number"]
    joined = a.assign(_order_a=range(len(a))).merge(
        b.assign(_order_b=range(len(b))), on=on, how="outer", suffixes=("_a", "_b")
    )
    joined = joined.sort_values(["_order_a", "_order_b"], ignore_index=True)
    what = [name for name in _WHAT if name == "statistic" or joined[name].notna().any()]
    results = [f"{name}_{side}" for side in "ab" for name in _RESULTS]
    results = [name for name in results if joined[name].notna().any()]
    return joined[[*what, *results]]


def _plain(table: Table | None) -> pd.DataFrame:
    """A table as a DataFrame with all columns, and the number of each result among equal ones."""
    frame = pd.DataFrame(table) if table is not None else pd.DataFrame()
    plain = pd.DataFrame({name: frame.get(name) for name in (*_WHAT, *_RESULTS)}, frame.index)
    texts = [name for name in _WHAT if name != "threshold"]
    plain[texts] = plain[texts].astype(object)
    numbers = ["threshold", *_RESULTS]
    plain[numbers] = plain[numbers].astype("float64")
    plain["_number"] = plain.groupby(list(_WHAT), dropna=False).cumcount().astype("int64")
    return plain.reset_index(drop=True)
