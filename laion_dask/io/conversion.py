"""How tables that are not Parquet become shards: a command to run."""

from __future__ import annotations

import re
import shlex

#: A table's ending to how DuckDB reads it; a TSV of captions and addresses has no header.
_READERS = {
    "csv": "read_csv({path})",
    "tsv": "read_csv({path}, delim='\\t', quote='', header=false, names=['caption', 'url'])",
    "jsonl": "read_json({path})",
    "ndjson": "read_json({path})",
}
_TABLE = re.compile(r"\.(csv|tsv|jsonl|ndjson)(\.(gz|zst))?$", re.IGNORECASE)


def conversion(path: str) -> str:
    """What to do about a file that is a table of text; empty for any other file.

    The command streams, with the DuckDB that this package needs anyway.
    """
    found = _TABLE.search(path)
    if found is None:
        return ""
    kind = found.group(1).lower()
    quoted = "'" + path.replace("'", "''") + "'"
    target = "'" + f"{path[: found.start()]}.parquet".replace("'", "''") + "'"
    reader = _READERS[kind].format(path=quoted)
    command = f"import duckdb; duckdb.sql({f'COPY (FROM {reader}) TO {target}'!r})"
    note = " Set names= to its columns, or header=true if it names them." if kind == "tsv" else ""
    return (
        f"{path} is {kind.upper()}, and only Parquet is read. Convert it first: "
        f"python -c {shlex.quote(command)}{note}"
    )
