"""Run all GPU benchmarks, or those named, one after the other.

    python benchmarks/gpu/run.py
    python benchmarks/gpu/run.py heads search

Each runs in its own process and has the GPU to itself. Exits with 2 if there is no GPU, and with 1
if a benchmark failed or found wrong results.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import environment
from report import RESULTS

HERE = Path(__file__).parent
BENCHMARKS = ("carve", "heads", "search", "embed")


def run(name: str, results: str, data: str | None) -> int:
    """Run one benchmark in a subprocess and return its exit code."""
    options = ["--results", results, *(["--data", data] if data else [])]
    start = time.perf_counter()
    code = subprocess.run([sys.executable, str(HERE / f"{name}.py"), *options]).returncode
    message = f"{name}: {time.perf_counter() - start:.0f} s"
    print(message if code == 0 else f"{message}, exit code {code}", file=sys.stderr, flush=True)
    return code


def main() -> int:
    """Run the requested benchmarks; if one fails, still run the others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--results", default=str(RESULTS), help="folder for the results")
    parser.add_argument("--data", help="folder for generated files; default: memory if they fit")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"Unknown benchmark {unknown[0]!r}. Available: {', '.join(BENCHMARKS)}.")
    environment.require()
    codes = [run(name, args.results, args.data) for name in args.names or BENCHMARKS]
    return int(any(codes))


if __name__ == "__main__":
    raise SystemExit(main())
