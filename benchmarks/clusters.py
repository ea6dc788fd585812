"""CPU seconds of semantic deduplication and pruning, beside what `ld.plan` says of them.

    python benchmarks/clusters.py
    python benchmarks/clusters.py --results

Each call has its own process, on one core, after a small one that loads compiled code. The vectors
are float16, around 500 directions. ``--results`` writes the times to ``results/clusters.json``; the
rates in it were chosen by hand to explain the stages of these calls, and stay as they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "clusters.json"
SHARDS = 4


def write(folder: Path, rows: int, dim: int) -> None:
    """Shards with one column, and their embeddings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(0)
    centers = draw.normal(size=(500, dim)).astype(np.float32)
    (folder / "metadata").mkdir(parents=True)
    (folder / "img_emb").mkdir()
    for shard in range(SHARDS):
        n = rows // SHARDS
        vectors = centers[draw.integers(0, 500, n)] + draw.normal(size=(n, dim)).astype(np.float32)
        np.save(folder / "img_emb" / f"img_emb_{shard:04d}.npy", vectors.astype(np.float16))
        table = pa.table({"url": [f"http://a.example/{shard}/{i}" for i in range(n)]})
        pq.write_table(table, folder / "metadata" / f"metadata_{shard:04d}.parquet")


def measure(verb: str, rows: int, dim: int, n_clusters: int, iterations: int) -> dict:
    """The CPU seconds of one call, and the seconds that are planned for one worker."""
    import dask

    import laion_dask as ld

    model = ld.EmbeddingSpace("plain", dim)
    options = {"n_clusters": n_clusters, "iterations": iterations}
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="sync"):
        for n, name in ((2_000, "small"), (rows, "large")):
            write(Path(folder, name), n, dim)
            frame = ld.read_shards(f"{folder}/{name}/metadata")
            vectors = ld.open_embeddings(f"{folder}/{name}/img_emb", model=model, like=frame)
            start = time.process_time()
            getattr(frame.laion, verb)(
                vectors, **{**options, "n_clusters": min(n_clusters, n // 20)}
            )
            cpu = time.process_time() - start
        request = ("dedup", vectors, options) if verb == "dedup" else (verb, options)
        planned = ld.plan(frame, request, embeddings=vectors, workers=1).seconds
    return {"cpu_s": round(cpu, 2), "planned_s": round(planned, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(**json.loads(arguments.one))))
        return
    content = json.loads(RESULTS.read_text())
    keys = ("verb", "rows", "dim", "n_clusters", "iterations")
    for run in content["runs"]:
        case = {key: run[key] for key in keys}
        command = [sys.executable, __file__, "--one", json.dumps(case)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        run |= json.loads(done.stdout.splitlines()[-1])
        print(run)
    if arguments.results:
        content["date"] = date.today().isoformat()
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
