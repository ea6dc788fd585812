"""Suggest a command that converts a text table, such as CSV, to Parquet."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_TABLE = re.compile(r"\.(csv|tsv|jsonl|ndjson)(\.(gz|zst))?$", re.IGNORECASE)
#: Bytes read to find the first line of a table.
_HEAD = 1 << 16


def conversion(path: str) -> str:
    """Advice on how to convert a file if it is a text table; empty for any other file.

    The command streams the file with DuckDB, which this package requires anyway.
    """
    match = _TABLE.search(path)
    if match is None:
        return ""
    kind, target = match.group(1).lower(), f"{path[: match.start()]}.parquet"
    reader, note = f"read_json({path!r})", ""
    if kind in ("csv", "tsv"):
        options = "delimiter='\\t', quotechar=''" if kind == "tsv" else ""
        names = _names_without_header(path, "\t" if kind == "tsv" else ",")
        if names:
            options += f"{', ' if options else ''}header=False, names={names}"
            note = f" It has no header: replace {names} with its column names."
        reader = f"read_csv({path!r}{', ' if options else ''}{options})"
    code = f"import duckdb; duckdb.{reader}.write_parquet({target!r})"
    quoted = shlex.quote(code) if set(code) & set('"$`!') else f'"{code}"'
    return (
        f"{path} is {kind.upper()}, but only Parquet can be read. Convert it first: python -c "
        f"{quoted}{note}"
    )


def _names_without_header(path: str, separator: str) -> list[str]:
    """Names for the columns of a table whose first line contains a URL; else empty."""
    try:
        with Path(path).open("rb") as file:
            line = file.read(_HEAD).split(b"\n")[0].decode("utf-8", "replace")
    except OSError:  # remote or unreadable; the suggested command will report it
        return []
    cells = line.rstrip("\r").split(separator)
    urls = [cell.strip('"').startswith(("http://", "https://")) for cell in cells]
    if not any(urls):
        return []
    free = iter(["caption", *(f"column{n}" for n in range(len(cells)))])
    first = urls.index(True)
    return ["url" if number == first else next(free) for number in range(len(cells))]
