"""Where the package meets Dask: the only caller of ``from_map``, ``map_partitions`` and compute.

Everything below this floor is a function of one partition; everything above says what it wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Protocol
from uuid import uuid4

import dask
import dask.dataframe as dd
from dask import delayed
from dask.callbacks import Callback
from dask.delayed import Delayed, unpack_collections
from dask.highlevelgraph import HighLevelGraph
from tqdm.dask import TqdmCallback

from laion_dask.notebook_traceback import brief_interrupts
from laion_dask.options import is_watched
from laion_dask.runtime import cancellation
from laion_dask.runtime.dask_expressions import (
    Task,
    _DelayedExpr,
    new_collection,
)
from laion_dask.runtime.disk_shuffle import Beside, Exchange, ReadAfter
from laion_dask.runtime.progress import ProgressBar
from laion_dask.runtime.workers import lost_workers_named, place_left, waiting_client


class Reader(Protocol):
    """Reads a piece: some columns of the rows of one partition."""

    def __call__(self, piece, columns: list[str]):
        """The partition."""

    def meta(self):
        """A frame of zero rows."""


def read(scan: Reader, pieces: Sequence) -> dd.DataFrame:
    """A frame with one partition a piece. Lazy."""
    _users_own.register()
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(scan, list(pieces), meta=scan.meta(), label="read-shards")


def map_columns(frame: dd.DataFrame, kernel: Callable, *args, reads: Sequence[str], meta):
    """A kernel over some columns of every partition. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
    kernel : callable
        ``kernel(part, *args)``; a module-level function that takes zero rows without complaint.
    *args
        Picklable; a large one goes through `share`.
    reads : sequence of str
        The columns that the kernel reads; no others are read for it.
    meta : pandas or cuDF object of zero rows
        What comes back.
    """
    return frame[list(reads)].map_partitions(kernel, *args, meta=meta)


def map_beside(frame: dd.DataFrame, kernel: Callable, others: Sequence, *args, meta):
    """``kernel(part, *parts of the others, *args)``, partition by partition. Lazy."""
    parts = [new_collection(Beside(other.expr)) for other in others]
    return frame.map_partitions(kernel, *parts, *args, meta=meta, align_dataframes=False)


def exchange(frame: dd.DataFrame, column: str, npartitions: int) -> dd.DataFrame:
    """Each row in the partition that a column numbers; the column is left out. Lazy.

    By way of the disk; a destination is read by the task that takes it.
    """
    return new_collection(Exchange(frame.expr, column, npartitions))


def read_after(frame: dd.DataFrame, exchanged: dd.DataFrame) -> dd.DataFrame:
    """The frame, read only when the rows of another have been exchanged. Lazy."""
    return new_collection(ReadAfter(frame.expr, Beside(exchanged.expr)))


def share(value):
    """A large argument of a kernel: it travels once, as a task of its own, not in every task."""
    return delayed(value, traverse=False, pure=True)


def map_numbered(frame: dd.DataFrame, kernel: Callable, *args, meta):
    """``kernel(part, *args, partition_info=…)`` over whole partitions. Lazy."""
    return frame.map_partitions(kernel, *args, meta=meta)


def reduce(results: dd.DataFrame, combine: Callable, *, meta):
    """A tree reduction: ``combine`` of some results laid end to end is one result. Lazy.

    The tree is fixed by the partitions, not by the workers.
    """
    return results.reduction(combine, combine, combine=combine, meta=meta, split_every=8)


def end_to_end(frames: Sequence[dd.DataFrame]) -> dd.DataFrame:
    """Several frames as one, the partitions of each after those of the one before. Lazy."""
    return dd.concat(list(frames)) if len(frames) > 1 else frames[0]


def beside(argument):
    """What a kernel was given, as `lineage.arguments` has it: a frame, or a value to come."""
    if isinstance(argument, Beside):
        return new_collection(argument.frame)
    return argument.obj if isinstance(argument, _DelayedExpr) else argument


def parts(frame: dd.DataFrame) -> list:
    """A frame's partitions, one by one, for `tasks`. Lazy."""
    return frame.to_delayed()


