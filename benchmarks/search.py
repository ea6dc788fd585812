"""Compare exact searches: the 100 nearest of a million embeddings, for 1 and 1,000 queries.

    python benchmarks/search.py

Each contender runs in its own process on two cores. Contenders take turns, with a warm page cache;
the medians over the rounds are reported, and the results are compared with faiss. Requires
faiss-cpu and usearch. This script imports only the standard library; `carve_data` explains why.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from peers import require
from reporting import RESULTS, child, conditions, setting, target, verdicts, write
from search_ways import LIMITS, WAYS, K

OURS, FLAT, TORCH, READ = "laion_dask", "faiss IndexFlatIP", "torch", "read"
PACKAGES = ("laion_dask", "faiss-cpu", "usearch", "numkong", "torch", "numpy", "dask")


def measure(ways: list[str], folder: str, rounds: int, scratch: Path) -> dict[str, list[dict]]:
    """Run the contenders in turn."""
    runs: dict[str, list[dict]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            result = child("search_ways.py", way, folder, str(scratch / f"{way}.npz"))
            runs[way].append(result)
            print(f"{number + 1}/{rounds} {way}: {result}", file=sys.stderr)
    return runs


def medians(runs: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    """Median of each measure per contender."""
    return {
        way: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for way, results in runs.items()
    }


def targets(runs: dict[str, list[dict]], median: dict, same: dict[str, dict]) -> list[dict]:
    """The targets, with the values reached."""
    ours, flat, read = median[OURS], median[FLAT], median[READ]["one_s"]
    rounds = zip(runs[OURS], runs[TORCH], strict=True)
    behind = max(mine["one_s"] / theirs["one_s"] for mine, theirs in rounds)
    return [
        target("no wrong row: same as IndexFlatIP, except for ties",
                same[OURS]["different"], at_most=0),
        target("one query at most 1.15 x the time to read", ours["one_s"] / read, at_most=1.15),
        target("one query in no round behind torch: greatest ratio", behind, at_most=1.0),
        target("one query at least 3 x faster than IndexFlatIP",
                flat["one_s"] / ours["one_s"], at_least=3.0),
        target("1,000 queries at least 3.2 x faster than IndexFlatIP",
                flat["many_s"] / ours["many_s"], at_least=3.2),
    ]  # fmt: skip


def table(median: dict[str, dict[str, float]], same: dict[str, dict]) -> str:
    """A Markdown table: times, their ratio to faiss, share of the read rate, memory, recall."""
    read = median[READ]["one_s"]
    lines = [
        "| contender | one query, ms | share of read rate | x IndexFlatIP | 1,000 queries, s "
        "| x IndexFlatIP | peak MB | recall | ready s |",
        "|---|" + "---:|" * 8,
    ]
    for way, values in median.items():
        if way in LIMITS:
            continue
        cells = [
            f"**{way}**" if way == OURS else way,
            f"{values['one_s'] * 1e3:.1f}",
            f"{read / values['one_s']:.2f}",
            f"{median[FLAT]['one_s'] / values['one_s']:.2f}",
            f"{values['many_s']:.2f}",
            f"{median[FLAT]['many_s'] / values['many_s']:.2f}",
            f"{values['peak_bytes'] / 1e6:,.0f}",
            f"{same[way]['recall']:.5f}",
            f"{values['ready_s']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(about: dict, median: dict, same: dict, reached: list[dict]) -> str:
    """The Markdown report."""
    read = median[READ]["one_s"]
    rate = about["bytes"] / read / 1e9
    lines = [
        f"# The {K} nearest of {about['rows']:,} x 768 float16, memory-mapped, in eight shards",
        "",
        f"{setting(about)} Medians of {about['rounds']} "
        f"rounds, page cache warm. Two threads read all mapped bytes in {read * 1e3:.1f} ms, "
        f"{rate:.1f} GB/s. Multiplying blocks of as many rows by 1,000 queries, and nothing else, "
        f"takes {median['products, bfloat16']['many_s']:.2f} s in bfloat16 and "
        f"{median['products, int8']['many_s']:.2f} s in int8.",
        "",
        table(median, same),
        "",
        "*Recall*: the share of returned rows that faiss IndexFlatIP also returns, or that tie "
        "with its last row to within 1e-6. *Peak* includes the mapped pages of the data, which "
        "belong to the page cache. *Ready*: the time to open the data or load it into the index.",
        "",
    ]
    lines.append(verdicts(reached))
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    require("faiss", "usearch")
    folder = child("search_data.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory(dir=args.data) as scratch:
        runs = measure(list(WAYS), folder, args.rounds, Path(scratch))
        outputs = [str(Path(scratch) / f"{way}.npz") for way in WAYS if way not in LIMITS]
        same = child(
            "search_data.py", "compare", folder, str(Path(scratch) / f"{FLAT}.npz"), *outputs
        )
    median = medians(runs)
    n_bytes = args.rows * 768 * 2
    about = conditions(PACKAGES, rows=args.rows, bytes=n_bytes, rounds=args.rounds)
    reached = targets(runs, median, same)
    stored = {**about, "medians": median, "same": same, "targets": reached, "runs": runs}
    write(args.results, "search", report(about, median, same, reached), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
