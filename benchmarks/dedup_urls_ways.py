"""Three ways to keep the first row of each URL; each runs in its own process on two cores.

``python dedup_urls_ways.py WAY SOURCE OUT`` prints one line of JSON: time and memory, with imports
and a first run over one shard timed separately. ``python dedup_urls_ways.py prepare DATA ROWS``
writes the rows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from carve_ways import CORES, cpu_seconds, peak_bytes

SHARD = 1_000_000
#: Rows in ten that have a URL of their own or are the first of theirs, about.
DISTINCT = 8
#: The limit that DuckDB gets; polars has none to set.
MEMORY = "4GB"


def prepare(data: str, rows: int) -> str:
    """Write shards of ``rows`` rows if missing, and return their folder."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    root = Path(data) / f"dedup-urls-{rows}"
    if (root / "done").exists():
        return str(root / "metadata")
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for number, at in enumerate(range(0, rows, SHARD)):
        n = min(SHARD, rows - at)
        image = draw.integers(0, rows * DISTINCT // 4, n)
        host = pa.array((image % 99_991).astype(str))
        name = pa.array((image * 7_919).astype(str))
        urls = pc.binary_join_element_wise(
            "https://images", host, ".example.com/photos/large/", name, ".jpg?width=1024", ""
        )
        columns = {"URL": urls, "id": pa.array(np.arange(at, at + n))}
        pq.write_table(pa.table(columns), root / "metadata" / f"part_{number:04d}.parquet",
                       row_group_size=SHARD // 8)  # fmt: skip
    (root / "done").touch()
    return str(root / "metadata")


def polars_way() -> Callable[[str], list[int]]:
    """The smallest id of each URL, in the streaming engine."""
    import polars as pl

    def run(source: str) -> list[int]:
        first = pl.scan_parquet(source).group_by("URL").agg(pl.col("id").min())
        sums = first.select(pl.len(), pl.col("id").sum())
        return list(map(int, sums.collect(engine="streaming").row(0)))

    return run


def duckdb_way() -> Callable[[str], list[int]]:
    """``min(id) … GROUP BY URL``."""
    import duckdb

    def run(source: str) -> list[int]:
        config = {"threads": CORES, "memory_limit": MEMORY, "temp_directory": "/tmp/duckdb-dedup"}
        with duckdb.connect(config=config) as connection:
            (row,) = connection.execute(
                f"""SELECT count(*), sum(id) FROM
                (SELECT min(id) AS id FROM read_parquet('{source}') GROUP BY URL)"""
            ).fetchall()
            return list(map(int, row))

    return run


def laion_dask_way() -> Callable[[str], list[int]]:
    """``frame.laion.dedup("url")``, with Dask's threaded scheduler."""
    import dask
    import dask.dataframe

    import laion_dask as ld

    dask.config.set(scheduler="threads", num_workers=CORES)
    read_shards = ld.read_shards

    def run(source: str) -> list[int]:
        first = read_shards(source, columns=["url", "id"]).laion.dedup("url")["id"]
        return list(map(int, dask.compute(first.count(), first.sum())))

    return run


WAYS = {"polars": polars_way, "DuckDB": duckdb_way, "laion_dask": laion_dask_way}


def run(way: str, source: str, out: str) -> dict:
    """Time one contender and write the number of its rows and the sum of their ids to ``out``."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    start = time.perf_counter()
    dedup = WAYS[way]()
    imported = time.perf_counter()
    dedup(f"{source}/part_0000.parquet")
    began, cpu = time.perf_counter(), cpu_seconds()
    sums = dedup(f"{source}/*.parquet")
    wall, used = time.perf_counter() - began, cpu_seconds() - cpu
    Path(out).write_text(json.dumps(sums))
    return {
        "wall_s": wall,
        "cpu_s": used,
        "peak_bytes": peak_bytes(),
        "import_s": imported - start,
        "first_s": began - imported,
    }


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        print(json.dumps(prepare(sys.argv[2], int(sys.argv[3]))))
    else:
        print(json.dumps(run(*sys.argv[1:])))
