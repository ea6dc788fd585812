"""Join scores to rows by hash three ways, side by side.

    python benchmarks/join.py
    python benchmarks/join.py --rows 16000000 --repeats 3

Each way runs in a process of its own on two cores, the ways in turn, the page cache warm; the
medians count. The sums of the scores and the number of matches are compared.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import sys
import tempfile
from pathlib import Path

from carve import best_peer, child, cpu_model, medians
from carve_ways import CORES
from join_ways import SCORED, WAYS
from peers import require

HERE = Path(__file__).parent
OURS, PEERS = "laion_dask", ("polars", "DuckDB")
PACKAGES = ("polars", "duckdb", "pyarrow", "dask", "pandas", "numpy", "laion_dask")


def measure(source: str, repeats: int, scratch: Path) -> dict[str, list[dict]]:
    """The runs of each way, in turn; the first turn is not counted. All must find the same."""
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    found = {}
    for repeat in range(repeats + 1):
        for way in WAYS:
            out = scratch / "sums.json"
            result = child("join_ways.py", way, source, str(out))
            found[way] = json.loads(out.read_text())
            if repeat:
                runs[way].append(result)
                print(f"{repeat}/{repeats} {way}: {result['wall_s']:.2f} s", file=sys.stderr)
    for way, sums in found.items():
        if sums != found["polars"]:
            raise SystemExit(f"{way} finds {sums}, and polars {found['polars']}.")
    return runs


def table(middle: dict[str, dict[str, float]]) -> str:
    """Markdown: each measure, and its ratio to the better peer's."""
    lines = ["| way | wall s | x best peer | CPU s | x best peer | peak MB |"]
    lines.append("|---|" + "---:|" * 5)
    for way, found in middle.items():
        cells = [way if way != OURS else f"**{way}**"]
        for key in ("wall_s", "cpu_s"):
            cells += [f"{found[key]:.2f}", f"{found[key] / best_peer(middle, key, PEERS):.2f}"]
        cells.append(f"{found['peak_bytes'] / 1e6:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(about: dict, middle: dict) -> str:
    """The Markdown that is printed and stored."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"# Three scores joined to {about['rows']:,} rows by hash\n\n"
        f"{about['date']}, {about['cpu']}, {CORES} cores, Python {about['python']}; {versions}. "
        f"Medians of {about['repeats']} runs in turn, page cache warm; imports and a first run "
        "over one shard of each side apart.\n\n"
        f"{table(middle)}\n\n"
        f"{SCORED} rows of 10 have scores; both sides are in other orders. All find the same sums "
        "and matches. laion_dask also checks that no key has scores twice, and keeps every row in "
        "its partition and place; past 256 MB of scores it goes through files on the disk.\n"
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="where the generated rows are kept")
    parser.add_argument("--results", default=str(HERE / "results"), help="where to write")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    require("polars")
    source = child("join_ways.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory() as scratch:
        runs = measure(source, args.repeats, Path(scratch))
    middle = medians(runs)
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
    text = report(about, middle)
    print(text)
    name = Path(args.results) / f"join-{args.rows}"
    name.with_suffix(".md").write_text(text)
    stored = {**about, "medians": middle, "runs": runs}
    name.with_suffix(".json").write_text(json.dumps(stored, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
