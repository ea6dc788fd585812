"""All statistics of captions and metadata in one pass, beside polars written by hand.

    python benchmarks/full_pass.py
    python benchmarks/full_pass.py --rows 1000000 --repeats 1

Each way runs in a process of its own on two cores, the ways in turn, the page cache warm; the
medians count, and the counts that both ways give are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from carve import OURS, child, conditions, medians, table
from full_pass_ways import WAYS

HERE = Path(__file__).parent
PEER = "polars, by hand"


def measure(source: str, repeats: int) -> dict[str, list[dict]]:
    """The runs of each way, in turn; one of ours before them warms the caches."""
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    child("full_pass_ways.py", OURS, source)
    for repeat in range(repeats):
        for way in WAYS:
            runs[way].append(child("full_pass_ways.py", way, source))
            took = runs[way][-1]["wall_s"]
            print(f"{repeat + 1}/{repeats} {way}: {took:.2f} s", file=sys.stderr)
    return runs


def differences(runs: dict[str, list[dict]]) -> dict[str, tuple]:
    """Counts in which the two ways differ."""
    ours, theirs = (runs[way][0]["counts"] for way in (OURS, PEER))
    return {k: (ours.get(k), v) for k, v in theirs.items() if ours.get(k, 0) != v}


def report(about: dict, middle: dict, compared: int) -> tuple[str, list[dict]]:
    """The Markdown that is printed and stored, and what was asked for."""
    ratio = middle[OURS]["wall_s"] / middle[PEER]["wall_s"]
    peak = middle[OURS]["peak_bytes"] / 1e6
    reached = [
        {"target": "time at most 2 x that of polars by hand", "reached": round(ratio, 3),
         "passed": ratio <= 2},
        {"target": "peak memory under 1,000 MB", "reached": round(peak), "passed": peak <= 1000},
    ]  # fmt: skip
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"# All statistics of captions and metadata over {about['rows']:,} rows",
        "",
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, Python {about['python']}; "
        f"{versions}. Medians of {about['repeats']} runs in turn, page cache warm, imports apart; "
        "*x best* is the ratio to the best of the others.",
        "",
        table(middle),
        "",
        f"{compared:,} counts were compared, and agree. laion_dask adds intervals, ratios, tests, "
        "a bootstrap over shards and nPMI, which polars was not asked for.",
        "",
        *(f"- {'pass' if t['passed'] else 'FAIL'}: {t['target']}: {t['reached']}" for t in reached),
    ]
    return "\n".join(lines) + "\n", reached


def main() -> int:
    """Measure, compare, report; 1 when counts differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="where the generated rows are kept")
    parser.add_argument("--results", default=str(HERE / "results"), help="where to write")
    args = parser.parse_args()
    source = child("carve_data.py", "prepare", args.data, str(args.rows))
    runs = measure(source, args.repeats)
    if differ := differences(runs):
        print("Counts differ (ours, polars):", differ)
        return 1
    middle, compared = medians(runs), len(runs[PEER][0]["counts"])
    about = conditions(args.rows, args.rows, args.repeats)
    text, reached = report(about, middle, compared)
    print(text)
    name = Path(args.results) / f"full_pass-{args.rows}"
    name.with_suffix(".md").write_text(text)
    stored = {**about, "medians": middle, "targets": reached}
    name.with_suffix(".json").write_text(json.dumps(stored, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
