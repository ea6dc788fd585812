"""Compare all caption and metadata statistics in one pass with hand-written polars queries.

    python benchmarks/full_pass.py
    python benchmarks/full_pass.py --rows 1000000 --repeats 1

Each contender runs in its own process on two cores. Contenders take turns, with a warm page cache;
medians are reported, and the counts that both produce are compared.
"""

from __future__ import annotations

import argparse
import sys

from carve import PACKAGES, medians
from full_pass_ways import WAYS
from peers import require
from reporting import RESULTS, child, conditions, setting, target, verdicts, write

#: laion_dask and its peer, with and without the terms in captions.
PAIRS = {
    "all": ("laion_dask", "polars, by hand"),
    "without terms": ("laion_dask, no terms", "polars, no terms"),
}
#: Target for our time, relative to that of the peer.
AT_MOST = 0.3


def measure(source: str, repeats: int) -> dict[str, list[dict]]:
    """Run the contenders in turn, after one run of ours that warms the caches."""
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    child("full_pass_ways.py", PAIRS["all"][0], source)
    for repeat in range(repeats):
        for way in WAYS:
            runs[way].append(child("full_pass_ways.py", way, source))
            wall = runs[way][-1]["wall_s"]
            print(f"{repeat + 1}/{repeats} {way}: {wall:.2f} s", file=sys.stderr)
    return runs


def differences(runs: dict[str, list[dict]]) -> dict[str, tuple]:
    """The counts that differ between a contender of ours and its peer."""
    differ = {}
    for pair in PAIRS.values():
        ours, theirs = (runs[way][0]["counts"] for way in pair)
        differ |= {k: (ours.get(k), v) for k, v in theirs.items() if ours.get(k, 0) != v}
    return differ


def table(median: dict) -> str:
    """A Markdown table: each pair of contenders, and our ratio to the peer."""
    lines = ["| statistics | contender | wall s | ratio | CPU s | ratio | peak MB | import s |"]
    lines.append("|---|---|" + "---:|" * 6)
    for what, (ours, theirs) in PAIRS.items():
        for way in (theirs, ours):
            m, base = median[way], median[theirs]
            lines.append(
                f"| {what} | {way} | {m['wall_s']:.2f} | {m['wall_s'] / base['wall_s']:.2f} "
                f"| {m['cpu_s']:.2f} | {m['cpu_s'] / base['cpu_s']:.2f} "
                f"| {m['peak_bytes'] / 1e6:.0f} | {m['import_s']:.2f} |"
            )
    return "\n".join(lines)


def report(about: dict, median: dict, compared: int) -> tuple[str, list[dict]]:
    """The Markdown report, and the targets with the values reached."""
    reached = []
    for what, (ours, theirs) in PAIRS.items():
        ratio = median[ours]["wall_s"] / median[theirs]["wall_s"]
        text = f"{what}: at most {AT_MOST} x the time of hand-written polars"
        reached.append(target(text, ratio, at_most=AT_MOST))
    peak = median[PAIRS["all"][0]]["peak_bytes"] / 1e6
    reached.append(target("all: peak memory below 1,000 MB", peak, at_most=1000))
    lines = [
        f"# All statistics of captions and metadata over {about['rows']:,} rows",
        "",
        f"{setting(about)} Medians of {about['repeats']} runs; contenders take turns, page cache "
        "warm, imports excluded.",
        "",
        table(median),
        "",
        f"{compared:,} counts were compared, and agree. laion_dask also computes intervals, "
        "ratios, tests, a bootstrap over shards and nPMI, and counts the words that count only "
        "before a noun for a person, which the polars queries skip.",
        "",
        verdicts(reached),
    ]
    return "\n".join(lines) + "\n", reached


def main() -> int:
    """Measure, compare, report; return 1 if counts differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    require("polars")
    source = child("carve_data.py", "prepare", args.data, str(args.rows))
    runs = measure(source, args.repeats)
    if differ := differences(runs):
        print("Counts differ (ours, polars):", differ)
        return 1
    median, compared = medians(runs), len(runs[PAIRS["all"][1]][0]["counts"])
    about = conditions(PACKAGES, rows=args.rows, repeats=args.repeats)
    text, reached = report(about, median, compared)
    stored = {**about, "medians": median, "targets": reached}
    write(args.results, f"full_pass-{args.rows}", text, stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
