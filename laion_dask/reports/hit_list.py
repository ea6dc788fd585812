"""Search results as text for a terminal, or as a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from laion_dask.backend import to_pandas
from laion_dask.errors import one_of
from laion_dask.formatting import csv_text, printable
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

    CSV is that of `csv_text`; Parquet keeps text unchanged.

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
            file.write(csv_text(table).encode(errors="backslashreplace"))
        else:
            table.to_parquet(file, index=False)
    return f"{len(table):,} rows in {out}"


def _cut(value) -> str:
    text = "" if pd.isna(value) else printable(str(value))
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
