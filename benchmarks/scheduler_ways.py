"""One verb over many partitions that are read instantly, on a LocalCluster.

``python scheduler_ways.py WAY PARTITIONS OUT`` prints one line of JSON. What is left is the cost of
the graph, of its tasks and of their scheduling: every partition is empty.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from dask._task_spec import Task
from dask.dataframe.dask_expr._expr import Fused
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.protocol import dumps

import laion_dask as ld
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import Piece, Read, ScanPartition, Shard
from laion_dask.runtime import graph

DIM = 4
_TEXT, _FLOAT = pa.large_string(), pa.float32()
TYPES = (
    ("url", _TEXT), ("text", _TEXT), ("width", pa.int32()), ("height", pa.int32()),
    ("similarity", pa.float64()), ("language", _TEXT), ("punsafe", _FLOAT),
    ("pwatermark", _FLOAT), ("shard", pa.int32()), ("row", pa.int64()),
)  # fmt: skip
COLUMNS = tuple((name.upper(), name, type_) for name, type_ in TYPES[:-2])
FOLDER = "/data/laion2B-en"


@dataclasses.dataclass(frozen=True)
class InstantScan(Scan):
    """Reads every partition as empty, without opening a file."""

    def __call__(self, partition: ScanPartition, columns: list[str]):
        return _empty(self, tuple(columns))

    def read(self, partition: ScanPartition, columns: list[str]) -> Read:
        types = dict(self.types)
        empty = pa.schema([(name, types[name]) for name in columns]).empty_table()
        return Read(empty, 0, 0)

    def counts(self, partition: ScanPartition) -> tuple[int, int]:
        return 0, 0


@functools.cache
def _empty(scan: Scan, columns: tuple[str, ...]) -> pd.DataFrame:
    return scan.meta()[list(columns)]


def frame_of(n: int) -> dd.DataFrame:
    """A frame with a partition for each of ``n`` shards, named as LAION's are."""
    scan = InstantScan(TYPES, None, "pandas", "raise")
    partitions = []
    for i in range(n):
        path = f"{FOLDER}/metadata/metadata_{i:05d}.parquet"
        shard = Shard(i, path, 0, 10**8, f"{i:064x}", COLUMNS)
        partitions.append(ScanPartition((Piece(shard, 0, 0),)))
    return graph.read(scan, partitions)


def embeddings_of(n: int) -> Embeddings:
    """As many embedding files as there are shards."""
    paths = (f"{FOLDER}/img_emb/img_emb_{i:05d}.npy" for i in range(n))
    files = tuple(EmbeddingFile(path, None, 0, DIM, "float16", 128, 128) for path in paths)
    return Embeddings(files, ld.EmbeddingSpace("instant", DIM))


def _nothing(number: int) -> pd.DataFrame:
    return pd.DataFrame({"n": [0]})


def _total(parts: list) -> int:
    return len(parts)


def bare(n: int, out: str) -> None:
    """A Dask graph of as many empty tasks, and one that gathers their results by a tree."""
    layer = {f"nothing-{i}": Task(f"nothing-{i}", _nothing, i) for i in range(n)}
    collection = HighLevelGraph.from_collections("nothing", layer, dependencies=[])
    parts = [Delayed(key, collection, layer="nothing") for key in layer]
    graph.compute(graph.tree(parts, _total), label="bare")


def where_and_export(n: int, out: str) -> None:
    frame_of(n).laion.where("width >= 256 and similarity > 0.3").laion.export(out)


def statistics(n: int, out: str) -> None:
    frame_of(n).laion.statistics(ld.rates("punsafe > 0.5", by="language"))


def score(n: int, out: str) -> None:
    scored = frame_of(n).laion.similarity(embeddings_of(n), np.ones(DIM, np.float32))
    scored.laion.where("query_similarity > 0.3").laion.export(out)


def search(n: int, out: str) -> None:
    frame_of(n).laion.search(embeddings_of(n), np.ones(DIM, np.float32), k=10, columns=[])


WAYS: dict[str, Callable[[int, str], None]] = {
    "bare Dask graph": bare,
    "where and export": where_and_export,
    "statistics": statistics,
    "score and export": score,
    "search": search,
}


class Meter(SchedulerPlugin):
    """Counts the tasks that finish, and when the first one does."""

    def __init__(self) -> None:
        self.n_tasks, self.first = 0, 0.0

    def transition(self, key, start, finish, *args, **kwargs) -> None:
        if start == "processing" and finish == "memory":
            self.n_tasks += 1
            self.first = self.first or time.perf_counter()


class GraphMeter:
    """Adds up the bytes of the graphs that a client sends, and the time that this takes."""

    def __init__(self, client: Client) -> None:
        self.n_bytes, self.seconds = 0, 0.0
        self._send = client._send_to_scheduler
        client._send_to_scheduler = self._measured

    def _measured(self, message) -> None:
        if message.get("op") == "update-graph":
            start = time.perf_counter()
            self.n_bytes += sum(memoryview(part).nbytes for part in dumps(message))
            self.seconds += time.perf_counter() - start
        self._send(message)


class StepMeter:
    """Counts the steps of the graph that are fused into each task of a partition."""

    def __init__(self) -> None:
        self.n_steps = 1
        self._fused = graph._fused
        graph._fused = self._counted

    def _counted(self, collection):
        fused = self._fused(collection)
        groups = [len(step.exprs) for step in fused.expr.walk() if isinstance(step, Fused)]
        self.n_steps = max([self.n_steps, *groups])
        return fused


def _memory() -> int:
    """Peak memory of this process, which holds client and scheduler."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(way: str, n: int) -> dict:
    """Run one verb on two worker processes."""
    with (
        tempfile.TemporaryDirectory() as out,
        LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(_load)
        WAYS[way](8, f"{out}/first")  # workers import what they need
        meter = Meter()
        cluster.scheduler.add_plugin(meter, name="meter")
        sent, steps, before = GraphMeter(client), StepMeter(), _memory()
        start = time.perf_counter()
        WAYS[way](n, f"{out}/export")
        wall = time.perf_counter() - start - sent.seconds
        return {
            "tasks": meter.n_tasks,
            "steps_per_task": steps.n_steps,
            "wall_s": wall,
            "first_s": meter.first - start - sent.seconds,
            "ms_per_task": 1e3 * wall / meter.n_tasks,
            "graph_bytes_per_partition": sent.n_bytes / n,
            "memory_bytes": _memory(),
            "growth_bytes": _memory() - before,
        }


def _load() -> None:
    import scheduler_ways  # noqa: F401


if __name__ == "__main__":
    import scheduler_ways

    print(json.dumps(scheduler_ways.run(sys.argv[1], int(sys.argv[2]))))
