"""Compare ways to score embeddings with the NSFW network and with a linear head.

    python benchmarks/heads.py
    python benchmarks/heads.py --rows 100000 --repeats 3

Each contender runs in its own process on two cores. Contenders take turns, with a warm page cache;
medians are reported, and the scores are compared. Requires LAION's published detector for ViT-L-14.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import sys
import tempfile
from pathlib import Path

import numpy as np
from carve import medians
from heads_ways import DIM, HEADS
from peers import report_skipped
from reporting import RESULTS, child, conditions, setting, target, verdicts, write

PACKAGES = ("torch", "numpy", "numkong", "onnxruntime", "laion_dask")
LARGEST_DIFFERENCE = {"laion_dask bfloat16": 0.01, "torch float16": 0.02, "numkong float16": 0.02,
                      "laion_dask float16": 0.02}  # fmt: skip
"""Largest allowed difference from the float32 reference; 1e-5 for all others."""


def measure(head: str, source: str, rows: int, repeats: int, scratch: Path) -> tuple[dict, dict]:
    """Run the contenders in turn, discard the first turn, and return the runs and the scores."""
    ways = [way for way in HEADS[head] if _can_run(way)]
    runs: dict[str, list[dict]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way in ways:
            out = str(scratch / f"{head}-{way}.npy")
            result = child("heads_ways.py", head, way, source, out, str(rows))
            if repeat:
                runs[way].append(result)
                rate = rows / result["wall_s"] / 1e3
                print(f"{repeat}/{repeats} {head} {way}: {rate:.0f} k rows/s", file=sys.stderr)
    return runs, {way: np.load(scratch / f"{head}-{way}.npy") for way in ways}


def _can_run(way: str) -> bool:
    package = way.split(",")[0].split(" ")[0]
    return package != "onnxruntime" or importlib.util.find_spec(package) is not None


def differences(scores: dict[str, np.ndarray], reference: str) -> dict[str, float]:
    """The largest difference of each contender from the reference; exits if one is too large."""
    largest = {}
    for way, values in scores.items():
        if way in ("read only", "products only"):
            continue
        largest[way] = float(np.abs(values.astype(np.float64) - scores[reference]).max())
        allowed = LARGEST_DIFFERENCE.get(way, 1e-5)
        if not largest[way] <= allowed:
            raise SystemExit(
                f"{way} differs from {reference} by {largest[way]}, more than {allowed}."
            )
    return largest


def targets(nsfw: dict, linear: dict) -> list[dict]:
    """The targets, with the values reached."""
    fp32, bf16 = nsfw["laion_dask float32"]["wall_s"], nsfw["laion_dask bfloat16"]["wall_s"]
    fastest = min(linear[way]["wall_s"] for way in linear if way.startswith("laion_dask"))
    return [
        target("network: at least 9 x as fast as torch over a whole shard",
                nsfw["torch, whole shard"]["wall_s"] / min(fp32, bf16), at_least=9.0),
        target("network in float32: at least 2 x as fast as torch in blocks",
                nsfw["torch, blocks"]["wall_s"] / fp32, at_least=2.0),
        target("network in bfloat16: at least 0.6 of the rate of its products alone",
                nsfw["products only"]["wall_s"] / bf16, at_least=0.6),
        target("linear head: at most 1.25 x the time to read the file",
                fastest / linear["read only"]["wall_s"], at_most=1.25),
    ]  # fmt: skip


def table(rows: int, median: dict, differs: dict[str, float]) -> str:
    """A Markdown table: rate, CPU, memory and largest difference of each contender."""
    lines = [
        "| contender | k rows/s | wall s | CPU s | peak MB | differs by |",
        "|---|" + "---:|" * 5,
    ]
    for way, values in median.items():
        cells = [
            f"**{way}**" if way.startswith("laion_dask") else way,
            f"{rows / values['wall_s'] / 1e3:,.0f}",
            f"{values['wall_s']:.3f}",
            f"{values['cpu_s']:.2f}",
            f"{values['peak_bytes'] / 1e6:.0f}",
            f"{differs[way]:.1e}" if way in differs else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(about: dict, tables: dict[str, str], reached: list[dict]) -> str:
    """The Markdown report."""
    lines = [
        "# Heads over embeddings",
        "",
        f"{setting(about)} Medians of {about['repeats']} runs; contenders take turns, page cache "
        f"warm, imports and weights excluded; rows of {about['dim']} float16 numbers in a "
        "memory-mapped file.",
    ]
    titles = {
        "nsfw": "LAION's NSFW detector for ViT-L-14, including its look-ups",
        "linear": "A linear head",
    }
    for head, text in tables.items():
        lines += ["", f"## {titles[head]}: {about['rows'][head]:,} rows", "", text]
    lines.append("")
    lines.append(verdicts(reached))
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1 << 18, help="rows for the network")
    parser.add_argument(
        "--linear-rows", type=int, default=1_000_000, help="rows for the linear head"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    report_skipped("onnxruntime")
    rows = {"nsfw": args.rows, "linear": args.linear_rows}
    source = child("heads_ways.py", "prepare", args.data, str(max(rows.values())))
    reference = {"nsfw": "torch, whole shard", "linear": "laion_dask float32"}
    median, tables, stored = {}, {}, {}
    with tempfile.TemporaryDirectory(dir=args.data) as scratch:
        for head, n in rows.items():
            runs, scores = measure(head, source, n, args.repeats, Path(scratch))
            differs, median[head] = differences(scores, reference[head]), medians(runs)
            tables[head] = table(n, median[head], differs)
            stored[head] = {"medians": median[head], "differs_by": differs, "runs": runs}
    about = conditions(PACKAGES, rows=rows, dim=DIM, repeats=args.repeats)
    reached = targets(median["nsfw"], median["linear"])
    stored = {**about, "targets": reached, **stored}
    write(args.results, f"heads-{args.rows}", report(about, tables, reached), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
