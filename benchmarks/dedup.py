"""Cluster a million embeddings, and find the duplicates of a cluster, next to other libraries.

    python benchmarks/dedup.py
    python benchmarks/dedup.py --rows 200000

Each contender runs in its own process on two cores, one after the other, with a warm page cache.
"""

from __future__ import annotations

import argparse
import tempfile

from peers import require
from reporting import RESULTS, child, conditions, setting, target, verdicts, write

PACKAGES = ("faiss-cpu", "scikit-learn", "numpy", "torch", "numkong", "laion_dask")
NAMES = {
    "ours": "**laion_dask**, 256,000 rows, the last iteration on all",
    "faiss": "faiss `Kmeans`, 256,000 rows",
    "faiss_all": "faiss `Kmeans`, all rows",
    "sklearn": "scikit-learn `MiniBatchKMeans`, all rows",
}


def measure(folder: str, scratch: str, repeats: int) -> dict:
    """The medians of all contenders, with the objective of their centroids."""
    runs = {}
    for way in NAMES:
        out = f"{scratch}/{way}.npy"
        turns = [child("dedup_ways.py", way, folder, out) for _ in range(repeats)]
        runs[way] = sorted(turns, key=lambda turn: turn["cpu_s"])[len(turns) // 2]
        found = child("dedup_ways.py", "objective", folder, out)
        runs[way]["distance"] = found["distance"]
    for way in ("pairs_ours", "pairs_numpy"):
        turns = [child("dedup_ways.py", way, folder, scratch) for _ in range(repeats)]
        runs[way] = sorted(turns, key=lambda turn: turn["cpu_s"])[len(turns) // 2]
    return runs


def targets(runs: dict) -> list[dict]:
    """The targets, with the values reached."""
    ours, faiss = runs["ours"], runs["faiss"]
    return [
        target("k-means: at least 1.5 x faiss's speed, by CPU time",
               faiss["cpu_s"] / ours["cpu_s"], at_least=1.5),
        target("k-means: at most 1.002 x the mean distance that faiss reaches",
               ours["distance"] / faiss["distance"], at_most=1.002),
        target("k-means: at least 1.5 x the speed of faiss on all rows, by CPU time",
               runs["faiss_all"]["cpu_s"] / ours["cpu_s"], at_least=1.5),
        target("k-means: at most 1.002 x the mean distance that faiss reaches on all rows",
               ours["distance"] / runs["faiss_all"]["distance"], at_most=1.002),
        target("pairs of a cluster: at least 2 x NumPy in float32, by CPU time",
               runs["pairs_numpy"]["cpu_s"] / runs["pairs_ours"]["cpu_s"], at_least=2.0),
    ]  # fmt: skip


def report(about: dict, runs: dict) -> str:
    """The Markdown report."""
    lines = [
        f"# k-means of {about['rows']:,} x 768, k = 1,000, 10 iterations",
        "",
        f"{setting(about)} Median of {about['repeats']}, by CPU time. We read files; the "
        "others start with all rows in memory, in float32.",
        "",
        "| contender | CPU, s | wall, s | mean distance | peak memory, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, name in NAMES.items():
        run = runs[way]
        peak = run["peak_bytes"] / 1e6
        lines.append(
            f"| {name} | {run['cpu_s']:.1f} | {run['wall_s']:.1f} | {run['distance']:.5f} | "
            f"{peak:,.0f} |"
        )
    ours, numpy = runs["pairs_ours"], runs["pairs_numpy"]
    lines += [
        "",
        f"Duplicates of 20,000 rows of one cluster: {ours['cpu_s']:.2f} s of CPU, "
        f"{numpy['cpu_s']:.2f} s for NumPy in float32; {ours['dropped']:,} and "
        f"{numpy['dropped']:,} rows dropped. Peak memory {ours['peak_bytes'] / 1e6:,.0f} MB and "
        f"{numpy['peak_bytes'] / 1e6:,.0f} MB.",
        "",
        verdicts(targets(runs)),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    require("faiss", "sklearn")
    source = child("dedup_ways.py", "prepare", args.data, str(args.rows))
    with tempfile.TemporaryDirectory(dir=args.data) as scratch:
        runs = measure(source["folder"], scratch, args.repeats)
    about = conditions(PACKAGES, rows=source["rows"], repeats=args.repeats)
    stored = {**about, "runs": runs, "targets": targets(runs)}
    write(args.results, f"dedup-{source['rows']}", report(about, runs), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
