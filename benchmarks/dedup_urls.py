"""Compare three ways to keep the first row of each URL.

    python benchmarks/dedup_urls.py
    python benchmarks/dedup_urls.py --rows 32000000 --repeats 3

Each contender runs in its own process on two cores. Contenders take turns, with a warm page cache;
medians are reported. The numbers of rows kept and the sums of their ids are compared.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from carve import best_peer, medians
from dedup_urls_ways import MEMORY
from join import OURS, PACKAGES, PEERS, measure, table
from peers import require
from reporting import RESULTS, child, conditions, setting, write


def report(about: dict, median: dict) -> str:
    """The Markdown report."""
    ratio = median[OURS]["cpu_s"] / best_peer(median, "cpu_s", PEERS)
    return (
        f"# The first row of each URL of {about['rows']:,} rows\n\n"
        f"{setting(about)} Medians of {about['repeats']} runs; contenders take turns, page cache "
        "warm, imports and a first run over one shard excluded.\n\n"
        f"{table(median)}\n\n"
        f"CPU time: {ratio:.2f} times that of the better peer; the target is 1.2. All contenders "
        "keep the same rows. polars holds all URLs in memory; DuckDB may spill, from "
        f"{MEMORY} on; laion_dask always writes 24 bytes a row to temporary files, and keeps each "
        "row in its partition.\n"
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=32_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    require("polars")
    source = child("dedup_urls_ways.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory() as scratch:
        runs = measure(source, args.repeats, Path(scratch), "dedup_urls_ways.py")
    median = medians(runs)
    about = conditions(PACKAGES, rows=args.rows, repeats=args.repeats)
    stored = {**about, "medians": median, "runs": runs}
    write(args.results, f"dedup-urls-{args.rows}", report(about, median), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
