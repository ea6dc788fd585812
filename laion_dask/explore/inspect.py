"""What a frame's shards are, before anything of them is read."""

from __future__ import annotations

import dask.dataframe as dd

from laion_dask import lineage
from laion_dask.schema import CANONICAL, recognise
from laion_dask.verbs.export import counted, megabytes


def describe(frame: dd.DataFrame) -> str:
    """Dialect, shards, rows, bytes and columns of a frame, from the footers. Eager, reads no data.

    Raises
    ------
    ProvenanceError
        When the frame does not lead back to one call of `read_shards`.
    """
    shards = lineage.shards(frame)
    stored: dict[str, tuple[str, str]] = {}
    for shard in shards:
        for old, new, type_ in shard.columns:
            stored.setdefault(new, (old, str(type_)))
        for key, new, _ in shard.partition:
            stored.setdefault(new, (f"{key}=…, names of folders", "folder"))
    dialect = recognise(old for old, _ in stored.values())
    rows, size = sum(s.n_rows for s in shards), sum(s.size for s in shards)
    lines = [
        f"{dialect.name}: {dialect.about}",
        f"{counted(len(shards), 'shard')}, {counted(rows, 'row')}, {megabytes(size)}, "
        f"{counted(frame.npartitions, 'partition')}; first {shards[0].path}",
        "",
    ]
    width = max(len(name) for name in stored)
    for name, (old, type_) in stored.items():
        known = CANONICAL.get(name)
        about = f"  {known.about}" if known else ""
        renamed = f" (stored as {old})" if old != name else ""
        lines.append(f"  {name:<{width}}  {type_:<12}{about}{renamed}")
    return "\n".join(lines)
