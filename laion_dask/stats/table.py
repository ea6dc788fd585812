"""The tidy table of results of statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from laion_dask.caveats import caveats_of
from laion_dask.display.cells import markdown, text_of
from laion_dask.display.grid import STATIC_ROWS, Grid, with_index
from laion_dask.display.overview import Overview
from laion_dask.errors import ColumnError, OptionError, did_you_mean
from laion_dask.reserved_labels import NOT_GROUPS
from laion_dask.stats.divergence import between_tables
from laion_dask.stats.table_text import in_blocks

#: Columns shared by all tables, in order; statistics may append others.
COLUMNS = (
    "statistic", "term", "axis", "group", "threshold", "n", "k", "rate", "value", "lo", "hi",
)  # fmt: skip
#: Columns that always exist, even if empty; empty columns are not displayed.
ALWAYS = ("term", "axis", "group", "threshold", "n", "k", "rate", "lo", "hi", "method")
#: Integer columns, in addition to those that start with ``n_`` or ``k_``.
WHOLE = ("n", "k", "undecided")


class Table(pd.DataFrame):
    """A pandas DataFrame with one result per row.

    Columns, where they apply to a statistic:

    ``statistic`` its name; ``term`` what is counted (an expression, a word, a column, a domain);
    ``axis`` and ``group`` the rows it is computed for; ``threshold``; ``n`` the number of rows it
    is based on; ``k`` the number of those that have the property; ``rate`` their share k / n;
    ``value`` a result that is not a share; ``lo``, ``hi`` the interval of the rate or of the value;
    ``method`` how the interval was computed.

    ``attrs["suppressed"]`` counts the results suppressed because they are based on fewer than
    ``attrs["min_n"]`` rows, and ``attrs["suppressed_of"]`` counts them by statistic.
    ``attrs["rows"]`` accounts for all rows read. ``attrs["statistics"]`` maps the requested
    statistics, including those with only suppressed results, to their columns.

    If results need a caveat (see `caveats`), the table shows it wherever the table is displayed.
    """

    @property
    def _constructor(self) -> type[Table]:
        return Table

    @property
    def n_suppressed(self) -> int:
        """Number of results suppressed because they are based on too few rows."""
        return int(self.attrs.get("suppressed", 0))

    @property
    def caveats(self) -> tuple[str, ...]:
        """Caveats that apply to these results, from the rows and ``attrs``."""
        return caveats_of(self)

    def of(self, statistic: str) -> Table:
        """The results of one statistic, without columns of other statistics.

        Raises
        ------
        OptionError
            If the table has no statistic of that name.
        """
        names = list(self["statistic"].unique()) if "statistic" in self else []
        names += self.attrs.get("statistics", ())
        if statistic not in names:
            raise OptionError(
                f"The table has no statistic {statistic!r}.{did_you_mean(statistic, names)}"
            )
        rows = self[self["statistic"] == statistic].drop(columns="statistic")
        columns = {*ALWAYS, *self.attrs.get("statistics", {}).get(statistic, ())}
        kept = [name for name in rows if name in columns or rows[name].notna().any()]
        result = rows[kept].reset_index(drop=True)
        if "suppressed_of" in self.attrs:
            n = self.attrs["suppressed_of"].get(statistic, 0)
            result.attrs = {**self.attrs, "suppressed": n, "suppressed_of": {statistic: n}}
        return result

    def top(self, k: int, by: str = "n") -> Table:
        """The k groups of each axis with the largest values in a column. Eager.

        Results for all rows and for rows in no group are kept. A caveat states how many groups were
        dropped and how many rows they have. Adjusted p-values remain those of all compared groups.

        Raises
        ------
        OptionError, ColumnError
            If k is not a positive integer, or the table has no such numeric column.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise OptionError(f"top is {k!r}. Expected a positive number of groups, such as 20.")
        values = self._numbers_of(by)
        groups = self["axis"].notna() & ~self["group"].isin(NOT_GROUPS)
        within = [name for name in ("statistic", "axis", "term", "threshold") if name in self]
        ranked = values[groups].to_frame("value").assign(**{n: self[n] for n in within})
        ranks = ranked.groupby(within, dropna=False)["value"] if within else ranked["value"]
        ranks = ranks.rank(method="first", ascending=False)
        dropped = ranks.index[~(ranks <= k)]
        kept = self.drop(index=dropped).reset_index(drop=True)
        kept.attrs = dict(self.attrs)
        if len(dropped):
            rows = f", with {int(self.loc[dropped, 'n'].sum()):,} rows" if "n" in self else ""
            note = f"The {k:,} groups of largest {by} of each axis; {len(dropped):,} others{rows}."
            kept.attrs["caveats"] = (*self.attrs.get("caveats", ()), note)
        return kept

    def sort(self, by: str, ascending: bool = False) -> Table:
        """The table sorted by a numeric column, by default in descending order. Eager.

        Raises
        ------
        ColumnError
            If the table has no such numeric column.
        """
        order = self._numbers_of(by).sort_values(ascending=ascending, kind="stable").index
        result = self.loc[order].reset_index(drop=True)
        result.attrs = dict(self.attrs)
        return result

    def divergence(self, other: pd.DataFrame) -> Table:
        """Jensen-Shannon divergence of two data sets for each axis. Eager.

        Compares the group shares that ``rates(None, by=...)`` computes for both data sets:
        languages, registered domains, mentions. Rows in no group are excluded.

        Parameters
        ----------
        other : Table
            Table of the other data set.

        Returns
        -------
        Table
            One row per axis that both tables have: ``value`` in bits, in [0, 1], see
            `laion_dask.stats.jensen_shannon`; ``expected``, the approximate value for two samples
            of one distribution; ``n_group`` and ``n_group_2``, rows in the groups of each; and
            ``n``, the smaller of the two.

        Raises
        ------
        OptionError
            If a table has no group shares or pools groups with ``top=``, or the tables have no axis
            in common.
        """
        return table(between_tables(self, other))

    def _numbers_of(self, column: str) -> pd.Series:
        numeric = [name for name in self if pd.api.types.is_numeric_dtype(self[name])]
        if column not in numeric:
            raise ColumnError(
                "The table has no numeric column "
                f"{column!r}.{did_you_mean(column, map(str, numeric))}"
            )
        return self[column].astype("float64")

    def plot(self, **options: Any) -> Any:  # type: ignore[override]  # replaces pandas' accessor
        """HoloViews plot of the rates or values with their intervals. Eager.

        Parameters
        ----------
        **options
            Options of `laion_dask.plots.interval_plot.interval_plot`.

        Raises
        ------
        MissingExtraError
            If HoloViews is not installed.
        """
        from laion_dask.plots.interval_plot import interval_plot

        return interval_plot(self, **options)

    def to_markdown(self) -> str:  # type: ignore[override]  # always all rows, as text
        """The table as GitHub-flavoured Markdown, with numbers to four digits. Eager.

        Text from the data is escaped, so it cannot leave its cell or become markup.
        """
        head, cells, numeric = self._shown(len(self))
        rule = ["---:" if is_number else ":---" for is_number in numeric]
        rows = ([markdown(text) for text in row] for row in [head, *cells])
        header, *body = ("| " + " | ".join(row) + " |" for row in rows)
        lines = [header, "| " + " | ".join(rule) + " |", *body]
        return "\n".join([*lines, *(f"\n{markdown(line)}" for line in self._foot())])

    def __repr__(self) -> str:
        head, cells, _ = self._shown(STATIC_ROWS)
        shown = in_blocks(head, cells) if len(self) else "no results"
        return "\n".join([shown, *self._more(), *self._foot()])

    def _repr_html_(self) -> str:
        return self._overview().html()

    def _overview(self) -> Overview:
        return Overview(grids=[Grid.of(self._filled())], notes=self._foot())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What IPython shows: as `_repr_html_`, but sorted and paged where scripts run."""
        return {"text/html": self._overview().html(is_sortable=True), "text/plain": repr(self)}

    def _filled(self) -> pd.DataFrame:
        """The non-empty columns. An index other than a plain range comes first."""
        frame = with_index(self)
        filled = frame.notna().any().to_numpy(bool)
        return frame.loc[:, filled] if filled.any() else frame

    def _shown(self, limit: int) -> tuple[list[str], list[list[str]], list[bool]]:
        """Header and first rows as text, and which columns are numeric."""
        frame = self._filled()
        rows = frame.head(limit).itertuples(index=False, name=None)
        numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
        head = [text_of(name) for name in frame]
        return head, [[text_of(value) for value in row] for row in rows], numeric

    def _more(self) -> list[str]:
        return [f"{len(self) - STATIC_ROWS:,} rows more"] if len(self) > STATIC_ROWS else []

    def _foot(self) -> list[str]:
        n, notes = self.n_suppressed, list(self.caveats)
        if n:
            subject, verb = ("result", "is") if n == 1 else ("results", "are")
            notes.append(
                f"{n:,} {subject} based on fewer than {self.attrs['min_n']:,} rows {verb} "
                "suppressed."
            )
        rows = self.attrs.get("rows")
        if rows:
            parts = (f"{n:,} {name}" for name, n in rows.items() if name != "read")
            notes.append(f"{rows['read']:,} read = {' + '.join(parts)}")
        return notes


def table(rows: Iterable[Mapping[str, Any]] | pd.DataFrame) -> Table:
    """Build a `Table` with columns in standard order and integer counts.

    The columns in `ALWAYS` exist even if they are empty.
    """
    frame = pd.DataFrame(rows if isinstance(rows, pd.DataFrame) else list(rows))
    frame = frame.assign(**{name: np.nan for name in ALWAYS if name not in frame})
    standard = [name for name in COLUMNS if name in frame]
    others = [name for name in frame if name not in standard and name != "method"]
    frame = frame[[*standard, *others, *(["method"] if "method" in frame else [])]]
    for name in frame:
        if frame[name].dtype == object and frame[name].isna().all():
            frame[name] = np.nan
        if name in WHOLE or str(name).startswith(("n_", "k_")):
            frame[name] = frame[name].astype("Int64" if frame[name].isna().any() else "int64")
    return Table(frame)


def suppressed(result: Table, min_n: int) -> Table:
    """Drop and count the results that are based on fewer than ``min_n`` rows."""
    low = (result["n"] < min_n).fillna(False).to_numpy(bool) if "n" in result else np.zeros(0, bool)
    kept = result[~low].reset_index(drop=True) if low.any() else result
    kept.attrs = {**result.attrs, "suppressed": int(low.sum()), "min_n": min_n}
    if "statistic" in result:
        kept.attrs["suppressed_of"] = result.loc[low, "statistic"].value_counts().to_dict()
    return kept