def tasks(kernel: Callable, parts: Iterable, *args) -> list[Delayed]:
    """``kernel(part, number, *args)`` for each part, a result of any kind; see `compute`. Lazy."""
    return _layer(kernel, [(part, number, *args) for number, part in enumerate(parts)])


def tree(results: list[Delayed], combine: Callable, *args) -> Delayed:
    """One of several: ``combine(up to eight, *args)``, until one is left. Lazy."""
    while len(results) > 1:
        some = [results[at : at + 8] for at in range(0, len(results), 8)]
        results = _layer(_combined, [(combine, len(few), *few, *args) for few in some], combine)
    return results[0]


def gathered(results: list[Delayed], combine: Callable, *args) -> Delayed:
    """One of all, in one task: ``combine(results, *args)``. Lazy."""
    return _layer(_combined, [(combine, len(results), *results, *args)], combine)[0]


def _combined(combine: Callable, several: int, *values):
    return combine(values[:several], *values[several:])


def _layer(
    function: Callable, calls: Sequence[tuple], named: Callable | None = None
) -> list[Delayed]:
    """``function(*call)`` of every call, as tasks of one layer, much cheaper than of one each."""
    name = f"{(named or function).__name__}-{uuid4().hex}"
    layer, needed, known = {}, [], {}
    for number, call in enumerate(calls):
        given = []
        for value in call:
            if id(value) not in known:  # arguments that the calls share are looked at once
                known[id(value)] = (value, ()) if _is_plain(value) else unpack_collections(value)
                needed += known[id(value)][1]
            given.append(known[id(value)][0])
        layer[f"{name}-{number}"] = Task(f"{name}-{number}", function, *given)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=needed)
    return [Delayed(key, graph, layer=name) for key in layer]


def _is_plain(value) -> bool:
    """Whether a value is sure to hold nothing lazy, which Dask takes long to find out."""
    return all(map(_is_plain, value)) if type(value) is tuple else type(value) in (int, str)


def over_pieces(kernel: Callable, pieces: Sequence, meta) -> dd.DataFrame:
    """``kernel(piece, number)`` over pieces, without reading them as a frame first. Lazy."""
    with dask.config.set({"dataframe.convert-string": False}):
        numbers = range(len(pieces))
        return dd.from_map(kernel, list(pieces), numbers, meta=meta, label="over-pieces")


def compute(*collections, label: str):
    """Compute together what shares its reading. Shows progress; Ctrl-C cancels. Eager.

    Runs on the distributed client that is there, else on Dask's threads. An interrupt, or an
    error in one task, ends those that run at their next `cancellation.check`.

    Raises
    ------
    OptionError
        When the client is asynchronous.
    DeviceLostError
        When the workers that ran a task were lost, or can no longer use their card.
    """
    client = waiting_client()
    with brief_interrupts(), lost_workers_named():
        if client is not None:
            return _compute_on(client, collections, label)
        with cancellation.cancelled_on_error(), _shown(label):
            return dask.compute(*collections)


def _shown(label: str):
    if not is_watched():
        return nullcontext()
    return TqdmCallback(tqdm_class=ProgressBar, desc=label, leave=False)


def _compute_on(client, collections, label: str):
    from distributed import as_completed, futures_of

    if not is_watched():
        return dask.compute(*collections)
    persisted = client.persist(list(collections))
    futures = futures_of(persisted)
    try:
        with place_left(), ProgressBar(total=len(futures), desc=label, leave=False) as bar:
            for _ in as_completed(futures):
                bar.update()
            return tuple(client.gather(client.compute(persisted)))
    finally:
        for future in futures:  # not cancelled: another thread may wait for the same
            future.release()


class _UsersOwn(Callback):
    """Makes a `cancellation.Computation` of each that the user starts on Dask's threads."""

    def _start(self, graph) -> None:
        cancellation.begin()

    def _finish(self, graph, state, failed: bool) -> None:
        cancellation.end(failed)


#: One, since each that is registered is called.
_users_own = _UsersOwn()
