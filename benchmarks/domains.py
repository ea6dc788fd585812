"""Count the 1,000 most frequent domains of LAION-shaped rows five ways, side by side.

    python benchmarks/domains.py
    python benchmarks/domains.py --rows 32000000 --repeats 3

Each way runs in a process of its own on two cores, the ways in turn, the page cache warm; the
medians count. What the ways counted is compared.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from carve import child, cpu_model, medians
from carve_ways import CORES
from domains_ways import TOP, WAYS
from peers import require

HERE = Path(__file__).parent
OURS = "laion_dask"
PACKAGES = ("polars", "duckdb", "pyarrow", "dask", "numba", "tldextract", "laion_dask")
MOST = 1.1
"""The target: at most so many times polars' wall time."""


def measure(source: str, repeats: int, scratch: Path) -> dict[str, list[dict]]:
    """The runs of each way, in turn; the first turn is not counted. All must count the same."""
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
        if counts != counted["polars"]:
            raise SystemExit(f"{way} counts otherwise than polars.")
    return runs


def table(middle: dict[str, dict[str, float]]) -> str:
    """Markdown: each measure, and its ratio to polars'."""
    lines = ["| way | wall s | x polars | CPU s | x polars | peak MB | first shard s |"]
    lines.append("|---|" + "---:|" * 6)
    for way, found in middle.items():
        cells = [way if way != OURS else f"**{way}**"]
        for key in ("wall_s", "cpu_s"):
            cells += [f"{found[key]:.3f}", f"{found[key] / middle['polars'][key]:.2f}"]
        cells += [f"{found['peak_bytes'] / 1e6:.0f}", f"{found['first_s']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(about: dict, middle: dict, reached: dict) -> str:
    """The Markdown that is printed and stored."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"# The {TOP:,} most frequent domains of {about['rows']:,} rows\n\n"
        f"{about['date']}, {about['cpu']}, {CORES} cores, Python {about['python']}; {versions}. "
        f"Medians of {about['repeats']} runs in turn, page cache warm; imports and a first run "
        "over one shard apart.\n\n"
        f"{table(middle)}\n\n"
        f"All count the same {TOP:,} domains. The rows' hosts end in .example, which is no public "
        "suffix, so a host is its own registered domain. laion_dask looks each up all the same, "
        "and works out shares, intervals, Gini, Herfindahl and entropy over all domains.\n\n"
        f"- {'pass' if reached['passed'] else 'FAIL'}: {reached['target']}: {reached['reached']}\n"
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--data", default=".bench", help="where the generated rows are kept")
    parser.add_argument("--results", default=str(HERE / "results"), help="where to write")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    require("polars")
    source = child("carve_data.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory() as scratch:
        runs = measure(source, args.repeats, Path(scratch))
    middle = {
        way: found | {"first_s": statistics.median(run["first_s"] for run in runs[way])}
        for way, found in medians(runs).items()
    }
    ratio = middle[OURS]["wall_s"] / middle["polars"]["wall_s"]
    reached = {
        "target": f"wall time at most {MOST} x polars",
        "reached": round(ratio, 3),
        "passed": ratio <= MOST,
    }
    about = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": CORES,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "rows": args.rows,
        "repeats": args.repeats,
    }
    text = report(about, middle, reached)
    print(text)
    name = Path(args.results) / f"domains-{args.rows}"
    name.with_suffix(".md").write_text(text)
    stored = {**about, "medians": middle, "target": reached, "runs": runs}
    name.with_suffix(".json").write_text(json.dumps(stored, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
