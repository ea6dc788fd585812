"""The tidy table of results."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from laion_dask.caveats import caveats_of
from laion_dask.errors import ColumnError, OptionError, did_you_mean
from laion_dask.formatting import printable
from laion_dask.reserved_labels import NOT_GROUPS
from laion_dask.stats.divergence import between_tables
from laion_dask.stats.table_text import in_blocks

#: The columns that tables share, in order; a statistic may have more, which follow.
COLUMNS = (
    "statistic", "term", "axis", "group", "threshold", "n", "k", "rate", "value", "lo", "hi",
)  # fmt: skip
#: Those of them, and ``method``, that are there even where they are empty; they are not shown then.
ALWAYS = ("term", "axis", "group", "threshold", "n", "k", "rate", "lo", "hi", "method")
#: Rows that are shown on a screen, and characters of a text.
_MOST, _LONG = 100, 120
#: The columns that hold whole numbers, as do those that begin with ``n_`` or ``k_``.
WHOLE = ("n", "k", "undecided")


class Table(pd.DataFrame):
    """One row a result; a pandas DataFrame in all else.

    Columns, as far as a statistic has them:

    ``statistic`` which one; ``term`` what is counted (an expression, a word, a column, a domain);
    ``axis`` and ``group`` among which rows; ``threshold``; ``n`` rows that it rests on; ``k`` of
    them that have it; ``rate`` their share k / n; ``value`` what is no share; ``lo``, ``hi`` the
    interval of the rate, or of the value; ``method`` how the interval was made.

    ``attrs["suppressed"]`` counts the results that were left out because they rest on fewer than
    ``attrs["min_n"]`` rows, ``attrs["suppressed_of"]`` those of each statistic; ``attrs["rows"]``
    says what became of the rows that were read; ``attrs["statistics"]`` names what was asked for,
    also where all of it was left out, and the columns of each.

    A table with results that are only true with a caveat (see `caveats`) shows it wherever it is
    shown.
    """

    @property
    def _constructor(self):
        return Table

    @property
    def n_suppressed(self) -> int:
        """The number of results suppressed because they are based on too few rows."""
        return int(self.attrs.get("suppressed", 0))

    @property
    def caveats(self) -> tuple[str, ...]:
        """The caveats of these results, from the text of the rows and from ``attrs``."""
        return caveats_of(self)

    def of(self, statistic: str) -> Table:
        """The results of one statistic, without columns of other statistics.

        Raises
        ------
        OptionError
            When there is none of that name.
        """
        found = self["statistic"].unique() if "statistic" in self else []
        known = [*found, *self.attrs.get("statistics", ())]
        if statistic not in known:
            raise OptionError(f"There is no {statistic!r} here.{did_you_mean(statistic, known)}")
        rows = self[self["statistic"] == statistic].drop(columns="statistic")
        known = {*ALWAYS, *self.attrs.get("statistics", {}).get(statistic, ())}
        mine = [name for name in rows if name in known or rows[name].notna().any()]
        found = rows[mine].reset_index(drop=True)
        if "suppressed_of" in self.attrs:
            few = self.attrs["suppressed_of"].get(statistic, 0)
            found.attrs = {**self.attrs, "suppressed": few, "suppressed_of": {statistic: few}}
        return found

    def top(self, k: int, by: str = "n") -> Table:
        """The k groups of each axis with the largest value in a column. Eager.

        All rows together, and those in no group, stay; a caveat says how many groups do not, and
        how many rows these have. Adjusted p values stay those of all groups that were compared.

        Raises
        ------
        OptionError, ColumnError
            When k is not a positive integer, or there is no such numeric column.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise OptionError(f"top is {k!r}. Expected a whole number of groups, such as 20.")
        values = self._numbers_of(by)
        groups = self["axis"].notna() & ~self["group"].isin(NOT_GROUPS)
        within = [name for name in ("statistic", "axis", "term", "threshold") if name in self]
        ranked = values[groups].to_frame("value").assign(**{n: self[n] for n in within})
        ranks = ranked.groupby(within, dropna=False)["value"] if within else ranked["value"]
        ranks = ranks.rank(method="first", ascending=False)
        out = ranks.index[~(ranks <= k)]
        kept = self.drop(index=out).reset_index(drop=True)
        kept.attrs = dict(self.attrs)
        if len(out):
            rows = f", with {int(self.loc[out, 'n'].sum()):,} rows" if "n" in self else ""
            said = f"The {k:,} groups of largest {by} of each axis; {len(out):,} others{rows}."
            kept.attrs["caveats"] = (*self.attrs.get("caveats", ()), said)
        return kept

    def sort(self, by: str, ascending: bool = False) -> Table:
        """The table ordered by a column of numbers, the largest first by default. Eager.

        Raises
        ------
        ColumnError
            When there is no such numeric column.
        """
        order = self._numbers_of(by).sort_values(ascending=ascending, kind="stable").index
        found = self.loc[order].reset_index(drop=True)
        found.attrs = dict(self.attrs)
        return found

    def divergence(self, other: pd.DataFrame) -> Table:
        """The Jensen-Shannon divergence of two data sets, axis by axis. Eager.

        Of the shares of groups that ``rates(None, by=...)`` gives for both: languages, registered
        domains, mentions. Rows in no group are left out.

        Parameters
        ----------
        other : Table
            Of the other data set.

        Returns
        -------
        Table
            A row for each axis that both tables have: ``value`` in bits, in [0, 1], see
            `laion_dask.stats.jensen_shannon`; ``expected``, about what chance makes of two samples
            of one distribution; ``n_group`` and ``n_group_2``, rows in the groups of each, and
            ``n``, the smaller.

        Raises
        ------
        OptionError
            When one has no shares of groups, or pools some by ``top=``, or the two have no axis in
            common.
        """
        return table(between_tables(self, other))

    def _numbers_of(self, column: str) -> pd.Series:
        numeric = [name for name in self if pd.api.types.is_numeric_dtype(self[name])]
        if column not in numeric:
            raise ColumnError(
                f"There is no column of numbers {column!r}.{did_you_mean(column, numeric)}"
            )
        return self[column].astype("float64")

    def plot(self, **options):
        """Rates or values with their intervals, as HoloViews. Eager.

        Parameters
        ----------
        **options
            Of `laion_dask.plots.intervals.interval_plot`.

        Raises
        ------
        MissingExtraError
            When HoloViews is not installed.
        """
        from laion_dask.plots.intervals import interval_plot

        return interval_plot(self, **options)

    def to_markdown(self) -> str:
        """The table in GitHub's Markdown, numbers to four digits. Eager.

        Text from the data cannot break out of its cell, nor become markup.
        """
        head, cells, numeric = self._shown(len(self))
        rule = ["---:" if is_number else ":---" for is_number in numeric]
        rows = ([_markdown(text) for text in row] for row in [head, *cells])
        first, *rest = ("| " + " | ".join(row) + " |" for row in rows)
        lines = [first, "| " + " | ".join(rule) + " |", *rest]
        return "\n".join([*lines, *(f"\n{_markdown(line)}" for line in self._foot())])

    def __repr__(self) -> str:
        head, cells, _ = self._shown(_MOST)
        shown = in_blocks(head, cells) if len(self) else "no results"
        return "\n".join([shown, *self._more(), *self._foot()])

    def _repr_html_(self) -> str:
        head, cells, _ = self._shown(_MOST)
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        body = "".join("<tr>" + "".join(_cell(text) for text in row) + "</tr>" for row in cells)
        foot = "".join(f"<p>{html.escape(line)}</p>" for line in (*self._more(), *self._foot()))
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        return f"{in_scroll(table)}{foot}"

    def _shown(self, most: int) -> tuple[list[str], list[list[str]], list[bool]]:
        """The columns that are not empty, and their first rows, as text that steers nothing.

        And which columns are of numbers. An index that is more than a count of rows comes first.
        """
        frame = pd.DataFrame(self)
        counted = pd.api.types.is_integer_dtype(frame.index) and frame.index.nlevels == 1
        if not counted or frame.index.name is not None:
            frame = frame.reset_index(allow_duplicates=True)
        filled = frame.notna().any().to_numpy(bool)
        frame = frame.loc[:, filled] if filled.any() else frame
        rows = frame.head(most).itertuples(index=False, name=None)
        numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
        head = [_text(name) for name in frame]
        return head, [[_text(value) for value in row] for row in rows], numeric

    def _more(self) -> list[str]:
        return [f"{len(self) - _MOST:,} rows more"] if len(self) > _MOST else []

    def _foot(self) -> list[str]:
        few, said = self.n_suppressed, list(self.caveats)
        if few:
            what, left = ("result rests", "is") if few == 1 else ("results rest", "are")
            said.append(
                f"{few:,} {what} on fewer than {self.attrs['min_n']:,} rows and {left} left out."
            )
        rows = self.attrs.get("rows")
        if rows:
            parts = (f"{n:,} {name}" for name, n in rows.items() if name != "read")
            said.append(f"{rows['read']:,} read = {' + '.join(parts)}")
        return said


