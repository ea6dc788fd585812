"""Search results as lines for a terminal, or as a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from laion_dask.backend import to_pandas
from laion_dask.errors import one_of
from laion_dask.formatting import printable, spreadsheet_text
from laion_dask.io.storage.atomic_file import committed

#: Characters of a caption or an address that a line has room for.
_WIDTH = 60


def show_hits(found: pd.DataFrame, queries: Sequence) -> str:
    """One line a hit, under a line for each query: rank, similarity, shard, row, caption, address.

    Parameters
    ----------
    found : DataFrame
        As `search` returns it.
    queries : sequence
        What was looked for, to print.
    """
    found = to_pandas(found)
    names = [name for name in ("text", "url") if name in found.columns]
    score = found.columns[2]
    lines = []
    for number, query in enumerate(queries):
        lines.append(printable(str(query)))
        for hit in found[found["query"] == number].to_dict("records"):
            texts = (_cut(hit[name]) for name in names)
            at = f"{hit['shard']}:{hit['row']}"
            line = f"{hit['rank']:>5}  {hit[score]:.4f}  {at:<12}  {'  '.join(texts)}"
            lines.append(line.rstrip())
    return "\n".join(lines)


def write_table(found: pd.DataFrame, out: str | os.PathLike) -> str:
    """Write a table to one file, put in place when it is complete; says what it wrote. Eager.

    In CSV, text that a spreadsheet would run as a formula gets an apostrophe before it, and control
    characters are left out (OWASP, "CSV Injection"); numbers are as they are. Parquet holds text
    as it is.

    Parameters
    ----------
    found : DataFrame
    out : path
        Ends in ``.parquet`` or ``.csv``; or ``"-"``, which prints CSV, and then nothing is said.

    Raises
    ------
    OptionError
        For another ending.
    ExportError
        When the file cannot be written.
    """
    found, out = pd.DataFrame(to_pandas(found)), Path(out)
    if str(out) == "-":
        sys.stdout.write(_as_csv(found))
        return ""
    if out.suffix not in (".parquet", ".csv"):
        raise one_of("the ending of --out", out.suffix, (".parquet", ".csv"))
    with committed(out) as file:
        if out.suffix == ".csv":
            file.write(_as_csv(found).encode(errors="backslashreplace"))
        else:
            found.to_parquet(file, index=False)
    return f"{len(found):,} rows in {out}"


def _as_csv(found: pd.DataFrame) -> str:
    shown = found.rename(columns=lambda name: spreadsheet_text(str(name)))
    for at, dtype in enumerate(found.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            cells = found.iloc[:, at].map(_cell_text, na_action="ignore").astype(object)
            shown.isetitem(at, cells)
    return shown.to_csv(index=False)


def _cell_text(value):
    return value if isinstance(value, (bool, int, float)) else spreadsheet_text(str(value))


def _cut(value) -> str:
    text = "" if pd.isna(value) else printable(str(value))
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
