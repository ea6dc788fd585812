"""Tables of pages as data for the templates: headings, cells, and notes below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from laion_dask.formatting import share_text


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes
    ----------
    text : str
    kind : {"number", "text", "code"}
        Text and code come from the data: their text direction is isolated from the surroundings.
        Text is truncated.
    bar : float
        Width in pixels of a bar before the text; 0 for none.
    """

    text: str
    kind: str = "number"
    bar: float = 0.0


@dataclass(frozen=True)
class PageTable:
    """A table as displayed on a page.

    Attributes
    ----------
    head : tuple of str
    rows : tuple of tuple of Cell
    left : frozenset of int
        Columns that are left-aligned.
    marked : tuple of bool
        Whether each row is highlighted; empty for none.
    notes : tuple of str
        Sentences below the table.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left: frozenset[int] = frozenset((0,))
    marked: tuple[bool, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fact:
    """A name with its values, such as the filter of an export.

    Attributes
    ----------
    name : str
    values : tuple of str
    is_code : bool
        Whether values come from the data or from a filter.
    one_a_line : bool
        Whether to put each value on its own line instead of separating values with commas.
    """

    name: str
    values: tuple[str, ...]
    is_code: bool = False
    one_a_line: bool = False


def result_table(
    table: pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    named: Mapping[str, str] | None = None,
    shares: Sequence[str] = ("rate",),
    marked: str | None = None,
    limit: int = 200,
) -> PageTable:
    """A `laion_dask.stats.Table` for a page; the two ends of an interval share a column.

    ``lo`` and ``hi`` follow the rate, or the value if there is no rate; ``x_lo`` and ``x_hi``
    follow ``x``. Notes give the number of rows not shown, and of suppressed results.

    Parameters
    ----------
    table : Table, or any DataFrame
    columns : sequence of str, optional
        The columns in this order; by default all that are not empty. Interval columns are added
        automatically.
    named : mapping of str to str, optional
        Headings for columns.
    shares : sequence of str
        The columns to format in percent, with their intervals.
    marked : str, optional
        A boolean column; its true rows are highlighted.
    limit : int
        Maximum number of rows shown.
    """
    named = dict(named or {})
    rows = table.head(limit)
    names = list(map(str, table))
    ends = {"rate": ("lo", "hi"), "value": ("lo", "hi")}
    ends |= {c: (f"{c}_lo", f"{c}_hi") for c in names if f"{c}_lo" in table and f"{c}_hi" in table}
    if columns is None:
        bounds = {name for pair in ends.values() for name in pair}
        columns = [c for c in names if c not in bounds and table[c].notna().any()]
    head: list[str] = []
    cells, left = [], []
    for name in columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            left.append(len(head))
        write = _writer(name, shares)
        head.append(named.get(name, name.replace("_", " ")))
        cells.append([_cell(value, write) for value in rows[name]])
        lo, hi = ends.get(name, ("", ""))
        is_rates = name == "value" and "rate" in columns  # the interval is beside the rate
        if lo in table and hi in table and not is_rates and table[[lo, hi]].notna().any(axis=None):
            head.append("interval")
            cells.append(_intervals(rows, name, lo, hi, write))
    is_marked = rows[marked].fillna(False).astype(bool).tolist() if marked in rows else ()
    return PageTable(
        tuple(head),
        tuple(zip(*cells, strict=True)),
        frozenset((0, *left)),
        tuple(is_marked),
        tuple(_left_out(table, limit)),
    )


def _intervals(
    rows: pd.DataFrame, name: str, lo: str, hi: str, write: Callable[[float], str]
) -> list[Cell]:
    """The cells of an interval; if a rate is missing, the interval is that of the value."""
    is_share = [True] * len(rows)
    if name == "rate" and "value" in rows:
        is_share = rows["rate"].notna().tolist()
    ends = zip(rows[lo], rows[hi], is_share, strict=True)
    return [Cell(_interval(a, b, write if share else _number)) for a, b, share in ends]


def _left_out(table: pd.DataFrame, limit: int) -> Iterable[str]:
    if len(table) > limit:
        yield f"{len(table) - limit:,} more rows are not shown."
    yield from getattr(table, "caveats", ())
    n = int(table.attrs.get("suppressed", 0))
    if n:
        subject, verb = ("result", "is") if n == 1 else ("results", "are")
        min_n = table.attrs["min_n"]
        yield f"{n:,} {subject} based on fewer than {min_n:,} rows {verb} suppressed."


def _cell(value: object, write: Callable[[float], str]) -> Cell:
    if isinstance(value, (bool, np.bool_)):
        return Cell("yes" if value else "-")
    if value is None or value is pd.NA:
        return Cell("-")
    if isinstance(value, (int, np.integer)):
        return Cell(f"{value:,}")
    if isinstance(value, (float, np.floating)):
        return Cell("-" if np.isnan(value) else write(float(value)))
    return Cell(str(value), "text")


def _interval(lo: float, hi: float, write: Callable[[float], str]) -> str:
    return "-" if pd.isna(lo) or pd.isna(hi) else f"{write(float(lo))} … {write(float(hi))}"


def _writer(column: str, shares: Sequence[str]) -> Callable[[float], str]:
    if column in shares:
        return share_text
    return _chance if column in ("p", "q") else _number


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _number(value: float) -> str:
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.3g}" if abs(value) < 1e3 else f"{value:,.0f}"
