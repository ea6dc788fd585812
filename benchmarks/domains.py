"""Compare five ways to count the 1,000 most frequent domains of LAION-shaped rows.

    python benchmarks/domains.py
    python benchmarks/domains.py --rows 32000000 --repeats 3

Each contender runs in its own process on two cores. Contenders take turns, with a warm page cache;
medians are reported, and the counts are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from carve import medians
from domains_ways import TOP, WAYS
from peers import require
from reporting import RESULTS, child, conditions, setting, target, verdicts, write

OURS = "laion_dask"
PACKAGES = ("polars", "duckdb", "pyarrow", "dask", "numba", "tldextract", "laion_dask")
MOST = 1.1
"""The target: the largest ratio to the wall time of polars."""


def comparable(counts: list[tuple[str, int]]) -> tuple[list[int], dict[str, int]]:
    """The counts, and the registered domain of each host but those that tie with the last.

    Every domain of these rows has one host; its registered domain is its last two labels.
    """
    numbers = [n for _, n in counts]
    domains = {".".join(host.split(".")[-2:]): n for host, n in counts if n > numbers[-1]}
    return numbers, domains


def measure(source: str, repeats: int, scratch: Path) -> dict[str, list[dict]]:
    """Run the contenders in turn and discard the first turn. All counts must be equal."""
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    counted = {}
    for repeat in range(repeats + 1):
        for way in WAYS:
            out = scratch / "counts.json"
            result = child("domains_ways.py", way, source, str(out))
            counted[way] = json.loads(out.read_text())
            if repeat:
                runs[way].append(result)
                print(f"{repeat}/{repeats} {way}: {result['wall_s']:.3f} s", file=sys.stderr)
    for way, counts in counted.items():
        if comparable(counts) != comparable(counted["polars"]):
            raise SystemExit(f"{way} and polars report different counts.")
    return runs


def table(median: dict[str, dict[str, float]]) -> str:
    """A Markdown table: each measure, and its ratio to polars."""
    lines = ["| contender | wall s | x polars | CPU s | x polars | peak MB | first shard s |"]
    lines.append("|---|" + "---:|" * 6)
    for way, values in median.items():
        cells = [way if way != OURS else f"**{way}**"]
        for key in ("wall_s", "cpu_s"):
            cells += [f"{values[key]:.3f}", f"{values[key] / median['polars'][key]:.2f}"]
        cells += [f"{values['peak_bytes'] / 1e6:.0f}", f"{values['first_s']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(about: dict, median: dict, reached: dict) -> str:
    """The Markdown report."""
    return (
        f"# The {TOP:,} most frequent domains of {about['rows']:,} rows\n\n"
        f"{setting(about)} Medians of {about['repeats']} runs; contenders take turns, page cache "
        "warm, imports and a first run over one shard excluded.\n\n"
        f"{table(median)}\n\n"
        f"All report the same {TOP:,} domains with the same counts. The others count hosts, of "
        "which each domain has one here; laion_dask looks up the registered domain of each host, "
        "and computes shares, intervals, Gini, Herfindahl and entropy over all domains.\n\n"
        f"{verdicts([reached])}\n"
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    require("polars")
    source = child("carve_data.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory() as scratch:
        runs = measure(source, args.repeats, Path(scratch))
    median = {
        way: values | {"first_s": statistics.median(run["first_s"] for run in runs[way])}
        for way, values in medians(runs).items()
    }
    ratio = median[OURS]["wall_s"] / median["polars"]["wall_s"]
    reached = target(f"wall time at most {MOST} x polars", ratio, at_most=MOST)
    about = conditions(PACKAGES, rows=args.rows, repeats=args.repeats)
    stored = {**about, "medians": median, "target": reached, "runs": runs}
    write(args.results, f"domains-{args.rows}", report(about, median, reached), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
