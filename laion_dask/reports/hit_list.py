"""Search results as text for a terminal, or as a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from laion_dask.backend import to_pandas
from laion_dask.errors import one_of
from laion_dask.formatting import printable, spreadsheet_text
from laion_dask.io.storage.atomic_file import committed

#: Maximum characters of a caption or address.
_WIDTH = 60


def show_hits(hits: pd.DataFrame, queries: Sequence) -> str:
    """Format hits below a line per query: rank, similarity, shard, row, caption, URL. Eager.

    Parameters
    ----------
    hits : DataFrame
        The result of `search`.
    queries : sequence
        The queries in order, as they should be printed.
    """
    hits = to_pandas(hits)
    names = [name for name in ("text", "url") if name in hits.columns]
    score = hits.columns[2]
    lines = []
    for number, query in enumerate(queries):
        lines.append(printable(str(query)))
        for hit in hits[hits["query"] == number].to_dict("records"):
            texts = (_cut(hit[name]) for name in names)
            at = f"{hit['shard']}:{hit['row']}"
            line = f"{hit['rank']:>5}  {hit[score]:.4f}  {at:<12}  {'  '.join(texts)}"
            lines.append(line.rstrip())
    return "\n".join(lines)


def write_table(table: pd.DataFrame, out: str | os.PathLike) -> str:
    """Write a table to one file atomically; returns a line that reports it. Eager.

    CSV is that of `as_csv`; Parquet keeps text unchanged.

    Parameters
    ----------
    table : DataFrame
    out : path
        Ends in ``.parquet`` or ``.csv``.

    Raises
    ------
    OptionError
        For any other extension.
    ExportError
        When the file cannot be written.
    """
    table, out = pd.DataFrame(to_pandas(table)), Path(out)
    if out.suffix not in (".parquet", ".csv"):
        raise one_of("the ending of --out", out.suffix, (".parquet", ".csv"))
    with committed(out) as file:
        if out.suffix == ".csv":
            file.write(as_csv(table).encode(errors="backslashreplace"))
        else:
            table.to_parquet(file, index=False)
    return f"{len(table):,} rows in {out}"


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV that is safe to open in a spreadsheet. Eager.

    Text that a spreadsheet would run as a formula is prefixed with an apostrophe, and control
    characters are removed (OWASP, "CSV Injection"); numbers are unchanged.
    """
    table = pd.DataFrame(to_pandas(table))
    shown = table.rename(columns=lambda name: spreadsheet_text(str(name)))
    for at, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            cells = table.iloc[:, at].map(_cell_text, na_action="ignore").astype(object)
            shown.isetitem(at, cells)  # type: ignore[arg-type]  # the stubs lack a Series
    return shown.to_csv(index=False)


def _cell_text(value):
    return value if isinstance(value, (bool, int, float)) else spreadsheet_text(str(value))


def _cut(value) -> str:
    text = "" if pd.isna(value) else printable(str(value))
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
