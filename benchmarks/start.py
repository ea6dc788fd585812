"""Time to import laion_dask and its peers, to a first frame, and to the help of the command.

    python benchmarks/start.py
    python benchmarks/start.py --repeats 5 --no-cold

Each run is a new process. Contenders take turns; medians are reported. Before a cold run, the files
of all installed packages are dropped from the page cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig

from carve import PACKAGES
from peers import require
from reporting import HERE, RESULTS, child, conditions, setting, target, verdicts, write

ROOT = HERE.parent
#: What each contender runs; ``FOLDER`` holds shards.
WAYS = {
    "import laion_dask": "import laion_dask",
    "import polars": "import polars",
    "import duckdb": "import duckdb",
    "import pandas": "import pandas",
    "import dask.dataframe": "import dask.dataframe",
    "laion_dask: a frame": "import laion_dask as ld; ld.read_shards(FOLDER)",
    "dask.dataframe: a frame": "import dask.dataframe as dd; dd.read_parquet(FOLDER)",
    "polars: a frame": "import polars as pl; pl.scan_parquet(FOLDER).collect_schema()",
    "laion-dask --help": "from laion_dask.cli import main; main()",
}
#: Runs the code, and prints its wall and CPU seconds, without the start of the interpreter.
PROGRAM = """
import io, sys, time
FOLDER = sys.argv.pop()
sys.argv = ["laion-dask", "--help"]
out, sys.stdout = sys.stdout, io.StringIO()
wall, cpu = time.perf_counter(), time.process_time()
try:
    exec(compile({code!r}, "contender", "exec"))
except SystemExit:
    pass
took = time.perf_counter() - wall, time.process_time() - cpu
print(*took, file=out)
"""
#: The most seconds that importing laion_dask may take, with a warm and a cold page cache.
LIMITS = {"warm_s": 0.5, "cold_s": 1.0}


def run(way: str, folder: str) -> tuple[float, float]:
    """Wall and CPU seconds of one contender in a new process."""
    completed = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=WAYS[way]), folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    wall, cpu = map(float, completed.stdout.split())
    return wall, cpu


def evict() -> None:
    """Drop the files of all installed packages from the page cache."""
    for folder in (*dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib"))), ROOT):
        for parent, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = os.path.join(parent, name)
                if name.endswith((".py", ".pyc", ".so", ".json")) or ".so." in name:
                    file = os.open(path, os.O_RDONLY)
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(file)


def measure(folder: str, repeats: int, cold: bool) -> dict[str, dict[str, list[float]]]:
    """Run the contenders in turn; the first turn warms the caches and is discarded."""
    runs: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    for repeat in range(repeats + 1):
        for way, of in runs.items():
            wall, cpu = run(way, folder)
            if repeat:
                of.setdefault("warm_s", []).append(wall)
                of.setdefault("cpu_s", []).append(cpu)
    for _ in range(repeats * cold):
        for way, of in runs.items():
            evict()
            of.setdefault("cold_s", []).append(run(way, folder)[0])
    return runs


def report(about: dict, median: dict[str, dict[str, float]]) -> tuple[str, list[dict]]:
    """The Markdown report, and the targets with the values reached."""
    lines = [
        "# Time to start",
        "",
        f"{setting(about)} Medians of {about['repeats']} new processes each; contenders take "
        "turns. The start of the interpreter is excluded. Cold: the files of all packages were "
        "dropped from the page cache.",
        "",
        "| what | warm s | CPU s | cold s |",
        "|---|---:|---:|---:|",
    ]
    for way, values in median.items():
        cold = f"{values['cold_s']:.2f}" if "cold_s" in values else ""
        lines.append(f"| {way} | {values['warm_s']:.3f} | {values['cpu_s']:.3f} | {cold} |")
    ours = median["import laion_dask"]
    reached = [
        target(f"import laion_dask, {key.removesuffix('_s')}: at most {limit} s", ours[key],
               at_most=limit)
        for key, limit in LIMITS.items()
        if key in ours
    ]  # fmt: skip
    lines += ["", verdicts(reached)]
    return "\n".join(lines) + "\n", reached


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--no-cold", action="store_true", help="leave the page cache alone")
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    require("polars")
    folder = child("carve_data.py", "prepare", args.data, str(args.rows))
    runs = measure(str(folder), args.repeats, not args.no_cold)
    median = {
        way: {key: statistics.median(values) for key, values in of.items()}
        for way, of in runs.items()
    }
    about = conditions(PACKAGES, rows=args.rows, repeats=args.repeats)
    text, reached = report(about, median)
    stored = {**about, "medians": median, "targets": reached, "runs": runs}
    write(args.results, "start", text, stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
