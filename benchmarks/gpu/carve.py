"""Carve Parquet shards on a card: laion_dask, cuDF alone, polars, and laion_dask without a card.

    python benchmarks/gpu/carve.py
    python benchmarks/gpu/carve.py --rows 8000000

Six columns are filtered, as in `benchmarks/carve.py`, and all ten of the rows that pass are kept:
as a frame, and written. What came out is compared row by row.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import card
import ceilings
import cpu_path
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
#: The same for cuDF's reader: row groups are pruned by it, and rows filtered.
FILTERS = [
    ("similarity", ">", 0.3),
    ("punsafe", "<", 0.3),
    ("pwatermark", "<", 0.5),
    ("WIDTH", ">=", 256),
    ("LANGUAGE", "in", list(LANGUAGES)),
]
SHARD, ROW_BYTES = 1_000_000, 100
KEPT, WRITTEN = "rows kept, as a frame", "rows kept, written"
CUDF, POLARS, CARD, CPU = "cuDF alone", "polars", f"{OURS}, cuDF", f"{OURS}, no card"


def generate(folder: Path, rows: int) -> list[Path]:
    """LAION-shaped shards, each from a seed of its own, so that all cores draw at once."""
    sizes = [min(SHARD, rows - at) for at in range(0, rows, SHARD)]
    tasks = [(folder, number_, size) for number_, size in enumerate(sizes)]
    with ProcessPoolExecutor(card.cores(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(_shard, tasks))


def _shard(task: tuple[Path, int, int]) -> Path:
    from laion_dask.demo.synthetic import write_laion_like

    folder, number_, size = task
    made = write_laion_like(
        folder / f"seed-{number_}", size, rows_per_shard=size, seed=number_, subset="laion2B-multi"
    )
    path = folder / "metadata" / f"metadata_{number_:04d}.parquet"
    path.parent.mkdir(exist_ok=True)
    made[0].rename(path)
    shutil.rmtree(folder / f"seed-{number_}")
    return path


def cudf_alone(paths: list[Path]) -> dict[str, Callable[[Path], object]]:
    """What one would write by hand: a file at a time, the reader's filter, a mask for the text."""
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
        (similarity > 0.3) & similarity.is_not_nan(),  # polars puts NaN above every number
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
    """``read_shards(where=…)``, computed or exported; an export has digests and a recipe too."""
    import laion_dask as ld

    files = list(map(str, paths))

    def kept(out: Path):
        frame = ld.read_shards(files, backend=backend, where=WHERE)
        return frame.drop(columns=["shard", "row"]).compute()

    def written(out: Path) -> None:
        ld.read_shards(files, backend=backend, where=WHERE).laion.export(out / "kept")

    return {KEPT: kept, WRITTEN: written}


def into(folder: Path, work: Callable[[Path], object]) -> Callable[[], object]:
    """The work with an empty folder of its own each time; what it returns, or else the folder."""

    def run():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        result = work(folder)
        return folder if result is None else result

    return run


def cpu_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """For `cpu_path`."""
    paths = sorted((folder / "metadata").glob("*.parquet"))
    return {
        what: into(folder / "out" / CPU / what, work)
        for what, work in ours(paths, "pandas").items()
    }


