"""Contenders of the index benchmark, each in its own process; the last line of output is JSON.

    python benchmarks/index_ways.py WAY DATA [OUT]

The data are clustered unit vectors: 2,000 centers, the first with many more rows than the last;
each row is its center plus noise of the same length. As in model embeddings, the noise has a
decaying spectrum; it is rotated at random so that its large directions do not fall into a single
code.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DIM, CENTRES, FILES, QUERIES, K = 768, 2_000, 8, 1_000, 100
MODEL = "ViT-L-14"
PROBES = (1, 4, 16, 64)
ALONE = 20


def prepare(data: str, rows: int) -> dict:
    """Write float16 rows to several files, and queries from the same distribution."""
    folder = Path(data) / f"index-{rows}"
    if not (folder / "queries.npy").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "img_emb").mkdir(parents=True)
        (folder / "metadata").mkdir()
        generator = _Generator()
        for number in range(FILES):
            part = np.concatenate([generator.rows(n) for n in _blocks(rows // FILES)])
            np.save(folder / f"img_emb/img_emb_{number}.npy", part.astype(np.float16))
            urls = pa.table({"url": [f"https://example.org/{i}" for i in range(len(part))]})
            pq.write_table(urls, folder / f"metadata/metadata_{number}.parquet")
        np.save(folder / "queries.npy", generator.rows(QUERIES))
    for file in folder.rglob("*.npy"):
        file.read_bytes()
    return {"folder": str(folder), "rows": rows // FILES * FILES}


def _blocks(n: int) -> list[int]:
    return [min(10_000, n - at) for at in range(0, n, 10_000)]


class _Generator:
    """Draws rows block by block."""

    def __init__(self) -> None:
        self.draw = np.random.default_rng(0)
        centres = self.draw.normal(size=(CENTRES, DIM)).astype(np.float32)
        self.centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
        share = 1 / np.arange(10, CENTRES + 10)
        self.share = share / share.sum()
        spread = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
        rotation = np.linalg.qr(self.draw.normal(size=(DIM, DIM)).astype(np.float32))[0]
        self.noise = (spread / np.linalg.norm(spread))[:, None] * rotation

    def rows(self, n: int) -> np.ndarray:
        """The next n unit rows, (n, DIM) float32."""
        x = self.draw.standard_normal((n, DIM), dtype=np.float32) @ self.noise
        x += self.centres[self.draw.choice(CENTRES, n, p=self.share)]
        return x / np.linalg.norm(x, axis=1, keepdims=True)


def build(folder: str, out: str) -> dict:
    """``laion_dask.build_index``; the time includes measuring recall and counting rows."""
    import laion_dask as ld

    shutil.rmtree(out, ignore_errors=True)
    embeddings = ld.open_embeddings(f"{folder}/img_emb", model=MODEL)
    start = time.perf_counter()
    index = ld.build_index(embeddings, out)
    took = time.perf_counter() - start
    n_bytes = sum(file.stat().st_size for file in Path(out).iterdir())
    return {
        "wall_s": took,
        "bytes": n_bytes,
        "printed": str(index),
        "made": index.manifest["index"],
    }


def ours(folder: str, out: str) -> dict:
    """Search our index: candidates only, and ``search(index=)``, which re-scores them."""
    import laion_dask as ld

    frame = ld.read_shards(f"{folder}/metadata")
    embeddings = ld.open_embeddings(f"{folder}/img_emb", model=MODEL, like=frame)
    queries = np.load(f"{folder}/queries.npy")
    starts = np.cumsum([0, *(file.n_rows for file in embeddings.files)])
    start = time.perf_counter()
    index = ld.open_index(out, embeddings)
    index.candidates(queries[:1], 1)
    result = {"open_s": time.perf_counter() - start, "steps": []}
    for nprobe in PROBES:
        at = index.with_nprobe(nprobe)

        def search(q, at=at):
            return frame.laion.search(embeddings, q, K, index=at, columns=[])

        candidates = _timed(lambda q, at=at: at.candidates(q, K), queries)
        rescored = {f"rescored_{name}": value for name, value in _timed(search, queries).items()}
        result["steps"].append({"nprobe": nprobe, **candidates, **rescored})
        shard, row = at.candidates(queries, K)
        np.save(f"{out}.found-{nprobe}.npy", np.where(shard < 0, -1, starts[shard] + row))
        hits, ids = search(queries), np.full((len(queries), K), -1)
        place = starts[hits["shard"].to_numpy()] + hits["row"].to_numpy()
        ids[hits["query"].to_numpy(), hits["rank"].to_numpy() - 1] = place
        np.save(f"{out}.rescored-{nprobe}.npy", ids)
    return result


def _timed(search, queries: np.ndarray) -> dict:
    """Time one query, as the median over several, and all queries in one call."""
    search(queries[:1])
    alone = []
    for number in range(ALONE):
        start = time.perf_counter()
        search(queries[number : number + 1])
        alone.append(time.perf_counter() - start)
    start = time.perf_counter()
    search(queries)
    return {"one_ms": statistics.median(alone) * 1e3, "all_s": time.perf_counter() - start}


def flat(folder: str, out: str) -> dict:
    """faiss's ``IndexFlatIP``: exact, all rows as float32 in memory; the ground truth."""
    index = faiss.IndexFlatIP(DIM)
    for file in sorted(Path(folder, "img_emb").glob("*.npy")):
        index.add(np.load(file).astype(np.float32))
    queries = np.load(f"{folder}/queries.npy")
    np.save(f"{out}.truth.npy", index.search(queries, K)[1])
    return _timed(lambda q: index.search(q, K), queries)


def plain(folder: str, out: str, nlist: str, m: str, sample: str) -> dict:
    """faiss's IVF-PQ of the same size, trained on the same number of rows, in memory."""
    files = [np.load(f, mmap_mode="r") for f in sorted(Path(folder, "img_emb").glob("*.npy"))]
    rows = sum(map(len, files))
    start = time.perf_counter()
    index = faiss.index_factory(DIM, f"IVF{nlist},PQ{m}", faiss.METRIC_INNER_PRODUCT)
    drawn = np.random.default_rng(0).choice(rows, int(sample), replace=False)
    cut = np.searchsorted(np.sort(drawn), np.cumsum([0, *map(len, files)]))
    starts = np.cumsum([0, *map(len, files)])
    parts = [
        f[np.sort(drawn)[a:b] - s] for f, a, b, s in zip(files, cut, cut[1:], starts, strict=False)
    ]
    index.train(np.concatenate(parts).astype(np.float32))
    for file in files:
        index.add(np.asarray(file).astype(np.float32))
    result = {"wall_s": time.perf_counter() - start, "steps": []}
    queries = np.load(f"{folder}/queries.npy")
    for nprobe in PROBES:
        index.nprobe = nprobe
        result["steps"].append({"nprobe": nprobe, **_timed(lambda q: index.search(q, K), queries)})
        np.save(f"{out}.plain-{nprobe}.npy", index.search(queries, K)[1])
    return result


WAYS = {"prepare": lambda data, rows: prepare(data, int(rows))}
WAYS |= {"build": build, "ours": ours, "flat": flat, "plain": plain}

if __name__ == "__main__":
    result = WAYS[sys.argv[1]](*sys.argv[2:])
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))
