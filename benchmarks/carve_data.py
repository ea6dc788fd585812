"""Generate the input of the carving benchmark and compare its outputs.

Both run in separate processes: on Linux, the peak memory of a child starts at that of its parent,
so the process that starts the contenders must stay small.
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
    """Generate ``rows`` rows if missing, read them into the page cache, and return their folder."""
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
    """The rows kept by a contender: LAION's ten columns and types, sorted by hash and URL."""
    parts = sorted(Path(out).rglob("*.parquet"))
    table = ds.dataset(parts, format="parquet").to_table()
    by_name = {name.lower(): name for name in table.column_names}
    columns = [table[by_name[f.name.lower()]].cast(f.type) for f in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA).sort_by(
        [("hash", "ascending"), ("URL", "ascending")]
    )


def compare(*outs: str) -> dict:
    """The number of rows of each output, and the outputs that differ from the first."""
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
