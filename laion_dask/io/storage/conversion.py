"""How tables that are not Parquet become shards: a command to run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_TABLE = re.compile(r"\.(csv|tsv|jsonl|ndjson)(\.(gz|zst))?$", re.IGNORECASE)
#: Bytes of a table in which its first line is looked for.
_START = 1 << 16


def conversion(path: str) -> str:
    """What to do about a file that is a table of text; empty for any other file.

    The command streams, with the DuckDB that this package needs anyway.
    """
    found = _TABLE.search(path)
    if found is None:
        return ""
    kind, target = found.group(1).lower(), f"{path[: found.start()]}.parquet"
    reader, note = f"read_json({path!r})", ""
    if kind in ("csv", "tsv"):
        options = "delimiter='\\t', quotechar=''" if kind == "tsv" else ""
        names = _names_without_header(path, "\t" if kind == "tsv" else ",")
        if names:
            options += f"{', ' if options else ''}header=False, names={names}"
            note = f" It has no header: put its own column names in place of {names}."
        reader = f"read_csv({path!r}{', ' if options else ''}{options})"
    code = f"import duckdb; duckdb.{reader}.write_parquet({target!r})"
    quoted = shlex.quote(code) if set(code) & set('"$`!') else f'"{code}"'
    return (
        f"{path} is {kind.upper()}, and only Parquet is read. Convert it first: python -c "
        f"{quoted}{note}"
    )


def _names_without_header(path: str, separator: str) -> list[str]:
    """Names for the columns of a table whose first line holds an address; else none."""
    try:
        with Path(path).open("rb") as file:
            line = file.read(_START).split(b"\n")[0].decode("utf-8", "replace")
    except OSError:  # in a store, or not to be read: the command says so
        return []
    cells = line.rstrip("\r").split(separator)
    urls = [cell.strip('"').startswith(("http://", "https://")) for cell in cells]
    if not any(urls):
        return []
    free = iter(["caption", *(f"column{n}" for n in range(len(cells)))])
    first = urls.index(True)
    return ["url" if number == first else next(free) for number in range(len(cells))]
