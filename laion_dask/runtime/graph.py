"""The only caller of Dask's ``from_map``, ``map_partitions`` and ``compute``.

Kernels are functions of one partition; verbs specify their inputs and build the graph here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol
from uuid import uuid4

import dask
import dask.dataframe as dd
import pandas as pd
from dask import delayed
from dask.callbacks import Callback
from dask.delayed import Delayed, unpack_collections
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key
from tqdm.dask import TqdmCallback

from laion_dask.options import is_watched
from laion_dask.runtime import cancellation, plain_graph
from laion_dask.runtime.dask_expressions import (
    Blockwise,
    CustomReduction,
    DataNode,
    Task,
    _DelayedExpr,
    new_collection,
)
from laion_dask.runtime.disk_shuffle import AlignedPartitions, Exchange, ReadAfter
from laion_dask.runtime.interrupts import interruptible
from laion_dask.runtime.observation import callbacks_of, completed, current_observer
from laion_dask.runtime.progress import ProgressBar
from laion_dask.runtime.read_expression import ReadPartitions
from laion_dask.runtime.workers import (
    compute_without_client,
    lost_workers_named,
    missing_workers_reported,
    slot_released,
    waiting_client,
)


class Reader(Protocol):
    """Reads some columns of one partition."""

    def __call__(self, partition, columns: list[str]):
        """The partition."""

    def meta(self):
        """A frame of zero rows."""


def read(scan: Reader, partitions: Sequence) -> dd.DataFrame:
    """A frame of partitions, each read by one call of ``scan``. Lazy."""
    _users_own.register()
    with dask.config.set({"dataframe.convert-string": False}):
        frame = dd.from_map(scan, list(partitions), meta=scan.meta(), label="read-shards")
    return new_collection(ReadPartitions(*frame.expr.operands))


def map_columns(frame: dd.DataFrame, kernel: Callable, *args, reads: Sequence[str], meta):
    """Apply a kernel to some columns of every partition. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
    kernel : callable
        ``kernel(part, *args)``, a module-level function that accepts zero rows.
    *args
        Picklable; pass large ones through `share`.
    reads : sequence of str
        The columns that the kernel reads; only these are passed to it.
    meta : pandas or cuDF object of zero rows
        Describes the result.
    """
    return frame[list(reads)].map_partitions(kernel, *args, meta=meta)


def map_aligned(frame: dd.DataFrame, kernel: Callable, others: Sequence, *args, meta):
    """``kernel(part, *other_parts, *args)`` for aligned partitions. Lazy."""
    parts = [new_collection(AlignedPartitions(other.expr)) for other in others]
    return frame.map_partitions(kernel, *parts, *args, meta=meta, align_dataframes=False)


def exchange(frame: dd.DataFrame, column: str, npartitions: int) -> dd.DataFrame:
    """Move each row to the partition whose number is in a column, which is dropped. Lazy.

    Rows go through the disk; each destination is read by the task that uses it.
    """
    return new_collection(Exchange(frame.expr, column, npartitions))


def read_after(frame: dd.DataFrame, exchanged: dd.DataFrame) -> dd.DataFrame:
    """The frame, read only after the rows of another have been exchanged. Lazy."""
    return new_collection(ReadAfter(frame.expr, AlignedPartitions(exchanged.expr)))


def share(value: object, name: str | None = None) -> Delayed:
    """Wrap a large argument of a kernel, so that it is sent once instead of in every task.

    With a name, which no other value may have, Dask does not read it all to make one.
    """
    if name is not None:
        return Delayed(name, plain_graph.PlainGraph({name: DataNode(name, value)}))
    return delayed(value, traverse=False, pure=True)


def map_numbered(frame: dd.DataFrame, kernel: Callable, *args, meta):
    """``kernel(part, *args, partition_info=…)`` over whole partitions. Lazy."""
    return frame.map_partitions(kernel, *args, meta=meta)


def map_to_values(frame: dd.DataFrame, kernel: Callable, *args):
    """``kernel(part, *args, partition_info=…)``, a value of any kind, for `reduce_values`. Lazy.

    A plain value costs a task half a millisecond less than a frame of one row.
    """
    return frame.map_partitions(kernel, *args, meta=_ANY, enforce_metadata=False)


def scan_to_values(kernel: Callable, partitions: Sequence, numbers: Sequence[int] | None = None):
    """``kernel(partition, number)``, a value of any kind, for `reduce_values`. Lazy."""
    return over_partitions(kernel, partitions, _ANY, numbers)


def partitions(frame: dd.DataFrame, numbers: Sequence[int]) -> dd.DataFrame:
    """The partitions of a frame at some positions. Lazy."""
    return frame.partitions[list(numbers)]


def reduce_values(values, combine: Callable, *, fan_in: int):
    """A tree reduction: ``combine`` turns up to ``fan_in`` values, in order, into one. Lazy.

    Values must not be lists, tuples or arrays, which Dask would look into.
    """
    return values.reduction(_itself, combine, combine=combine, meta=_ANY, split_every=fan_in)


def _itself(value):
    return value


def reduce(results: dd.DataFrame, combine: Callable, *, meta):
    """A tree reduction: ``combine`` turns several concatenated results into one. Lazy.

    The tree depends on the partitions only, not on the workers.
    """
    return results.reduction(combine, combine, combine=combine, meta=meta, split_every=8)


def end_to_end(frames: Sequence[dd.DataFrame]) -> dd.DataFrame:
    """Concatenate frames: the partitions of each follow those of the previous one. Lazy."""
    return dd.concat(list(frames)) if len(frames) > 1 else frames[0]


def as_kernel_argument(argument):
    """Prepare an argument from `Provenance.arguments_of` for a kernel: a frame or delayed value."""
    if isinstance(argument, AlignedPartitions):
        return new_collection(argument.frame)
    return argument.obj if isinstance(argument, _DelayedExpr) else argument


def parts(frame: dd.DataFrame) -> list:
    """A frame's partitions as delayed values, for `tasks`. Lazy."""
    return frame.to_delayed()


