"""Five ways to count the most frequent domains; each runs in its own process on two cores.

``python domains_ways.py WAY SOURCE OUT`` prints one line of JSON: time and memory, with imports and
a first run over one shard timed separately.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from carve_ways import CORES, cpu_seconds, peak_bytes

TOP = 1_000
Counts = list[tuple[str, int]]


def polars_way() -> Callable[[str], Counts]:
    """``split`` by slashes, ``group_by``, ``sort``."""
    import polars as pl

    def run(source: str) -> Counts:
        host = pl.col("URL").str.split("/").list.get(2).alias("host")
        counted = pl.scan_parquet(source).select(host).group_by("host").len()
        top = counted.sort(["len", "host"], descending=[True, False]).head(TOP).collect()
        return list(zip(top["host"].to_list(), top["len"].to_list(), strict=True))

    return run


def duckdb_way() -> Callable[[str], Counts]:
    """``split_part``, ``GROUP BY``, ``ORDER BY``."""
    import duckdb

    def run(source: str) -> Counts:
        with duckdb.connect(config={"threads": CORES}) as connection:
            return connection.execute(
                f"""SELECT split_part(URL, '/', 3) AS host, count(*) AS n
                FROM read_parquet('{source}') GROUP BY host ORDER BY n DESC, host LIMIT {TOP}"""
            ).fetchall()

    return run


def dask_way() -> Callable[[str], Counts]:
    """Plain ``dask.dataframe`` with threads: ``str.split``, ``value_counts``."""
    import dask
    import dask.dataframe as dd

    dask.config.set(scheduler="threads", num_workers=CORES)

    def run(source: str) -> Counts:
        urls = dd.read_parquet(source, columns=["URL"])["URL"]
        hosts = urls.str.split("/", n=3, expand=True)[2]
        counts = hosts.value_counts().compute()
        return sorted(zip(counts.index, counts.tolist(), strict=True), key=lambda p: (-p[1], p[0]))[
            :TOP
        ]

    return run


def laion_dask_way() -> Callable[[str], Counts]:
    """``df.laion.statistics(ld.concentration(top=1000))``, with Dask's threaded scheduler.

    Unlike the others, it looks up every host in the public suffix list and computes the shares of
    the first domains, Gini, Herfindahl and entropy over all domains, with an interval for each.
    """
    import dask
    import dask.dataframe

    import laion_dask as ld

    dask.config.set(scheduler="threads", num_workers=CORES)
    read_shards, concentration = ld.read_shards, ld.concentration

    def run(source: str) -> Counts:
        rows = read_shards(source).laion.statistics(concentration(top=TOP))
        rows = rows[rows["group"] == "label"]
        return list(zip(rows["term"].tolist(), rows["k"].tolist(), strict=True))

    return run


def hosts_by_duckdb_way() -> Callable[[str], Counts]:
    """The same, with DuckDB's ``split_part`` over each partition instead of our compiled parser."""
    import duckdb
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from laion_dask.text import domains
    from laion_dask.text.hosts import NULL, OTHER

    def authorities(urls: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
        addresses = pa.table({"url": urls})  # noqa: F841 (used by the query)
        with duckdb.connect(config={"threads": 1}) as connection:
            cut = connection.sql(
                """SELECT CASE WHEN starts_with(url, 'http://') OR starts_with(url, 'https://')
                THEN split_part(url, '/', 3) END AS host FROM addresses"""
            ).to_arrow_table()["host"]
        coded = cut.combine_chunks().cast(pa.large_string()).dictionary_encode()
        codes = pc.fill_null(coded.indices, OTHER).to_numpy().copy()
        if urls.null_count:
            codes[pc.is_null(urls).to_numpy()] = NULL
        return coded.dictionary, codes

    domains.authorities = authorities
    return laion_dask_way()


WAYS = {
    "polars": polars_way,
    "DuckDB": duckdb_way,
    "dask.dataframe": dask_way,
    "laion_dask": laion_dask_way,
    "laion_dask, hosts by DuckDB": hosts_by_duckdb_way,
}


def run(way: str, source: str, out: str) -> dict:
    """Time one contender and write its counts to ``out``."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    start = time.perf_counter()
    count = WAYS[way]()
    imported = time.perf_counter()
    count(str(sorted(Path(source).glob("*.parquet"))[0]))
    began, cpu = time.perf_counter(), cpu_seconds()
    counts = count(f"{source}/*.parquet")
    wall, used = time.perf_counter() - began, cpu_seconds() - cpu
    Path(out).write_text(json.dumps(counts))
    return {
        "wall_s": wall,
        "cpu_s": used,
        "peak_bytes": peak_bytes(),
        "import_s": imported - start,
        "first_s": began - imported,
    }


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
