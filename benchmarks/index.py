"""Build and search an approximate index of a million vectors, compared with faiss.

    python benchmarks/index.py

Each contender runs in its own process on two cores, one after the other, with a warm page cache.
The ground truth is faiss's ``IndexFlatIP``; the peer is faiss's own IVF-PQ of the same size in
memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from peers import require
from reporting import RESULTS, child, conditions, setting, write

PACKAGES = ("faiss-cpu", "numpy", "torch", "dask", "laion_dask")


def recall(truth: np.ndarray, returned: np.ndarray) -> float:
    """The share of the true neighbors that were returned."""
    hits = sum(np.isin(t, f).sum() for t, f in zip(truth, returned, strict=True))
    return round(float(hits / truth.size), 4)


def measure(folder: str, scratch: str) -> dict:
    """Run all contenders and add their recall."""
    script, out = "index_ways.py", f"{scratch}/index"
    built = child(script, "build", folder, out)
    made, manifest = built["made"], json.loads(Path(out, "index.json").read_text())
    size = (made["nlist"], made["m"], manifest["parameters"]["sample"])
    runs = {"build": built, "ours": child(script, "ours", folder, out)}
    runs["flat"] = child(script, "flat", folder, out)
    runs["plain"] = child(script, "plain", folder, out, *map(str, size))
    truth = np.load(f"{out}.truth.npy")
    for way, name in (("ours", "found"), ("ours", "rescored"), ("plain", "plain")):
        for step in runs[way]["steps"]:
            step[f"recall_{name}"] = recall(truth, np.load(f"{out}.{name}-{step['nprobe']}.npy"))
    return runs


def table(runs: dict) -> str:
    """A Markdown table: recall and time by nprobe, and the times of exact search."""
    lines = [
        "| contender | nprobe | recall@100 | one query, ms | 1,000 queries, s |",
        "|---|---:|---:|---:|---:|",
    ]
    ways = (
        ("laion_dask, candidates only", "ours", "", "recall_found"),
        ("**laion_dask, search(index=)**", "ours", "rescored_", "recall_rescored"),
        ("faiss IVF-PQ in memory", "plain", "", "recall_plain"),
    )
    for name, way, prefix, recall_key in ways:
        for step in runs[way]["steps"]:
            one, many = step[f"{prefix}one_ms"], step[f"{prefix}all_s"]
            lines.append(
                f"| {name} | {step['nprobe']} | {step[recall_key]:.3f} | {one:.1f} | {many:.2f} |"
            )
    flat = runs["flat"]
    lines.append(f"| faiss IndexFlatIP | | 1.000 | {flat['one_ms']:.1f} | {flat['all_s']:.2f} |")
    return "\n".join(lines)


def report(about: dict, runs: dict) -> str:
    """The Markdown report."""
    built, made = runs["build"], runs["build"]["made"]
    peaks = ", ".join(f"{way} {run['peak_bytes'] / 1e6:,.0f} MB" for way, run in runs.items())
    return "\n".join(
        [
            f"# Index of {about['rows']:,} x 768 float16",
            "",
            f"{setting(about)} Single runs, except one query: median of 20.",
            "",
            f"Build time: {built['wall_s']:.1f} s, including the measurement of recall; faiss "
            f"takes {runs['plain']['wall_s']:.1f} s for the same {made['nlist']:,} lists and "
            f"{made['m']} bytes per row. Size on disk: {built['bytes'] / 1e6:,.1f} MB, "
            f"{built['bytes'] / about['rows']:.0f} bytes per row; the vectors take "
            f"{about['rows'] * 1536 / 1e6:,.0f} MB. Opening, with checks against its embeddings "
            f"and digests: {runs['ours']['open_s']:.2f} s. Peak memory: {peaks}.",
            "",
            table(runs),
            "",
            "Output of `print(index)`:",
            "",
            "```",
            built["printed"],
            "```",
            "",
        ]
    )


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    require("faiss")
    source = child("index_ways.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory(dir=args.data) as scratch:
        runs = measure(source["folder"], scratch)
    about = conditions(PACKAGES, rows=source["rows"])
    write(args.results, "index", report(about, runs), {**about, "runs": runs})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
