"""Self-contained pages: style, boxes of counts, sections, tables, text of which nothing is run.

A page refers to nothing outside itself and holds no script. What comes from the data goes through
`text` and stays text.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from laion_dask.errors import ExportError
from laion_dask.formatting import printable, share_text
from laion_dask.io.storage.atomic_file import committed
from laion_dask.reports.style import STYLE

#: Characters of a label that a table shows.
_LABEL = 80


def check_place(path: str | os.PathLike) -> None:
    """Refuse, before anything is worked out, a place where no page can be written.

    Raises
    ------
    ExportError
    """
    path = Path(path)
    if path.is_dir():
        raise ExportError(f"{path} is a folder. Name a file, such as {path / 'report.html'}.")
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent} for {path.name}. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise ExportError(f"The folder {path.parent} cannot be written to. Name another.")


def write_page(
    path: str | os.PathLike, title: str, parts: Iterable[str], *, about: str = ""
) -> Path:
    """Write a page of some parts, which are HTML of this module's making. Eager.

    The page appears in one step.

    Parameters
    ----------
    path : str or path
        Of the page, such as ``"report.html"``.
    title : str
    parts : iterable of str
    about : str, optional
        A line of plain text under the title, after the package's version.

    Raises
    ------
    ExportError
        When the page cannot be written there.
    """
    path = Path(path)
    said = f"laion_dask {version('laion_dask')}" + (f" · {about}" if about else "")
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<meta http-equiv='Content-Security-Policy' "
        f"content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<meta name='viewport' content='width=device-width'>"
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{text(title)}</h1><p class='note'>{text(said)}</p>{''.join(parts)}</body></html>"
    )
    with committed(path) as file:
        # A lone surrogate, as in a file name that is no UTF-8, is written out.
        file.write(page.encode("utf-8", errors="backslashreplace"))
    return path


def text(value, most: int | None = None) -> str:
    """Any text as harmless HTML: escaped, cut, control characters made visible."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "<i>none</i>"
    value = str(value)
    cut = value if most is None or len(value) <= most else value[:most] + "…"
    return html.escape(printable(cut))