def tasks(kernel: Callable, parts: Iterable, *args) -> list[Delayed]:
    """``kernel(part, number, *args)`` for each part, a result of any kind; see `compute`. Lazy."""
    return _layer(kernel, [(part, number, *args) for number, part in enumerate(parts)])


def tree(results: list[Delayed], combine: Callable, *args) -> Delayed:
    """Reduce results to one by ``combine(up to eight, *args)``. Lazy."""
    while len(results) > 1:
        groups = [results[at : at + 8] for at in range(0, len(results), 8)]
        results = _layer(
            _combined, [(combine, len(group), *group, *args) for group in groups], combine
        )
    return results[0]


def gathered(results: list[Delayed], combine: Callable, *args) -> Delayed:
    """Reduce all results in one task: ``combine(results, *args)``. Lazy."""
    return _layer(_combined, [(combine, len(results), *results, *args)], combine)[0]


def _combined(combine: Callable, several: int, *values):
    return combine(values[:several], *values[several:])


def _layer(
    function: Callable, calls: Sequence[tuple], named_after: Callable | None = None
) -> list[Delayed]:
    """``function(*call)`` for every call, as tasks of one layer: cheaper than a layer per call."""
    name = f"{(named_after or function).__name__}-{uuid4().hex}"
    layer: dict[Key, Task] = {}
    dependencies: list = []
    unpacked: dict[int, tuple] = {}
    for number, call in enumerate(calls):
        arguments = []
        for value in call:
            if id(value) not in unpacked:  # inspect arguments shared by several calls only once
                unpacked[id(value)] = (value, ()) if _is_plain(value) else unpack_collections(value)
                dependencies += unpacked[id(value)][1]
            arguments.append(unpacked[id(value)][0])
        layer[f"{name}-{number}"] = Task(f"{name}-{number}", function, *arguments)
    graph: Mapping = plain_graph.joined(layer, dependencies) or HighLevelGraph.from_collections(
        name, layer, dependencies=dependencies
    )
    return [Delayed(key, graph, layer=name) for key in layer]


