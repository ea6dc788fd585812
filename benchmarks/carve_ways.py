"""Five ways to carve the same rows; each runs in its own process on exactly two cores.

``python carve_ways.py WAY SOURCE OUT`` prints one line of JSON: time and memory, with imports timed
separately. None of them keeps a row whose condition is unknown because a value is null or NaN.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

CORES = 2
LANGUAGES = ("ru", "fr", "de", "es")
WORD = "photo"
WHERE = (
    "similarity > 0.3 and punsafe < 0.3 and pwatermark < 0.5 and width >= 256 "
    f"and language in {LANGUAGES} and text.contains('{WORD}')"
)
"""The filter in the syntax of `laion_dask`; every contender below implements the same."""

LEVEL = 3  # zstd compression level of all contenders


def polars_way() -> Callable[[str, str], None]:
    """``scan_parquet → filter → sink_parquet``."""
    import polars as pl

    def run(source: str, out: str) -> None:
        similarity = pl.col("similarity")
        kept = pl.scan_parquet(f"{source}/*.parquet").filter(
            (similarity > 0.3) & similarity.is_not_nan(),  # polars orders NaN above every number
            pl.col("punsafe") < 0.3,
            pl.col("pwatermark") < 0.5,
            pl.col("WIDTH") >= 256,
            pl.col("LANGUAGE").is_in(LANGUAGES),
            pl.col("TEXT").str.contains(WORD, literal=True),
        )
        kept.sink_parquet(f"{out}/kept.parquet", compression="zstd", compression_level=LEVEL)

    return run


def duckdb_way() -> Callable[[str, str], None]:
    """``COPY (SELECT … WHERE …) TO …``."""
    import duckdb

    def run(source: str, out: str) -> None:
        # Without can_have_nan, DuckDB trusts Parquet statistics, which omit NaN, and optimizes
        # isnan() away. Like polars, it orders NaN above every number.
        with duckdb.connect(config={"threads": CORES}) as connection:
            connection.execute(
                f"""COPY (
                    SELECT * FROM read_parquet('{source}/*.parquet', can_have_nan => true)
                    WHERE similarity > 0.3 AND NOT isnan(similarity) AND punsafe < 0.3
                    AND pwatermark < 0.5 AND WIDTH >= 256 AND LANGUAGE IN {LANGUAGES}
                    AND contains(TEXT, '{WORD}')
                ) TO '{out}/kept.parquet' (FORMAT parquet, COMPRESSION zstd,
                COMPRESSION_LEVEL {LEVEL})"""
            )

    return run


def pyarrow_way() -> Callable[[str, str], None]:
    """``dataset.scanner(filter=…)`` into ``write_dataset``."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    pa.set_cpu_count(CORES)
    pa.set_io_thread_count(CORES)

    def run(source: str, out: str) -> None:
        keep = (
            (pc.field("similarity") > 0.3)
            & (pc.field("punsafe") < 0.3)
            & (pc.field("pwatermark") < 0.5)
            & (pc.field("WIDTH") >= 256)
            & pc.field("LANGUAGE").isin(LANGUAGES)
            & pc.match_substring(pc.field("TEXT"), WORD)
        )
        options = ds.ParquetFileFormat().make_write_options(
            compression="zstd", compression_level=LEVEL
        )
        kept = ds.dataset(source).scanner(filter=keep)
        ds.write_dataset(kept, out, format="parquet", file_options=options)

    return run


def dask_way() -> Callable[[str, str], None]:
    """Plain ``dask.dataframe`` with threads: ``read_parquet``, a mask, ``to_parquet``."""
    import dask
    import dask.dataframe as dd

    dask.config.set(scheduler="threads", num_workers=CORES)

    def run(source: str, out: str) -> None:
        frame = dd.read_parquet(source)
        kept = frame[
            (frame.similarity > 0.3)
            & (frame.punsafe < 0.3)
            & (frame.pwatermark < 0.5)
            & (frame.WIDTH >= 256)
            & frame.LANGUAGE.isin(LANGUAGES)
            & frame.TEXT.str.contains(WORD, regex=False)
        ]
        kept.to_parquet(out, compression="zstd", compression_level=LEVEL, write_index=False)

    return run


def laion_dask_way() -> Callable[[str, str], None]:
    """``read_shards → .laion.where → .laion.export``, with Dask's threaded scheduler.

    Unlike the others, the export also counts undecided rows and writes a manifest with the digest
    of every part.
    """
    import dask

    import laion_dask as ld

    dask.config.set(scheduler="threads", num_workers=CORES)
    for name in ("read_shards", "where", "export"):
        getattr(ld, name)  # imports its module

    def run(source: str, out: str) -> None:
        ld.read_shards(source).laion.where(WHERE).laion.export(f"{out}/kept")

    return run


WAYS = {
    "polars": polars_way,
    "DuckDB": duckdb_way,
    "pyarrow.dataset": pyarrow_way,
    "dask.dataframe": dask_way,
    "laion_dask": laion_dask_way,
}


def cpu_seconds() -> float:
    """User and system time of this process and of its finished children."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def peak_bytes() -> int:
    """Peak memory of this process or of any of its children."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(u.ru_maxrss for u in used) * (1 if sys.platform == "darwin" else 1024)


def run(way: str, source: str, out: str) -> dict:
    """Run one contender: wall, CPU and import seconds, and peak memory in bytes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    Path(out).mkdir(parents=True)
    start = time.perf_counter()
    carve = WAYS[way]()
    imported, cpu = time.perf_counter(), cpu_seconds()
    carve(source, out)
    return {
        "wall_s": time.perf_counter() - imported,
        "cpu_s": cpu_seconds() - cpu,
        "import_s": imported - start,
        "peak_bytes": peak_bytes(),
    }


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
