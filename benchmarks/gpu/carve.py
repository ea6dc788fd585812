"""Carve Parquet shards on a GPU: laion_dask, plain cuDF, polars, and laion_dask without a GPU.

    python benchmarks/gpu/carve.py
    python benchmarks/gpu/carve.py --rows 8000000

Filters on six columns, as in `benchmarks/carve.py`, and keeps all ten columns of the rows that
pass: once as a frame and once written to disk. The results are compared row by row.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import ceilings
import cpu_path
import environment
from report import (
    OURS,
    Report,
    arguments,
    number,
    ratio,
    scratch,
    share,
    table,
    target,
)
from timing import Runs, in_turn

LANGUAGES = ("ru", "fr", "de", "es")
WORD = "photo"
WHERE = (
    "similarity > 0.3 and punsafe < 0.3 and pwatermark < 0.5 and width >= 256 "
    f"and language in {LANGUAGES} and text.contains('{WORD}')"
)
#: The same filter for cuDF's reader, which prunes row groups and filters rows.
FILTERS = [
    ("similarity", ">", 0.3),
    ("punsafe", "<", 0.3),
    ("pwatermark", "<", 0.5),
    ("WIDTH", ">=", 256),
    ("LANGUAGE", "in", list(LANGUAGES)),
]
SHARD, ROW_BYTES = 1_000_000, 100
KEPT, WRITTEN = "rows kept, as a frame", "rows kept, written"
CUDF, POLARS, GPU, CPU = "plain cuDF", "polars", f"{OURS}, cuDF", f"{OURS}, no GPU"


def generate(folder: Path, rows: int) -> list[Path]:
    """Generate LAION-shaped shards, each from its own seed, on all cores."""
    sizes = [min(SHARD, rows - at) for at in range(0, rows, SHARD)]
    tasks = [(folder, number_, size) for number_, size in enumerate(sizes)]
    with ProcessPoolExecutor(environment.cores(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(_shard, tasks))


def _shard(task: tuple[Path, int, int]) -> Path:
    from laion_dask.demo.synthetic import write_laion_like

    folder, number_, size = task
    shards = write_laion_like(
        folder / f"seed-{number_}", size, rows_per_shard=size, seed=number_, subset="laion2B-multi"
    )
    path = folder / "metadata" / f"metadata_{number_:04d}.parquet"
    path.parent.mkdir(exist_ok=True)
    shards[0].rename(path)
    shutil.rmtree(folder / f"seed-{number_}")
    return path


def plain_cudf(paths: list[Path]) -> dict[str, Callable[[Path], object]]:
    """A hand-written loop over files: the reader's filter, then a mask for the text."""
    import cudf

    def one(path: Path):
        part = cudf.read_parquet(path, filters=FILTERS)
        return part[part["TEXT"].str.contains(WORD, regex=False)]

    def kept(out: Path):
        return cudf.concat([one(path) for path in paths], ignore_index=True)

    def written(out: Path) -> None:
        for path in paths:
            one(path).to_parquet(out / path.name, compression="ZSTD", index=False)

    return {KEPT: kept, WRITTEN: written}


def polars(paths: list[Path]) -> dict[str, Callable[[Path], object]]:
    """``scan_parquet → filter → collect`` or ``sink_parquet``, on all cores."""
    import polars as pl

    similarity = pl.col("similarity")
    rows = pl.scan_parquet(paths).filter(
        (similarity > 0.3) & similarity.is_not_nan(),  # polars orders NaN above every number
        pl.col("punsafe") < 0.3,
        pl.col("pwatermark") < 0.5,
        pl.col("WIDTH") >= 256,
        pl.col("LANGUAGE").is_in(LANGUAGES),
        pl.col("TEXT").str.contains(WORD, literal=True),
    )

    def kept(out: Path):
        return rows.collect(engine="streaming")

    def written(out: Path) -> None:
        rows.sink_parquet(out / "kept.parquet", compression="zstd", compression_level=3)

    return {KEPT: kept, WRITTEN: written}


def ours(paths: list[Path], backend: str) -> dict[str, Callable[[Path], object]]:
    """``read_shards(where=…)``, computed or exported; an export adds digests and a recipe."""
    import laion_dask as ld

    files = list(map(str, paths))

    def kept(out: Path):
        frame = ld.read_shards(files, backend=backend, where=WHERE)
        return frame.drop(columns=["shard", "row"]).compute()

    def written(out: Path) -> None:
        ld.read_shards(files, backend=backend, where=WHERE).laion.export(out / "kept")

    return {KEPT: kept, WRITTEN: written}


def in_empty_folder(folder: Path, work: Callable[[Path], object]) -> Callable[[], object]:
    """Wrap ``work`` so that each call gets an empty folder; returns its result, or the folder."""

    def run():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        result = work(folder)
        return folder if result is None else result

    return run


def cpu_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """Contenders that `cpu_path` runs."""
    paths = sorted((folder / "metadata").glob("*.parquet"))
    return {
        what: in_empty_folder(folder / "out" / CPU / what, work)
        for what, work in ours(paths, "pandas").items()
    }