def _is_plain(value) -> bool:
    """Whether a value certainly contains nothing lazy, which Dask is slow to find out."""
    return all(map(_is_plain, value)) if type(value) is tuple else type(value) in (int, str)


def over_partitions(
    kernel: Callable, partitions: Sequence, meta, numbers: Sequence[int] | None = None
) -> dd.DataFrame:
    """``kernel(partition, number)``, without reading partitions into a frame first. Lazy."""
    with dask.config.set({"dataframe.convert-string": False}):
        numbers = range(len(partitions)) if numbers is None else list(numbers)
        return dd.from_map(kernel, list(partitions), numbers, meta=meta, label="over-partitions")


def compute(*collections, label: str):
    """Compute collections together, sharing what they read. Eager; Ctrl-C cancels.

    Shows progress, or reports it to an observer of this thread. Runs on the current distributed
    client, else on Dask's threads. An interrupt or an error in one task stops running tasks at
    their next `cancellation.check`.

    Raises
    ------
    OptionError
        When the client is asynchronous.
    DeviceLostError
        When the workers that ran a task were lost, or can no longer use their GPU.

    Warns
    -----
    ClusterWarning
        When the cluster has had no workers for ten seconds.
    """
    client = waiting_client()
    if len(collections) == 1 and isinstance(collections[0], (dd.DataFrame, dd.Series)):
        collections = (_fused(collections[0]),)
    with interruptible(), lost_workers_named():
        if client is not None:
            with missing_workers_reported(client):
                return _compute_on(client, collections, label)
        observer = current_observer()
        with cancellation.cancelled_on_error(), _shown(label):
            if observer is None:
                return compute_without_client(*collections)
            callbacks = callbacks_of(observer, label)
            return compute_without_client(*collections, callbacks=callbacks)


def _fused(collection):
    """The same collection, with one task per partition, which ``dask.compute`` does not see to.

    Unchanged if a step depends on several partitions: Dask may lose its result when it optimizes
    fused tasks again.
    """
    expr = collection.expr
    below = expr.frame if isinstance(expr, CustomReduction) else expr
    if all(isinstance(step, (Blockwise, _DelayedExpr)) for step in below.walk()):
        return collection.optimize()
    return collection


def is_partitionwise(frame: dd.DataFrame) -> bool:
    """Whether each partition of a frame depends on one partition of what it reads."""
    return all(isinstance(step, (Blockwise, _DelayedExpr)) for step in frame.expr.walk())


def _shown(label: str):
    if not is_watched() or current_observer() is not None:
        return nullcontext()
    return TqdmCallback(tqdm_class=ProgressBar, desc=label, unit="task", leave=False)


def _compute_on(client, collections, label: str):
    from distributed import futures_of

    if not is_watched() and current_observer() is None:
        return dask.compute(*collections)
    persisted = client.persist(list(collections))
    futures = futures_of(persisted)
    try:
        with (
            slot_released(),
            ProgressBar(total=len(futures), desc=label, unit="task", leave=False) as bar,
        ):
            for _ in completed(futures):
                bar.update()
            return tuple(client.gather(client.compute(persisted)))
    finally:
        for future in futures:  # not canceled: another thread may wait for the same futures
            future.release()


class _UserComputations(Callback):
    """Tracks computations that the user starts on Dask's threads, so that they can be canceled."""

    def _start(self, graph) -> None:
        cancellation.begin()

    def _finish(self, graph, state, failed: bool) -> None:
        cancellation.end(failed)


#: Describes values of any kind to Dask, which takes them for a Series.
_ANY = pd.Series([], dtype=object)

#: A singleton, since every registered callback is called.
_users_own = _UserComputations()
