"""What the carving benchmark reads, and whether what it wrote agrees.

Both run in processes of their own: on Linux a child's peak memory begins at its parent's, so the
process that starts the ways must stay small.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from laion_dask.demo.synthetic import write_laion_like
from laion_dask.demo.synthetic_rows import SCHEMA


def prepare(data: str, rows: int) -> str:
    """The folder of ``rows`` generated rows, made if need be, read once so that it is cached."""
    root = Path(data) / f"carve-{rows}"
    shards = sorted((root / "metadata").glob("*.parquet"))
    if sum(pq.read_metadata(shard).num_rows for shard in shards) != rows:
        shards = write_laion_like(root, rows, subset="laion2B-multi", progress=True)
    for shard in shards:
        with shard.open("rb") as file:
            while file.read(1 << 24):
                pass
    return str(root / "metadata")


def outcome(out: str) -> pa.Table:
    """What a way kept: LAION's ten columns in LAION's types, sorted by hash and URL."""
    parts = sorted(Path(out).rglob("*.parquet"))
    table = ds.dataset(parts, format="parquet").to_table()
    by_name = {name.lower(): name for name in table.column_names}
    columns = [table[by_name[f.name.lower()]].cast(f.type) for f in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA).sort_by(
        [("hash", "ascending"), ("URL", "ascending")]
    )


def compare(*outs: str) -> dict:
    """How many rows each output has, and which outputs differ from the first."""
    first = outcome(outs[0])
    others = {out: outcome(out) for out in outs[1:]}
    return {
        "rows": {out: table.num_rows for out, table in {outs[0]: first, **others}.items()},
        "different": [out for out, table in others.items() if not table.equals(first)],
    }


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    if task == "prepare":
        print(json.dumps(prepare(arguments[0], int(arguments[1]))))
    else:
        print(json.dumps(compare(*arguments)))
