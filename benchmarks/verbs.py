"""Measure rates of the verbs that no other benchmark covers, for `laion_dask.plan`.

    python benchmarks/verbs.py

There are no peers: the summary, distributions and an export of all rows of the carving benchmark;
scores and searches over the embeddings of the search benchmark. Each verb runs in its own process
on two threads; verbs take turns, and medians are reported. The files are in the page cache but not
yet mapped by the process, as in a single pass over data larger than memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE, CORES = Path(__file__).parent, 2
CARVED, SEARCHED = 4_000_000, 1_000_000
PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "duckdb", "dask", "laion_dask")
#: Verbs over the metadata of the carving benchmark; the others use embeddings.
TABLES = ("summary", "distributions", "export")
WAYS = (*TABLES, "similarity", "clip_score", "linear", "zero_shot", "search", "search_1000")
SCORES = ("similarity", "punsafe", "pwatermark")


def one(way: str, source: str, out: str) -> dict:
    """Time one run of a verb, excluding imports and opening, after a run over the first shard."""
    import dask

    dask.config.set(scheduler="threads", num_workers=CORES)
    for part in (True, False):
        run = prepared(way, source, f"{out}/{way}-{part}", first=part)
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        run()
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "peak_bytes": after.ru_maxrss * 1024}


def prepared(way: str, source: str, out: str, *, first: bool):
    """A callable that runs the verb on an open frame; with ``first``, only on its first shard."""
    import numpy as np

    import laion_dask as ld

    paths = sorted(Path(source, "metadata").glob("*.parquet"))
    frame = ld.read_shards(paths[:1] if first else paths)
    if way == "summary":
        return frame.laion.summary
    if way == "distributions":
        return lambda: frame.laion.distributions(*SCORES)
    if way == "export":
        return lambda: frame.laion.export(out)
    arrays = sorted(Path(source, "img_emb").glob("*.npy"))
    emb = ld.open_embeddings(arrays[:1] if first else arrays, model="ViT-L-14:openai", like=frame)
    vectors = np.load(Path(source) / "queries.npy")
    if way.startswith("search"):
        queries = vectors if way == "search_1000" else vectors[0]
        return lambda: frame.laion.search(emb, queries, k=100, columns=[])
    if way == "similarity":
        scored = frame.laion.similarity(emb, vectors[0], to="score")
    elif way == "clip_score":
        scored = frame.laion.similarity(emb, emb, to="score")
    elif way == "linear":
        scored = frame.laion.score(emb, linear(vectors[:1], emb.model, f"{out}.safetensors"))
    else:
        two = vectors[:2] / np.linalg.norm(vectors[:2], axis=1, keepdims=True)
        labels, prompts = ("a", "b"), two.astype(np.float32).tobytes()
        head = ld.heads.PromptHead("score", emb.model, labels, 0, prompts, 100.0, ("drawn",))
        scored = frame.laion.score(emb, head)
    return scored["score"].compute


def linear(weight, clip, path: str):
    """A linear head with the given row of weights."""
    import hashlib

    import numpy as np
    from safetensors.numpy import save

    import laion_dask as ld

    data = save({"weight": np.ascontiguousarray(weight), "bias": np.zeros(1, np.float32)})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    return ld.heads.LinearHead("score", clip, path, hashlib.sha256(data).hexdigest())


def report(about: dict, median: dict) -> str:
    """The Markdown report."""
    from reporting import setting

    lines = [
        "# Rates of the verbs",
        "",
        f"{setting(about)} Medians of {about['repeats']} runs; verbs take turns, page cache warm, "
        f"imports excluded. {', '.join(TABLES)}: {CARVED:,} rows of ten columns; the "
        f"others: {SEARCHED:,} rows of 768 float16 numbers.",
        "",
        "| verb | M rows/s | wall s | CPU s | peak MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, m in median.items():
        rate = about["rows"][way] / m["wall_s"] / 1e6
        lines.append(
            f"| {way} | {rate:.2f} | {m['wall_s']:.3f} | {m['cpu_s']:.2f} "
            f"| {m['peak_bytes'] / 1e6:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and report."""
    from reporting import RESULTS, child, conditions, write

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    table = Path(child("carve_data.py", "prepare", args.data, str(CARVED))).parent
    vectors = child("search_data.py", "prepare", args.data, str(SEARCHED))
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=args.data) as scratch:
        for repeat in range(args.repeats + 1):
            for way in WAYS:
                source = str(table) if way in TABLES else vectors
                result = child("verbs.py", "--one", way, source, f"{scratch}/{repeat}")
                if repeat:
                    runs[way].append(result)
                    print(f"{repeat} {way}: {result['wall_s']:.2f} s", file=sys.stderr)
    about = conditions(PACKAGES, repeats=args.repeats)
    about["rows"] = {way: CARVED if way in TABLES else SEARCHED for way in WAYS}
    about["mapped_bytes"] = {way: 0 if way in TABLES else SEARCHED * 1536 for way in WAYS}
    median = {
        way: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for way, results in runs.items()
    }
    stored = {**about, "medians": median, "runs": runs}
    write(args.results, "verbs", report(about, median), stored)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:])))
    else:
        raise SystemExit(main())
