"""Compare five ways to carve millions of LAION-shaped rows.

    python benchmarks/carve.py
    python benchmarks/carve.py --rows 32000000 --repeats 3

Each contender runs in its own process on two cores. Contenders take turns, with a warm page cache;
medians are reported, and the outputs are compared row by row. This script imports only the standard
library; `carve_data` explains why.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from carve_ways import CORES, WAYS, WHERE
from peers import require

HERE = Path(__file__).parent
OURS = "laion_dask"
FASTEST = ("polars", "DuckDB")
PACKAGES = ("polars", "duckdb", "pyarrow", "dask", "pandas", "numpy", "laion_dask")
MEASURES = {"wall_s": "wall s", "cpu_s": "CPU s", "peak_bytes": "peak MB", "import_s": "import s"}


def child(script: str, *arguments: str) -> dict | str:
    """Run a script of this folder with two threads and return the JSON of its last line."""
    threads = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    completed = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        env={**os.environ, **dict.fromkeys(threads, str(CORES))},
        stdout=subprocess.PIPE,
        text=True,
    )
    if completed.returncode:
        command = f"{script} {' '.join(arguments)}"
        raise SystemExit(f"{command} failed with exit code {completed.returncode}.")
    return json.loads(completed.stdout.splitlines()[-1])


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
        _target("CPU at most 1.1 x the better of polars and DuckDB",
                ours["cpu_s"] / best_peer(median, "cpu_s", FASTEST), at_most=1.1),
        _target("CPU of plain dask.dataframe at least 3 x ours",
                median["dask.dataframe"]["cpu_s"] / ours["cpu_s"], at_least=3.0),
        _target("peak memory under 600 MB", ours["peak_bytes"] / 1e6, at_most=600.0),
        _target("peak memory at most 1.5 x that of polars",
                ours["peak_bytes"] / median["polars"]["peak_bytes"], at_most=1.5),
    ]  # fmt: skip


def _target(
    what: str, value: float, *, at_most: float = float("inf"), at_least: float = 0.0
) -> dict:
    return {"target": what, "reached": round(value, 3), "passed": at_least <= value <= at_most}


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


def cpu_model() -> str:
    """The CPU's name, as far as the platform reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def conditions(rows: int, kept: int, repeats: int) -> dict:
    """Hardware, versions and parameters of the run."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": CORES,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "rows": rows,
        "kept": kept,
        "repeats": repeats,
        "where": WHERE,
    }


def report(about: dict, median: dict[str, dict[str, float]], reached: list[dict]) -> str:
    """The Markdown report."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"# Carve {about['rows']:,} rows, keep {about['kept']:,}",
        "",
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, Python {about['python']}; "
        f"{versions}. Medians of {about['repeats']} runs; contenders take turns, page cache warm, "
        "imports excluded; *x best* is the ratio to the best of the others.",
        "",
        table(median),
        "",
        f"`{about['where']}`",
        "",
        "All outputs agree row by row.",
        "",
    ]
    for t in reached:
        lines.append(f"- {'pass' if t['passed'] else 'FAIL'}: {t['target']}: {t['reached']}")
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
    parser.add_argument("--results", default=str(HERE / "results"), help="folder for the results")
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
    about = conditions(args.rows, comparison["rows"][outs[0]], args.repeats)
    if set(args.ways) != set(WAYS):
        print(table(median) if OURS not in median or len(median) > 1 else median)
        return 0
    reached = targets(median)
    text = report(about, median, reached)
    print(text)
    name = Path(args.results) / f"carve-{args.rows}"
    name.parent.mkdir(parents=True, exist_ok=True)
    name.with_suffix(".md").write_text(text)
    stored = {**about, "medians": median, "targets": reached, "runs": runs}
    name.with_suffix(".json").write_text(json.dumps(stored, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