def table(rows: Iterable[dict] | pd.DataFrame) -> Table:
    """A `Table` of some rows, its columns in their order, whole numbers as such.

    The columns that every table has are there even where they are empty.
    """
    frame = pd.DataFrame(rows if isinstance(rows, pd.DataFrame) else list(rows))
    frame = frame.assign(**{name: np.nan for name in ALWAYS if name not in frame})
    known = [name for name in COLUMNS if name in frame]
    rest = [name for name in frame if name not in known and name != "method"]
    frame = frame[[*known, *rest, *(["method"] if "method" in frame else [])]]
    for name in frame:
        if frame[name].dtype == object and frame[name].isna().all():
            frame[name] = np.nan
        if name in WHOLE or name.startswith(("n_", "k_")):
            frame[name] = frame[name].astype("Int64" if frame[name].isna().any() else "int64")
    return Table(frame)


def suppressed(result: Table, min_n: int) -> Table:
    """The table without results based on fewer than ``min_n`` rows; ``attrs`` counts them."""
    few = (result["n"] < min_n).fillna(False).to_numpy(bool) if "n" in result else np.zeros(0, bool)
    kept = result[~few].reset_index(drop=True) if few.any() else result
    kept.attrs = {**result.attrs, "suppressed": int(few.sum()), "min_n": min_n}
    if "statistic" in result:
        kept.attrs["suppressed_of"] = result.loc[few, "statistic"].value_counts().to_dict()
    return kept


def _text(value) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return printable(str(value))


def _cell(text: str) -> str:
    """An HTML cell on one line; long text is truncated."""
    shown = text if len(text) <= _LONG else text[:_LONG] + "…"
    return f"<td><bdi style='white-space:nowrap'>{html.escape(shown)}</bdi></td>"


def in_scroll(table: str) -> str:
    """An HTML table that scrolls on its own if it is wider than the page."""
    return f"<div style='overflow-x:auto;max-width:100%'>{table}</div>"


_MARKUP = str.maketrans(
    {c: f"\\{c}" for c in "\\`*_[]|#~!$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)


#: What GitHub makes a link of without being asked, cut in two.
_LINKED = re.compile(r"(?i)\bwww(?=\.)|:(?=//)|(?<=\w)(?=@)")


def _markdown(text: str) -> str:
    return _LINKED.sub(r"\g<0>\\", text.translate(_MARKUP))
