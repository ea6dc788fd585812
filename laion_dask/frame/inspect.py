"""Facts about a frame's shards, read from their footers."""

from __future__ import annotations

from typing import Any

import dask.dataframe as dd

from laion_dask.dialects import recognize
from laion_dask.formatting import counted, in_bytes
from laion_dask.frame.provenance import Provenance
from laion_dask.schema import CANONICAL


def facts(frame: dd.DataFrame) -> dict[str, Any]:
    """Dialect, shards, rows, bytes and columns of a frame, from footers. Eager; reads no data.

    Raises
    ------
    ProvenanceError
        When the frame does not come from a single call of `read_shards`.
    """
    shards = Provenance.of(frame).shards
    stored: dict[str, tuple[str, str]] = {}
    for shard in shards:
        for old, new, type_ in shard.columns:
            stored.setdefault(new, (old, str(type_)))
        for key, new, _ in shard.partition:
            stored.setdefault(new, (f"{key}=…, names of folders", "folder"))
    dialect = recognize(old for old, _ in stored.values())
    return {
        "dialect": dialect.name,
        "about": dialect.about,
        "shards": len(shards),
        "rows": sum(s.n_rows for s in shards),
        "bytes": sum(s.size for s in shards),
        "partitions": frame.npartitions,
        "first": shards[0].path,
        "columns": [
            {
                "name": name,
                "type": type_,
                "stored_as": old,
                "about": CANONICAL[name].about if name in CANONICAL else None,
            }
            for name, (old, type_) in stored.items()
        ],
    }


def inspect_text(frame: dd.DataFrame) -> str:
    """The `facts` of a frame as text. Eager; reads no data."""
    info = facts(frame)
    lines = [
        f"{info['dialect']}: {info['about']}",
        f"{counted(info['shards'], 'shard')}, {counted(info['rows'], 'row')}, "
        f"{in_bytes(info['bytes'])}, {counted(info['partitions'], 'partition')}; "
        f"first {info['first']}",
        "",
    ]
    width = max(len(column["name"]) for column in info["columns"])
    for column in info["columns"]:
        about = f"  {column['about']}" if column["about"] else ""
        old = column["stored_as"]
        renamed = f" (stored as {old})" if old != column["name"] else ""
        lines.append(f"  {column['name']:<{width}}  {column['type']:<12}{about}{renamed}")
    return "\n".join(lines)
