"""All benchmarks of the card, or those named, one after the other.

    python benchmarks/gpu/run.py
    python benchmarks/gpu/run.py heads search

Each runs in a process of its own, and has the card for itself. Ends with 2 where there is no card,
and with 1 where one of them found something wrong, or failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import card
from report import RESULTS

HERE = Path(__file__).parent
BENCHMARKS = ("carve", "heads", "search", "embed")


def run(name: str, results: str, data: str | None) -> int:
    """One benchmark; what its process ended with."""
    given = ["--results", results, *(["--data", data] if data else [])]
    start = time.perf_counter()
    code = subprocess.run([sys.executable, str(HERE / f"{name}.py"), *given]).returncode
    said = f"{name}: {time.perf_counter() - start:.0f} s"
    print(said if code == 0 else f"{said}, ended with {code}", file=sys.stderr, flush=True)
    return code


def main() -> int:
    """Run those that were asked for; the others, too, where one fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--results", default=str(RESULTS), help="where to write")
    parser.add_argument("--data", help="a folder for generated files; else memory if they fit")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no benchmark. Available: {', '.join(BENCHMARKS)}.")
    card.require()
    codes = [run(name, args.results, args.data) for name in args.names or BENCHMARKS]
    return int(any(codes))


if __name__ == "__main__":
    raise SystemExit(main())
