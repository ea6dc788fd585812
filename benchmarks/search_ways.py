"""Ways to find the 100 nearest of many rows; each runs in its own process on two cores.

``python search_ways.py WAY FOLDER OUT`` prints one line of JSON: seconds for one query and for all
queries (medians of several runs, the first discarded), peak memory, and seconds to load the data.
The results are written to OUT.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CORES, K = 2, 100
BLOCK, PRODUCT_ROWS = 2048, 1024

Search = Callable[..., tuple]
"""(m, dim) unit queries → (m, K) row numbers over all shards, (m, K) cosines."""


def shards(folder: str) -> list[str]:
    """The embedding files, in order."""
    return [str(path) for path in sorted(Path(folder, "img_emb").glob("*.npy"))]


def mapped(folder: str) -> list:
    """The shards as memory-mapped arrays."""
    import numpy as np

    return [np.load(path, mmap_mode="r") for path in shards(folder)]


def unit(x):
    """Rows scaled to length one, in float32."""
    import numpy as np

    x = np.asarray(x, dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def best(parts: list):
    """The K best of several parts, each (row numbers, cosines)."""
    import numpy as np

    rows, cosines = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    order = np.lexsort((rows, -cosines), axis=1)[:, :K]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(cosines, order, 1)


def laion_dask_way(folder: str) -> Search:
    """``df.laion.search`` on a frame of eight shards, including Dask."""
    import numpy as np

    import laion_dask as ld

    frame = ld.read_shards(f"{folder}/metadata")
    embeddings = ld.open_embeddings(f"{folder}/img_emb", model="ViT-L-14", like=frame)
    starts = np.cumsum([0, *(file.n_rows for file in embeddings.files)])

    def run(queries):
        hits = frame.laion.search(embeddings, queries, K, columns=[])
        rows = starts[hits["shard"]] + hits["row"].to_numpy()
        cosines = hits["query_similarity"].to_numpy()
        return rows.reshape(-1, K), cosines.reshape(-1, K)

    return run


def numpy_way(folder: str) -> Search:
    """For each shard: conversion to float32, one matrix product, argpartition."""
    import numpy as np

    parts = mapped(folder)

    def run(queries):
        tops, start = [], 0
        for shard in parts:
            scores = queries @ shard.astype(np.float32).T
            top = np.argpartition(scores, -K, axis=1)[:, -K:]
            tops.append((top + start, np.take_along_axis(scores, top, 1)))
            start += len(shard)
        return best(tops)

    return run


def torch_way(folder: str) -> Search:
    """Shards in parallel; one query in float16, many in bfloat16 block by block, each with topk."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    # Copy-on-write, although nothing is written: torch rejects read-only memory.
    parts = [torch.from_numpy(np.load(path, mmap_mode="c")) for path in shards(folder)]
    starts = np.cumsum([0, *map(len, parts)])

    def search_shard(task):
        rows, start, queries = task
        if len(queries) == 1:
            scores, top = torch.topk((rows @ queries[0].half()).float()[None], K)
            return top.numpy() + start, scores.numpy()
        tops, narrow = [], queries.bfloat16()
        for at in range(0, len(rows), BLOCK):
            scores = narrow @ rows[at : at + BLOCK].bfloat16().T
            cosines, top = torch.topk(scores.float(), min(K, scores.shape[1]))
            tops.append((top.numpy() + start + at, cosines.numpy()))
        return best(tops)

    def run(queries):
        batch = torch.from_numpy(queries)
        with ThreadPoolExecutor(CORES) as pool:
            tasks = [(p, s, batch) for p, s in zip(parts, starts, strict=False)]
            return best(list(pool.map(search_shard, tasks)))

    return run


def _faiss_way(kind: str) -> Callable[[str], Search]:
    def way(folder: str) -> Search:
        import faiss

        faiss.omp_set_num_threads(CORES)
        parts = mapped(folder)
        dim = parts[0].shape[1]
        if kind == "flat":
            index = faiss.IndexFlatIP(dim)
        else:
            fp16 = faiss.ScalarQuantizer.QT_fp16
            index = faiss.IndexScalarQuantizer(dim, fp16, faiss.METRIC_INNER_PRODUCT)
            index.train(unit(parts[0][:1000]))
        for part in parts:
            for at in range(0, len(part), 65_536):
                index.add(unit(part[at : at + 65_536]))
        return lambda queries: index.search(queries, K)[::-1]

    return way


