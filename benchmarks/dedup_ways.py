"""Contenders of the benchmark of semantic duplicates; the last line of output is JSON.

    python benchmarks/dedup_ways.py WAY FOLDER OUT

The rows are those of `index_ways`: clustered unit vectors of 768 dimensions, float16.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from index_ways import DIM, MODEL, prepare

K, ITERATIONS, EPS, CLUSTER = 1_000, 10, 0.05, 20_000


def ours(folder: str, out: str) -> dict:
    """The centroids of `laion_dask`, as `kmeans` trains them, from the files."""
    import laion_dask as ld
    from laion_dask.curation.clusters.chunks import chunks_of_embeddings
    from laion_dask.curation.clusters.lloyd import PER_CENTROID, Training, train
    from laion_dask.curation.clusters.nearest import nearest_centroids
    from laion_dask.curation.clusters.stages import Workspace

    embeddings = ld.open_embeddings(f"{folder}/img_emb", model=MODEL)
    few = embeddings.read(0, range(64))
    nearest_centroids(few, few.astype(np.float32))  # compiles, or loads what is compiled
    clock = _Clock()
    chosen = Training(K, ITERATIONS, 0, PER_CENTROID * K)
    centroids = train(chunks_of_embeddings(embeddings), embeddings, chosen, Workspace())
    return _result(clock, centroids, out)


def faiss(folder: str, out: str) -> dict:
    """faiss's ``Kmeans`` with its defaults: it samples 256 rows per centroid."""
    return _faiss(folder, out, 256)


def faiss_all(folder: str, out: str) -> dict:
    """faiss's ``Kmeans`` on all rows."""
    return _faiss(folder, out, 1 << 30)


def _faiss(folder: str, out: str, most: int) -> dict:
    import faiss as library

    rows = np.concatenate(list(_parts(folder)))
    clock = _Clock()
    fitted = library.Kmeans(
        DIM, K, niter=ITERATIONS, spherical=True, seed=1, max_points_per_centroid=most
    )
    fitted.train(rows)
    return _result(clock, fitted.centroids, out)


def sklearn(folder: str, out: str) -> dict:
    """scikit-learn's ``MiniBatchKMeans``: ten passes in batches of 8,192 rows."""
    from sklearn.cluster import MiniBatchKMeans

    rows = np.concatenate(list(_parts(folder)))
    clock = _Clock()
    fitted = MiniBatchKMeans(
        K, init="random", n_init=1, max_iter=ITERATIONS, batch_size=8192, random_state=0,
        max_no_improvement=None,
    ).fit(rows)  # fmt: skip
    return _result(clock, fitted.cluster_centers_, out)


def objective(folder: str, out: str) -> dict:
    """The mean cosine distance of all rows to the nearest centroid, by float32 products."""
    centroids = np.load(out)
    centroids = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    total = n = 0.0
    for part in _parts(folder):
        for at in range(0, len(part), 8192):
            block = part[at : at + 8192]
            total += float((block @ centroids.T).max(axis=1).astype(np.float64).sum())
            n += len(block)
    return {"distance": 1 - total / n}


def pairs_ours(folder: str, out: str) -> dict:
    """The duplicates within one cluster, by `laion_dask`, on one thread."""
    import torch

    from laion_dask.curation.duplicates.semantic_search import published_rule

    torch.set_num_threads(1)
    rows = _with_copies(next(_parts(folder, as_float16=True))[:CLUSTER])
    published_rule(rows[:64], EPS)
    clock = _Clock()
    found = published_rule(rows, EPS)
    return {**clock.read(), "dropped": int((found.representative >= 0).sum())}


def pairs_numpy(folder: str, out: str) -> dict:
    """The same as the published code does it: all products in float32, block by block."""
    rows = _with_copies(next(_parts(folder))[:CLUSTER])
    clock = _Clock()
    dropped = 0
    for at in range(0, len(rows), 2048):
        cosines = np.tril(rows[at : at + 2048] @ rows.T, at - 1)
        dropped += int((cosines.max(axis=1) > 1 - EPS).sum())
    return {**clock.read(), "dropped": dropped}


def _with_copies(rows: np.ndarray) -> np.ndarray:
    """The rows, of which every fourth is followed by a copy."""
    rows[1::4] = rows[::4][: len(rows[1::4])]
    return rows


def _parts(folder: str, *, as_float16: bool = False) -> Iterator[np.ndarray]:
    """The rows of each file, in float32 and of length one unless they are wanted as stored."""
    for file in sorted(Path(folder, "img_emb").glob("*.npy")):
        rows = np.load(file)
        if not as_float16:
            rows = rows.astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        yield rows


class _Clock:
    """Wall-clock and CPU time since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self) -> dict:
        wall, cpu = self.start
        return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def _result(clock: _Clock, centroids: np.ndarray, out: str) -> dict:
    times = clock.read()
    np.save(out, centroids)
    return times


WAYS = {"prepare": lambda data, rows: prepare(data, int(rows))}
WAYS |= {"ours": ours, "faiss": faiss, "faiss_all": faiss_all, "sklearn": sklearn}
WAYS |= {"objective": objective, "pairs_ours": pairs_ours, "pairs_numpy": pairs_numpy}

if __name__ == "__main__":
    result = WAYS[sys.argv[1]](*sys.argv[2:])
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))
