"""Three ways to join scores to rows by hash; each runs in its own process on two cores.

``python join_ways.py WAY SOURCE OUT`` prints one line of JSON: time and memory, with imports and a
first run over one shard of each side timed separately. ``python join_ways.py prepare DATA ROWS``
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

SCORES = ("punsafe", "pwatermark", "aesthetic")
SHARD = 1_000_000
#: Number of rows in ten that have scores.
SCORED = 9
Sums = list[float]


def prepare(data: str, rows: int) -> str:
    """Write ``metadata`` and ``scores`` of ``rows`` rows if missing, and return their folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = Path(data) / f"join-{rows}"
    if (root / "done").exists():
        return str(root)
    rng = np.random.default_rng(0)
    hashes = rng.integers(-(2**63), 2**63 - 1, rows)
    scored = np.unique(hashes[: rows * SCORED // 10])
    rng.shuffle(scored)
    for name, keys in (("metadata", hashes), ("scores", scored)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number, at in enumerate(range(0, len(keys), SHARD)):
            shard_keys = keys[at : at + SHARD]
            columns = {"hash": shard_keys}
            if name == "metadata":
                columns["text"] = [f"caption number {key}" for key in shard_keys.tolist()]
            else:  # integers, so that sums do not depend on the order
                columns |= {
                    score: ((shard_keys >> (8 * i)) % 1024).astype("f4")
                    for i, score in enumerate(SCORES)
                }
            path = root / name / f"part_{number:04d}.parquet"
            pq.write_table(pa.table(columns), path, row_group_size=SHARD // 4)
    (root / "done").touch()
    return str(root)


def polars_way() -> Callable[[str, str], Sums]:
    """A lazy left join in the streaming engine."""
    import polars as pl

    def run(metadata: str, scores: str) -> Sums:
        rows = pl.scan_parquet(metadata).select("hash")
        joined = rows.join(pl.scan_parquet(scores), on="hash", how="left")
        sums = joined.select(pl.col(SCORES).cast(pl.Float64).sum(), n=pl.col(SCORES[0]).count())
        return list(map(float, sums.collect(engine="streaming").row(0)))

    return run


def duckdb_way() -> Callable[[str, str], Sums]:
    """``LEFT JOIN … USING (hash)``."""
    import duckdb

    sums = ", ".join(f"sum({score}::DOUBLE)" for score in SCORES)

    def run(metadata: str, scores: str) -> Sums:
        with duckdb.connect(config={"threads": CORES}) as connection:
            (row,) = connection.execute(
                f"""SELECT {sums}, count({SCORES[0]}) FROM read_parquet('{metadata}')
                LEFT JOIN read_parquet('{scores}') USING (hash)"""
            ).fetchall()
            return list(map(float, row))

    return run


def laion_dask_way() -> Callable[[str, str], Sums]:
    """``frame.laion.join(scores, on="hash")``, with Dask's threaded scheduler.

    It also rejects duplicate keys in the scores, and keeps each row's partition and order.
    """
    import dask
    import dask.dataframe

    import laion_dask as ld

    dask.config.set(scheduler="threads", num_workers=CORES)
    read_shards = ld.read_shards

    def run(metadata: str, scores: str) -> Sums:
        joined = read_shards(metadata, columns=["hash"]).laion.join(scores, on="hash")
        sums = [joined[score].astype("float64").sum() for score in SCORES]
        return list(map(float, dask.compute(*sums, joined[SCORES[0]].count())))

    return run


WAYS = {"polars": polars_way, "DuckDB": duckdb_way, "laion_dask": laion_dask_way}


def run(way: str, source: str, out: str) -> dict:
    """Time one contender and write its sums to ``out``."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    start = time.perf_counter()
    join = WAYS[way]()
    imported = time.perf_counter()
    one = "part_0000.parquet"
    join(f"{source}/metadata/{one}", f"{source}/scores/{one}")
    began, cpu = time.perf_counter(), cpu_seconds()
    sums = join(f"{source}/metadata/*.parquet", f"{source}/scores/*.parquet")
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
