"""Four steps over many small shards, by laion_dask and by its peers.

``python small_shards_ways.py STEP WAY SOURCE OUT`` prints one line of JSON: time and memory, with
imports timed separately, and the numbers on which all ways of a step must agree.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from carve_ways import CORES, WAYS, cpu_seconds, peak_bytes

K = 100
Run = Callable[[str, str], dict]


def _open_polars() -> Run:
    """Count the rows of all footers; opening alone would read a single one."""
    import polars as pl

    def run(source: str, out: str) -> dict:
        rows = pl.scan_parquet(f"{source}/metadata/*.parquet").select(pl.len()).collect().item()
        return {"rows": rows}

    return run


def _open_duckdb() -> Run:
    import duckdb

    def run(source: str, out: str) -> dict:
        files = f"{source}/metadata/*.parquet"
        with duckdb.connect(config={"threads": CORES}) as connection:
            counted = connection.sql(f"SELECT count(*) FROM read_parquet('{files}')")
            return {"rows": counted.fetchall()[0][0]}

    return run


def _open_laion_dask() -> Run:
    ld = _laion_dask()

    def run(source: str, out: str) -> dict:
        ld.read_shards(f"{source}/metadata")
        return {}

    return run


def _open_again_laion_dask() -> Run:
    """The second time in a process, which has the footers in its cache."""
    ld = _laion_dask()
    first = ld.read_shards(f"{sys.argv[3]}/metadata")

    def run(source: str, out: str) -> dict:
        frame = ld.read_shards(f"{source}/metadata")
        assert frame.npartitions == first.npartitions
        return {}

    return run


def _export(way: str) -> Callable[[], Run]:
    def make() -> Run:
        carve = WAYS[way]()

        def run(source: str, out: str) -> dict:
            carve(f"{source}/metadata", out)
            return {}

        return run

    return make


def _summary_polars() -> Run:
    from full_pass_ways import polars_way

    describe = polars_way(())

    def run(source: str, out: str) -> dict:
        return {"rows": describe(f"{source}/metadata")["rows"]}

    return run


def _summary_duckdb() -> Run:
    """Three queries: the numbers and their quantiles, the languages, the domains."""
    import duckdb

    ranks = [i / 20 for i in range(1, 20)]
    numbers = ("WIDTH", "HEIGHT", "length(TEXT)", "similarity")
    quantiles = ", ".join(f"quantile_disc({n}, {ranks}), avg({n})" for n in numbers)
    names = ("URL", "TEXT", "WIDTH", "HEIGHT", "similarity", "LANGUAGE", "punsafe", "pwatermark")
    nulls = ", ".join(f"count({n})" for n in names)
    sides = ", ".join(f"count_if(WIDTH >= {s} AND HEIGHT >= {s})" for s in (256, 512, 1024))
    host = r"regexp_extract(URL, '^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#@]*@)?([^/?#:]*)', 1)"

    def run(source: str, out: str) -> dict:
        rows = f"read_parquet('{source}/metadata/*.parquet', can_have_nan => true)"
        with duckdb.connect(config={"threads": CORES}) as connection:
            totals = connection.sql(f"SELECT count(*), {nulls}, {sides}, {quantiles} FROM {rows}")
            n = totals.fetchall()[0][0]
            connection.sql(
                "SELECT LANGUAGE, count(*), count_if(punsafe > 0.5), count_if(pwatermark > 0.8) "
                f"FROM {rows} GROUP BY LANGUAGE"
            ).fetchall()
            connection.sql(
                f"SELECT {host} AS host, count(*) AS n FROM {rows} GROUP BY host "
                "ORDER BY n DESC LIMIT 1000"
            ).fetchall()
        return {"rows": n}

    return run


def _summary_laion_dask() -> Run:
    ld = _laion_dask()

    def run(source: str, out: str) -> dict:
        return {"rows": ld.read_shards(f"{source}/metadata").laion.summary().n_rows}

    return run


def _search_numpy() -> Run:
    """``numpy.load`` of every file, a product in float32, and a running selection of the best."""
    import numpy as np

    def run(source: str, out: str) -> dict:
        query = _query(np, source)
        best = np.empty(0, np.float32)
        for path in sorted(Path(source, "img_emb").iterdir()):
            cosines = np.load(path).astype(np.float32) @ query
            best = np.concatenate([best, cosines])
            best = np.partition(best, len(best) - K)[-K:] if len(best) > K else best
        return {"kth": round(float(best.min()), 3)}

    return run


def _search_laion_dask() -> Run:
    import numpy as np

    ld = _laion_dask()

    def run(source: str, out: str) -> dict:
        frame = ld.read_shards(f"{source}/metadata")
        space = ld.EmbeddingSpace("random")
        images = ld.open_embeddings(f"{source}/img_emb", model=space, like=frame)
        hits = frame.laion.search(images, _query(np, source), k=K, columns=[])
        return {"kth": round(float(hits["query_similarity"].min()), 3)}

    return run


def _query(np, source: str):
    query = np.load(Path(source, "img_emb", "img_emb_00000.npy"))[0].astype(np.float32)
    return query / np.linalg.norm(query)


def _laion_dask():
    import dask
    import dask.dataframe

    import laion_dask as ld

    dask.config.set(scheduler="threads", num_workers=CORES)
    _ = ld.read_shards
    return ld


STEPS: dict[str, dict[str, Callable[[], Run]]] = {
    "open": {"polars": _open_polars, "DuckDB": _open_duckdb, "laion_dask": _open_laion_dask},
    "open again": {"laion_dask": _open_again_laion_dask},
    "filter and export": {way: _export(way) for way in ("polars", "DuckDB", "laion_dask")},
    "summary": {
        "polars": _summary_polars,
        "DuckDB": _summary_duckdb,
        "laion_dask": _summary_laion_dask,
    },
    "search": {"numpy": _search_numpy, "laion_dask": _search_laion_dask},
}


def run(step: str, way: str, source: str, out: str) -> dict:
    """Run one way of one step: wall, CPU and import seconds, peak memory in bytes, the answer."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    Path(out).mkdir(parents=True)
    start = time.perf_counter()
    act = STEPS[step][way]()
    imported, cpu = time.perf_counter(), cpu_seconds()
    answer = act(source, out)
    return {
        "wall_s": time.perf_counter() - imported,
        "cpu_s": cpu_seconds() - cpu,
        "import_s": imported - start,
        "peak_bytes": peak_bytes(),
        "answer": answer,
    }


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
