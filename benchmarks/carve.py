"""Compare five ways to carve millions of LAION-shaped rows.

    python benchmarks/carve.py
    python benchmarks/carve.py --rows 32000000 --repeats 3

Each contender runs in its own process on two cores. Contenders take turns, with a warm page cache;
medians are reported, and the outputs are compared row by row. This script imports only the standard
library; `carve_data` explains why.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from carve_ways import WAYS, WHERE
from peers import require
from reporting import RESULTS, child, conditions, setting, target, verdicts, write

OURS = "laion_dask"
FASTEST = ("polars", "DuckDB")
PACKAGES = ("polars", "duckdb", "pyarrow", "dask", "pandas", "numpy", "laion_dask")
MEASURES = {"wall_s": "wall s", "cpu_s": "CPU s", "peak_bytes": "peak MB", "import_s": "import s"}


def measure(ways: list[str], source: str, repeats: int, scratch: Path) -> dict[str, list[dict]]:
    """Run the contenders in turn; the first turn warms the caches and is discarded."""
    runs: dict[str, list[dict]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way in ways:
            out = scratch / way
            shutil.rmtree(out, ignore_errors=True)
            result = child("carve_ways.py", way, source, str(out))
            if repeat:
                runs[way].append(result)
                print(f"{repeat}/{repeats} {way}: {result['wall_s']:.2f} s", file=sys.stderr)
    return runs


def medians(runs: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    """Median of each measure per contender."""
    return {
        way: {key: statistics.median(run[key] for run in results) for key in MEASURES}
        for way, results in runs.items()
    }


def best_peer(median: dict[str, dict[str, float]], key: str, peers: tuple[str, ...]) -> float:
    """The smallest median among the peers."""
    return min(median[way][key] for way in peers if way in median)


def targets(median: dict[str, dict[str, float]]) -> list[dict]:
    """The targets, with the values reached."""
    ours = median[OURS]
    return [
        target("CPU at most 1.1 x the better of polars and DuckDB",
                ours["cpu_s"] / best_peer(median, "cpu_s", FASTEST), at_most=1.1),
        target("CPU of plain dask.dataframe at least 3 x ours",
                median["dask.dataframe"]["cpu_s"] / ours["cpu_s"], at_least=3.0),
        target("peak memory under 600 MB", ours["peak_bytes"] / 1e6, at_most=600.0),
        target("peak memory at most 1.5 x that of polars",
                ours["peak_bytes"] / median["polars"]["peak_bytes"], at_most=1.5),
    ]  # fmt: skip


def table(median: dict[str, dict[str, float]]) -> str:
    """A Markdown table: each measure, and its ratio to the best of the others."""
    peers = tuple(way for way in median if way != OURS)
    lines = ["| contender | wall s | x best | CPU s | x best | peak MB | x best | import s |"]
    lines.append("|---|" + "---:|" * 7)
    for way, values in median.items():
        cells = [way if way != OURS else f"**{way}**"]
        for key in ("wall_s", "cpu_s", "peak_bytes"):
            shown = f"{values[key] / 1e6:.0f}" if key == "peak_bytes" else f"{values[key]:.3f}"
            cells += [shown, f"{values[key] / best_peer(median, key, peers):.2f}"]
        lines.append(f"| {' | '.join(cells)} | {values['import_s']:.2f} |")
    return "\n".join(lines)


def report(about: dict, median: dict[str, dict[str, float]], reached: list[dict]) -> str:
    """The Markdown report."""
    lines = [
        f"# Carve {about['rows']:,} rows, keep {about['kept']:,}",
        "",
        f"{setting(about)} Medians of {about['repeats']} runs; contenders take turns, page cache "
        "warm, imports excluded; *x best* is the ratio to the best of the others.",
        "",
        table(median),
        "",
        f"`{about['where']}`",
        "",
        "All outputs agree row by row.",
        "",
    ]
    lines.append(verdicts(reached))
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), help="contenders to run"
    )
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report; return 1 if outputs differ."""
    args = arguments()
    require("polars")
    source = child("carve_data.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory(dir=args.data) as scratch:
        runs = measure(args.ways, source, args.repeats, Path(scratch))
        outs = [str(Path(scratch) / way) for way in args.ways]
        comparison = child("carve_data.py", "compare", *outs)
    if comparison["different"]:
        print("Outputs differ:", {Path(o).name: n for o, n in comparison["rows"].items()})
        return 1
    median = medians(runs)
    about = conditions(
        PACKAGES,
        rows=args.rows,
        kept=comparison["rows"][outs[0]],
        repeats=args.repeats,
        where=WHERE,
    )
    if set(args.ways) != set(WAYS):
        print(table(median) if OURS not in median or len(median) > 1 else median)
        return 0
    reached = targets(median)
    text = report(about, median, reached)
    stored = {**about, "medians": median, "targets": reached, "runs": runs}
    write(args.results, f"carve-{args.rows}", text, stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