def as_table(found):
    """What a way kept, a frame of any kind or a folder: LAION's types, by hash and URL."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    from laion_dask.demo.synthetic_rows import SCHEMA

    if isinstance(found, Path):
        found = ds.dataset(sorted(found.rglob("*.parquet")), format="parquet").to_table()
    elif hasattr(found, "to_arrow"):
        found = found.to_arrow()
    else:
        found = pa.Table.from_pandas(found, preserve_index=False)
    names = {name.lower(): name for name in found.column_names}
    columns = [found[names[f.name.lower()]].cast(f.type) for f in SCHEMA]
    made = pa.Table.from_arrays(columns, schema=SCHEMA).combine_chunks()
    return made.sort_by([("hash", "ascending"), ("URL", "ascending")])


def differing(runs: dict[str, Runs]) -> tuple[int, list[str]]:
    """The rows that the first way kept, and the ways whose rows are others."""
    tables = {name: as_table(each.result) for name, each in runs.items() if not each.error}
    if not tables:
        return 0, []
    first = next(iter(tables.values()))
    return len(first), [name for name, found in tables.items() if not found.equals(first)]


def rows_of(runs: dict[str, Runs], n_bytes: int, rows: int, copy: float) -> list[list[str]]:
    """A line of the table for each way."""
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
    """What was asked, what was reached."""
    found = []
    for what, runs in ((KEPT, kept), (WRITTEN, written)):
        mine = runs[CARD].median
        by_hand, cpu = ratio(mine, runs[CUDF].median), ratio(mine, runs[CPU].median)
        found += [
            target(f"{what}: at most 1.2 x cuDF alone", by_hand, at_most=1.2),
            target(f"{what}: not slower than {CPU}", cpu, at_most=1.0),
        ]
    return found


def without_card(folder: Path) -> dict[str, Runs]:
    """The runs of `cpu_ways`, by what was done, in a process of its own."""
    found = cpu_path.measured("carve", folder)
    if isinstance(found, str):
        return {what: Runs(error=found) for what in (KEPT, WRITTEN)}
    out = folder / "out" / CPU / WRITTEN
    return {what: Runs(seconds, result=out) for what, seconds in found.items()}


def ways(paths: list[Path], backend: str) -> dict[str, dict[str, Callable]]:
    """The ways of this process, by name and by what is done."""
    made = {CUDF: cudf_alone(paths)} if backend == "cudf" else {}
    if card.is_installed("polars"):
        made[POLARS] = polars(paths)
    return {**made, CARD: ours(paths, backend)}


def measure(folder: Path, rows: int, repeats: int, device: str, backend: str) -> dict:
    """Every way's runs, by what was done, and the bytes and rows of the files."""
    paths = generate(folder, rows)
    done = {KEPT: {}, WRITTEN: {}}
    for what, runs in done.items():
        work = {
            name: into(folder / "out" / name / what, each[what])
            for name, each in ways(paths, backend).items()
        }
        runs.update(in_turn(work, device, repeats=repeats))
    for what, each in without_card(folder).items():
        done[what][CPU] = each
    found = {what: differing(runs) for what, runs in done.items()}
    return {
        "runs": done,
        "bytes": sum(path.stat().st_size for path in paths),
        "kept": max(n for n, _ in found.values()),
        "different": [f"{name} ({what})" for what, (_, names) in found.items() for name in names],
    }


def report(found: dict, rows: int, made: ceilings.Ceilings) -> Report:
    """The tables, the targets and what does not agree."""
    head = ["way", "GB/s", "M rows/s", "ms", "x best", "of copy rate"]
    different = found["different"]
    same = f"NOT THE SAME ROWS: {', '.join(different)}." if different else "All rows agree."
    return Report(
        name="carve",
        title=f"Carve {rows:,} rows on a card, keep {found['kept']:,}",
        about=card.about(),
        ceilings=made,
        tables={
            what: table(head, rows_of(runs, found["bytes"], rows, made.copy))
            for what, runs in found["runs"].items()
        },
        targets=targets(found["runs"][KEPT], found["runs"][WRITTEN]),
        notes=[
            f"`{WHERE}`; {found['bytes'] / 1e9:.2f} GB of Parquet, which is what GB/s counts. "
            f"{same}",
        ],
        runs={
            f"{name}: {what}": each
            for what, runs in found["runs"].items()
            for name, each in runs.items()
        },
        figures={"rows": rows, "kept": found["kept"], "bytes": found["bytes"]},
        wrong=bool(different),
    )


def main() -> int:
    """Measure, compare, report; 1 where the rows differ."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=32_000_000)
    args = parser.parse_args()
    card.require("cudf")
    import rmm

    made = ceilings.measure("cuda")
    # One pool for every way: without it, each column that cuDF makes waits for the driver.
    rmm.mr.set_current_device_resource(rmm.mr.CudaAsyncMemoryResource())
    with scratch(args.data, args.rows * ROW_BYTES) as folder:
        found = measure(Path(folder), args.rows, args.repeats, "cuda", "cudf")
        result = report(found, args.rows, made)
    return result.write(args.results)


if __name__ == "__main__":
    raise SystemExit(main())