def section(heading: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<h2>{text(heading)}</h2>{''.join(parts)}"


def part(heading: str, *parts: str) -> str:
    """A heading within a section, and what stands under it."""
    return f"<h3>{text(heading)}</h3>{''.join(parts)}"


def folded(heading: str, *parts: str) -> str:
    """What is shown when its heading is clicked; no script does it."""
    return f"<details><summary>{text(heading)}</summary>{''.join(parts)}</details>"


def paragraph(*sentences: str) -> str:
    """Plain text."""
    return f"<p>{text(' '.join(sentences))}</p>"


def caveat(*sentences: str) -> str:
    """Plain text that must not be overlooked."""
    return f"<p class='caveat'>{text(' '.join(sentences))}</p>"


def note(*sentences: str) -> str:
    """Plain text in small print."""
    return f"<p class='note'>{text(' '.join(sentences))}</p>"


def notes(items: Iterable[str]) -> str:
    """A list of plain texts in small print."""
    listed = "".join(f"<li>{text(item)}</li>" for item in items)
    return f"<div class='note'><ul>{listed}</ul></div>" if listed else ""


def code(value) -> str:
    """Text from the data or a filter, as it was given."""
    return f"<code><bdi>{text(value)}</bdi></code>"


def boxes(counts: Mapping[str, int]) -> str:
    """Numbers with their names, in a row of boxes."""
    shown = "".join(f"<div><b>{n:,}</b>{text(name)}</div>" for name, n in counts.items())
    return f"<div class='counts'>{shown}</div>"


def plots(*drawn: str) -> str:
    """Pictures beside each other; one that is wider than the page scrolls in itself."""
    shown = "".join(drawn)
    return f"<div class='plots'>{shown}</div>" if shown else ""


def bar(pixels: float) -> str:
    """A bar of some length before a number; none where it would not be seen."""
    return f"<span class='bar' style='width:{pixels:.0f}px'></span> " if pixels >= 1 else ""


def facts(named: Mapping[str, str]) -> str:
    """Names in front of ready HTML, a line each."""
    made = grid((), ([text(name), value] for name, value in named.items()), left=(0, 1))
    return made.replace("<table>", "<table class='facts'>", 1)


def grid(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Sequence[int] = (0,),
    marked: Sequence[bool] = (),
) -> str:
    """A table of ready HTML, under plain headings.

    Parameters
    ----------
    head : sequence of str
    rows : iterable of sequence of str
        Cells that went through `text`, or are numbers.
    left : sequence of int
        The columns that are set flush left.
    marked : sequence of bool
        Which rows stand out; as many as there are rows.
    """
    flush = {i: " class='left'" for i in left}
    heads = "".join(f"<th{flush.get(i, '')}>{text(name)}</th>" for i, name in enumerate(head))
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td{flush.get(i, '')}>{cell}</td>" for i, cell in enumerate(row))
        stands_out = number < len(marked) and marked[number]
        lines.append(f"<tr{' class=marked' if stands_out else ''}>{cells}</tr>")
    shown = f"<thead><tr>{heads}</tr></thead>" if head else ""
    return f"<div class='scroll'><table>{shown}<tbody>{''.join(lines)}</tbody></table></div>"


def results(
    table: pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    named: Mapping[str, str] | None = None,
    shares: Sequence[str] = ("rate",),
    marked: str | None = None,
    most: int = 200,
) -> str:
    """A `laion_dask.stats.Table` as HTML; an interval's two ends share a column.

    ``lo`` and ``hi`` follow the rate, or the value where there is no rate; ``x_lo`` and ``x_hi``
    follow ``x``. What was left out for too few rows is said beneath.

    Parameters
    ----------
    table : Table, or any DataFrame
    columns : sequence of str, optional
        Which, in this order; by default all that are not empty. Ends of intervals come by
        themselves.
    named : mapping of str to str, optional
        Headings for columns.
    shares : sequence of str
        The columns that are written in percent, with their intervals.
    marked : str, optional
        A column of truth values: its rows stand out.
    most : int
        Rows that are shown.
    """
    named = dict(named or {})
    shown = table.head(most)
    ends = {"rate": ("lo", "hi"), "value": ("lo", "hi")}
    ends |= {c: (f"{c}_lo", f"{c}_hi") for c in table if f"{c}_lo" in table and f"{c}_hi" in table}
    if columns is None:
        taken = {name for pair in ends.values() for name in pair}
        columns = [c for c in table if c not in taken and table[c].notna().any()]
    head, cells, left = [], [], []
    for name in columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            left.append(len(head))
        tell = share_text if name in shares else _chance if name in ("p", "q") else _number
        head.append(named.get(name, name.replace("_", " ")))
        cells.append([_cell(value, tell) for value in shown[name]])
        lo, hi = ends.get(name, ("", ""))
        if lo in table and hi in table and not ("rate" in columns and name == "value"):
            head.append("interval")
            tells = [tell] * len(shown)
            if name == "rate" and "value" in table:
                tells = [tell if pd.notna(rate) else _number for rate in shown["rate"]]
            both = zip(shown[lo], shown[hi], tells, strict=True)
            cells.append([_interval(a, b, tell) for a, b, tell in both])
    stands_out = shown[marked].fillna(False).astype(bool).tolist() if marked in shown else ()
    made = grid(head, zip(*cells, strict=True), left=left, marked=stands_out)
    return made + "".join(note(line) for line in _left_out(table, most))


def _left_out(table: pd.DataFrame, most: int) -> Iterable[str]:
    if len(table) > most:
        yield f"{len(table) - most:,} rows more are not shown."
    yield from getattr(table, "caveats", ())
    few = int(table.attrs.get("suppressed", 0))
    if few:
        rest, are = ("result rests", "is") if few == 1 else ("results rest", "are")
        yield f"{few:,} {rest} on fewer than {table.attrs['min_n']:,} rows and {are} left out."


def _cell(value, tell: Callable[[float], str]) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "-"
    if value is None or value is pd.NA:
        return "-"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return "-" if np.isnan(value) else tell(float(value))
    return f"<bdi>{text(value, _LABEL)}</bdi>"


def _interval(lo: float, hi: float, tell: Callable[[float], str]) -> str:
    return "-" if pd.isna(lo) or pd.isna(hi) else f"{tell(float(lo))} … {tell(float(hi))}"


def _chance(p: float) -> str:
    return "&lt; 0.001" if p < 0.001 else f"{p:.2g}"


def _number(value: float) -> str:
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.3g}" if abs(value) < 1e3 else f"{value:,.0f}"