def usearch_way(folder: str) -> Search:
    """``usearch.index.search(exact=True)`` over one float16 array in memory."""
    import numpy as np
    from usearch.index import MetricKind
    from usearch.index import search as exact

    rows = np.concatenate(mapped(folder))

    def run(queries):
        half = queries.astype(np.float16)
        matches = exact(rows, half, K, MetricKind.Cos, exact=True, threads=CORES)
        shape = (len(queries), K)
        return matches.keys.astype(np.int64).reshape(shape), 1 - matches.distances.reshape(shape)

    return run


def read_way(folder: str) -> Search:
    """No search: two threads read every mapped byte once."""
    import numpy as np

    def read(part) -> None:
        words = part.view(np.uint64).reshape(-1)
        for at in range(0, len(words), 1 << 17):
            words[at : at + (1 << 17)].max()

    parts = mapped(folder)

    def run(queries):
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(read, parts))
        return np.zeros((len(queries), K), np.int64), np.zeros((len(queries), K), np.float32)

    return run


def _products_way(kind: str) -> Callable[[str], Search]:
    """No search: two threads multiply all queries by blocks of as many rows, in one dtype."""

    def way(folder: str) -> Search:
        import numpy as np
        import torch

        torch.set_num_threads(1)
        dtype = getattr(torch, kind)
        n_rows, dim = sum(map(len, mapped(folder))), mapped(folder)[0].shape[1]

        def multiply(task) -> None:
            count, m = task
            left, right = torch.ones(m, dim).to(dtype), torch.ones(PRODUCT_ROWS, dim).to(dtype)
            out = torch.empty(m, PRODUCT_ROWS, dtype=torch.int32 if kind == "int8" else dtype)
            function = torch._int_mm if kind == "int8" else torch.mm
            for _ in range(count):
                function(left, right.T, out=out)

        def run(queries):
            count = -(-n_rows // PRODUCT_ROWS // CORES)
            with ThreadPoolExecutor(CORES) as pool:
                list(pool.map(multiply, [(count, len(queries))] * CORES))
            return np.zeros((len(queries), K), np.int64), np.zeros((len(queries), K), np.float32)

        return run

    return way


WAYS: dict[str, Callable[[str], Search]] = {
    "laion_dask": laion_dask_way,
    "faiss IndexFlatIP": _faiss_way("flat"),
    "faiss SQ fp16": _faiss_way("sq"),
    "torch": torch_way,
    "usearch exact": usearch_way,
    "numpy": numpy_way,
    "read": read_way,
    "products, bfloat16": _products_way("bfloat16"),
    "products, int8": _products_way("int8"),
}
#: Ways that do not search, but measure a limit.
LIMITS = ("read", "products, bfloat16", "products, int8")


def measured(run: Search, queries, repeats: int) -> tuple[float, tuple]:
    """Median seconds of up to ``repeats`` runs, and the result of the last run.

    The first run is discarded, unless it takes longer than ten seconds: then it is the only one. No
    run starts after ten seconds.
    """
    times: list[float] = []
    for number in range(repeats + 1):
        start = time.perf_counter()
        result = run(queries)
        times.append(time.perf_counter() - start)
        if sum(times[1:]) > 10 or (number == 0 and times[0] > 10):
            break
    return statistics.median(times[1:] or times), result


def main(way: str, folder: str, out: str) -> None:
    """Run one contender; print its figures, and write its results to a file."""
    import numpy as np

    queries = unit(np.load(f"{folder}/queries.npy"))
    for path in shards(folder):
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass
    start = time.perf_counter()
    run = WAYS[way](folder)
    ready = time.perf_counter() - start
    result = {"ready_s": ready}
    if not way.startswith("products"):
        result["one_s"], _ = measured(run, queries[:1], 15)
    if way != "read":
        result["many_s"], output = measured(run, queries, 5)
    if way not in LIMITS:
        np.savez(out, rows=output[0], cosines=output[1])
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
