"""Compare three ways to join scores to rows by hash.

    python benchmarks/join.py
    python benchmarks/join.py --rows 16000000 --repeats 3

Each contender runs in its own process on two cores. Contenders take turns, with a warm page cache;
medians are reported. The sums of the scores and the numbers of matches are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from carve import best_peer, medians
from join_ways import SCORED, WAYS
from peers import require
from reporting import RESULTS, child, conditions, setting, write

OURS, PEERS = "laion_dask", ("polars", "DuckDB")
PACKAGES = ("polars", "duckdb", "pyarrow", "dask", "pandas", "numpy", "laion_dask")


def measure(
    source: str, repeats: int, scratch: Path, script: str = "join_ways.py"
) -> dict[str, list[dict]]:
    """Run the contenders in turn and discard the first turn. All sums must be equal."""
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    sums_of = {}
    for repeat in range(repeats + 1):
        for way in WAYS:
            out = scratch / "sums.json"
            result = child(script, way, source, str(out))
            sums_of[way] = json.loads(out.read_text())
            if repeat:
                runs[way].append(result)
                print(f"{repeat}/{repeats} {way}: {result['wall_s']:.2f} s", file=sys.stderr)
    for way, sums in sums_of.items():
        if sums != sums_of["polars"]:
            raise SystemExit(f"{way} returned {sums}, but polars {sums_of['polars']}.")
    return runs


def table(median: dict[str, dict[str, float]]) -> str:
    """A Markdown table: each measure, and its ratio to the better peer."""
    lines = ["| contender | wall s | x best peer | CPU s | x best peer | peak MB |"]
    lines.append("|---|" + "---:|" * 5)
    for way, values in median.items():
        cells = [way if way != OURS else f"**{way}**"]
        for key in ("wall_s", "cpu_s"):
            cells += [f"{values[key]:.2f}", f"{values[key] / best_peer(median, key, PEERS):.2f}"]
        cells.append(f"{values['peak_bytes'] / 1e6:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(about: dict, median: dict) -> str:
    """The Markdown report."""
    return (
        f"# Three scores joined to {about['rows']:,} rows by hash\n\n"
        f"{setting(about)} Medians of {about['repeats']} runs; contenders take turns, page cache "
        "warm, imports and a first run over one shard of each side excluded.\n\n"
        f"{table(median)}\n\n"
        f"{SCORED} in 10 rows have scores; the two sides are in different orders. All contenders "
        "return the same sums and matches. laion_dask also checks for duplicate keys, and keeps "
        "every row in its partition and position; above 256 MB of scores, it uses temporary files "
        "on disk.\n"
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    require("polars")
    source = child("join_ways.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory() as scratch:
        runs = measure(source, args.repeats, Path(scratch))
    median = medians(runs)
    about = conditions(PACKAGES, rows=args.rows, repeats=args.repeats)
    stored = {**about, "medians": median, "runs": runs}
    write(args.results, f"join-{args.rows}", report(about, median), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
