"""Open, filter, summarize and search many small shards, beside polars, DuckDB and numpy.

    python benchmarks/small_shards.py
    python benchmarks/small_shards.py --shards 2000 --rows 10000

Each way of each step runs in its own process on two cores. Ways take turns, with a warm page cache;
medians are reported, and a difference between their answers aborts the run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from carve import MEASURES, PACKAGES
from carve_ways import WHERE
from peers import require
from reporting import RESULTS, child, conditions, setting, target, verdicts, write

OURS = "laion_dask"
WAYS = {
    "open": ("polars", "DuckDB", OURS),
    "open again": (OURS,),
    "filter and export": ("polars", "DuckDB", OURS),
    "summary": ("polars", "DuckDB", OURS),
    "search": ("numpy", OURS),
}
MAX_SECONDS = {"open": 2.0, "open again": 0.3}
MAX_RATIO, MAX_MB = 1.5, 500


def measure(source: str, repeats: int, scratch: Path) -> dict[str, dict[str, list[dict]]]:
    """The runs by step and way; the first turn of each step warms the caches and is discarded."""
    runs: dict[str, dict[str, list[dict]]] = {}
    for step, ways in WAYS.items():
        runs[step] = {way: [] for way in ways}
        for repeat in range(repeats + 1):
            for way in ways:
                out = scratch / way
                shutil.rmtree(out, ignore_errors=True)
                result = child("small_shards_ways.py", step, way, source, str(out))
                print(f"{step}, {way}: {result['wall_s']:.2f} s", file=sys.stderr)
                if repeat:
                    runs[step][way].append(result)
        _check(step, runs[step])
    return runs


def _check(step: str, runs: dict[str, list[dict]]) -> None:
    answers = {way: results[0]["answer"] for way, results in runs.items() if results[0]["answer"]}
    if len({json.dumps(answer) for answer in answers.values()}) > 1:
        raise SystemExit(f"The answers of {step!r} differ: {answers}")


def medians(runs: dict[str, dict[str, list[dict]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Median of each measure by step and way."""
    return {
        step: {
            way: {key: statistics.median(run[key] for run in results) for key in MEASURES}
            for way, results in ways.items()
        }
        for step, ways in runs.items()
    }


def targets(median: dict[str, dict[str, dict[str, float]]]) -> list[dict]:
    """The targets, with the values reached."""
    reached = []
    for step, most in MAX_SECONDS.items():
        value = median[step][OURS]["wall_s"]
        reached.append(target(f"{step} in {most} s", value, at_most=most))
    for step in ("filter and export", "summary"):
        peers = [way for way in median[step] if way != OURS]
        best = min(median[step][way]["wall_s"] for way in peers)
        ratio = median[step][OURS]["wall_s"] / best
        text = f"{step} in {MAX_RATIO} x the better peer"
        reached.append(target(text, ratio, at_most=MAX_RATIO))
    peak = max(ways[OURS]["peak_bytes"] for ways in median.values()) / 1e6
    return [*reached, target(f"peak memory under {MAX_MB} MB", peak, at_most=MAX_MB)]


def table(median: dict[str, dict[str, dict[str, float]]]) -> str:
    """A Markdown table of all steps and ways."""
    lines = [
        "| step | way | wall s | CPU s | peak MB | import s |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for step, ways in median.items():
        for way, values in ways.items():
            name = f"**{way}**" if way == OURS else way
            lines.append(
                f"| {step} | {name} | {values['wall_s']:.3f} | {values['cpu_s']:.3f} | "
                f"{values['peak_bytes'] / 1e6:.0f} | {values['import_s']:.2f} |"
            )
    return "\n".join(lines)


def report(about: dict, median: dict, reached: list[dict]) -> str:
    """The Markdown report."""
    lines = [
        f"# {about['shards']:,} shards of {about['rows']:,} rows",
        "",
        f"{setting(about)} Medians of {about['repeats']} runs; ways take turns, page cache warm, "
        "imports excluded.",
        "",
        table(median),
        "",
        f"The filter: `{about['where']}`",
        "",
    ]
    lines.append(verdicts(reached))
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shards", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=100, help="rows per shard")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=".bench", help="folder for the generated shards")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure and report."""
    args = arguments()
    require("polars")
    source = child("small_shards_data.py", args.data, str(args.shards), str(args.rows))
    with tempfile.TemporaryDirectory(dir=args.data) as scratch:
        runs = measure(source, args.repeats, Path(scratch))
    median = medians(runs)
    about = conditions(
        PACKAGES, shards=args.shards, rows=args.rows, repeats=args.repeats, where=WHERE
    )
    reached = targets(median)
    name = f"small_shards-{args.shards}x{args.rows}"
    stored = {**about, "medians": median, "targets": reached, "runs": runs}
    write(args.results, name, report(about, median, reached), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