def as_table(result):
    """A frame of any kind, or a folder, as a table with LAION's types, sorted by hash and URL."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    from laion_dask.demo.synthetic_rows import SCHEMA

    if isinstance(result, Path):
        result = ds.dataset(sorted(result.rglob("*.parquet")), format="parquet").to_table()
    elif hasattr(result, "to_arrow"):
        result = result.to_arrow()
    else:
        result = pa.Table.from_pandas(result, preserve_index=False)
    names = {name.lower(): name for name in result.column_names}
    columns = [result[names[f.name.lower()]].cast(f.type) for f in SCHEMA]
    rows = pa.Table.from_arrays(columns, schema=SCHEMA).combine_chunks()
    return rows.sort_by([("hash", "ascending"), ("URL", "ascending")])


def differing(runs: dict[str, Runs]) -> tuple[int, list[str]]:
    """The number of rows that the first contender kept, and the contenders whose rows differ."""
    tables = {name: as_table(each.result) for name, each in runs.items() if not each.error}
    if not tables:
        return 0, []
    first = next(iter(tables.values()))
    return len(first), [name for name, rows in tables.items() if not rows.equals(first)]


def rows_of(runs: dict[str, Runs], n_bytes: int, rows: int, copy: float) -> list[list[str]]:
    """One table row per contender."""
    best = min((each.median for each in runs.values() if each.seconds), default=float("nan"))
    return [
        [
            name,
            number(n_bytes / each.median / 1e9, 2),
            number(rows / each.median / 1e6, 1),
            number(each.median * 1e3),
            number(ratio(each.median, best), 2),
            share(n_bytes / each.median, copy),
        ]
        for name, each in runs.items()
    ]


def targets(kept: dict[str, Runs], written: dict[str, Runs]) -> list[dict]:
    """The targets, with the values reached."""
    reached = []
    for what, runs in ((KEPT, kept), (WRITTEN, written)):
        mine = runs[GPU].median
        by_hand, cpu = ratio(mine, runs[CUDF].median), ratio(mine, runs[CPU].median)
        reached += [
            target(f"{what}: at most 1.2 x plain cuDF", by_hand, at_most=1.2),
            target(f"{what}: not slower than {CPU}", cpu, at_most=1.0),
        ]
    return reached


def without_gpu(folder: Path) -> dict[str, Runs]:
    """The runs of `cpu_ways` by task, in a separate process without a GPU."""
    seconds_of = cpu_path.measured("carve", folder)
    if isinstance(seconds_of, str):
        return {what: Runs(error=seconds_of) for what in (KEPT, WRITTEN)}
    out = folder / "out" / CPU / WRITTEN
    return {what: Runs(seconds, result=out) for what, seconds in seconds_of.items()}


def ways(paths: list[Path], backend: str) -> dict[str, dict[str, Callable]]:
    """The contenders that run in this process, by name and task."""
    peers = {CUDF: plain_cudf(paths)} if backend == "cudf" else {}
    if environment.is_installed("polars"):
        peers[POLARS] = polars(paths)
    return {**peers, GPU: ours(paths, backend)}


def measure(folder: Path, rows: int, repeats: int, device: str, backend: str) -> dict:
    """The runs of every contender by task, and the bytes and rows of the files."""
    paths = generate(folder, rows)
    runs_of = {KEPT: {}, WRITTEN: {}}
    for what, runs in runs_of.items():
        work = {
            name: in_empty_folder(folder / "out" / name / what, each[what])
            for name, each in ways(paths, backend).items()
        }
        runs.update(in_turn(work, device, repeats=repeats))
    for what, each in without_gpu(folder).items():
        runs_of[what][CPU] = each
    compared = {what: differing(runs) for what, runs in runs_of.items()}
    return {
        "runs": runs_of,
        "bytes": sum(path.stat().st_size for path in paths),
        "kept": max(n for n, _ in compared.values()),
        "different": [
            f"{name} ({what})" for what, (_, names) in compared.items() for name in names
        ],
    }


def report(results: dict, rows: int, peak: ceilings.Ceilings) -> Report:
    """The tables, the targets and any differences."""
    head = ["contender", "GB/s", "M rows/s", "ms", "x best", "of copy rate"]
    different = results["different"]
    same = f"ROWS DIFFER: {', '.join(different)}." if different else "All rows agree."
    return Report(
        name="carve",
        title=f"Carve {rows:,} rows on a GPU, keep {results['kept']:,}",
        about=environment.about(),
        ceilings=peak,
        tables={
            what: table(head, rows_of(runs, results["bytes"], rows, peak.copy))
            for what, runs in results["runs"].items()
        },
        targets=targets(results["runs"][KEPT], results["runs"][WRITTEN]),
        notes=[
            f"`{WHERE}`; {results['bytes'] / 1e9:.2f} GB of Parquet, the basis of GB/s. {same}",
        ],
        runs={
            f"{name}: {what}": each
            for what, runs in results["runs"].items()
            for name, each in runs.items()
        },
        figures={"rows": rows, "kept": results["kept"], "bytes": results["bytes"]},
        wrong=bool(different),
    )


def main() -> int:
    """Measure, compare, report; return 1 if the rows differ."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=32_000_000)
    args = parser.parse_args()
    environment.require("cudf")
    import rmm

    peak = ceilings.measure("cuda")
    # One pool for all contenders: without it, each column that cuDF allocates waits for the driver.
    rmm.mr.set_current_device_resource(rmm.mr.CudaAsyncMemoryResource())
    with scratch(args.data, args.rows * ROW_BYTES) as folder:
        results = measure(Path(folder), args.rows, args.repeats, "cuda", "cudf")
        result = report(results, args.rows, peak)
    return result.write(args.results)


if __name__ == "__main__":
    raise SystemExit(main())
