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

from carve import child, conditions, medians
from full_pass_ways import WAYS
from peers import require

HERE = Path(__file__).parent
#: Ours and the peer's, with the terms in captions and without.
PAIRS = {
    "all": ("laion_dask", "polars, by hand"),
    "without terms": ("laion_dask, no terms", "polars, no terms"),
}


def measure(source: str, repeats: int) -> dict[str, list[dict]]:
    """The runs of each way, in turn; one of ours before them warms the caches."""
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    child("full_pass_ways.py", PAIRS["all"][0], source)
    for repeat in range(repeats):
        for way in WAYS:
            runs[way].append(child("full_pass_ways.py", way, source))
            took = runs[way][-1]["wall_s"]
            print(f"{repeat + 1}/{repeats} {way}: {took:.2f} s", file=sys.stderr)
    return runs


def differences(runs: dict[str, list[dict]]) -> dict[str, tuple]:
    """Counts in which two ways differ."""
    found = {}
    for pair in PAIRS.values():
        ours, theirs = (runs[way][0]["counts"] for way in pair)
        found |= {k: (ours.get(k), v) for k, v in theirs.items() if ours.get(k, 0) != v}
    return found


def table(middle: dict) -> str:
    """Markdown: each pair of ways, and our ratio to the peer."""
    lines = ["| statistics | way | wall s | ratio | CPU s | ratio | peak MB | import s |"]
    lines.append("|---|---|" + "---:|" * 6)
    for what, (ours, theirs) in PAIRS.items():
        for way in (theirs, ours):
            m, base = middle[way], middle[theirs]
            lines.append(
                f"| {what} | {way} | {m['wall_s']:.2f} | {m['wall_s'] / base['wall_s']:.2f} "
                f"| {m['cpu_s']:.2f} | {m['cpu_s'] / base['cpu_s']:.2f} "
                f"| {m['peak_bytes'] / 1e6:.0f} | {m['import_s']:.2f} |"
            )
    return "\n".join(lines)


def report(about: dict, middle: dict, compared: int) -> tuple[str, list[dict]]:
    """The Markdown that is printed and stored, and what was asked for."""
    reached = []
    for what, (ours, theirs) in PAIRS.items():
        ratio = middle[ours]["wall_s"] / middle[theirs]["wall_s"]
        target = f"{what}: time at most 2 x that of polars by hand"
        reached.append({"target": target, "reached": round(ratio, 3), "passed": ratio <= 2})
    peak = middle[PAIRS["all"][0]]["peak_bytes"] / 1e6
    target = "all: peak memory under 1,000 MB"
    reached.append({"target": target, "reached": round(peak), "passed": peak <= 1000})
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"# All statistics of captions and metadata over {about['rows']:,} rows",
        "",
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, Python {about['python']}; "
        f"{versions}. Medians of {about['repeats']} runs in turn, page cache warm, imports apart.",
        "",
        table(middle),
        "",
        f"{compared:,} counts were compared, and agree. laion_dask adds intervals, ratios, tests, "
        "a bootstrap over shards and nPMI, which polars was not asked for, and counts words that "
        "need a noun for a person after them, which polars was spared.",
        "",
        *(f"- {'pass' if t['passed'] else 'FAIL'}: {t['target']}: {t['reached']}" for t in reached),
    ]
    return "\n".join(lines) + "\n", reached


def main() -> int:
    """Measure, compare, report; 1 when counts differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=".bench", help="where the generated rows are kept")
    parser.add_argument("--results", default=str(HERE / "results"), help="where to write")
    args = parser.parse_args()
    require("polars")
    source = child("carve_data.py", "prepare", args.data, str(args.rows))
    runs = measure(source, args.repeats)
    if differ := differences(runs):
        print("Counts differ (ours, polars):", differ)
        return 1
    middle, compared = medians(runs), len(runs[PAIRS["all"][1]][0]["counts"])
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
