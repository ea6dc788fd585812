"""Move rows between partitions through the disk."""

from __future__ import annotations

import functools
import tempfile

import dask
import pyarrow as pa

from laion_dask.io.storage import spill
from laion_dask.runtime.dask_expressions import (
    Alias,
    Blockwise,
    BlockwiseIO,
    Elemwise,
    Expr,
    FromMap,
    List,
    P2PShuffle,
    PartitionsFiltered,
    Task,
    TaskRef,
    convert_legacy_graph,
)
from laion_dask.runtime.workers import waiting_client

_P2P_BARRIER = "shuffle-barrier-"


def spill_folder() -> spill.SpillFolder:
    """A new folder for spilled rows, in Dask's ``temporary_directory``."""
    parent = dask.config.get("temporary_directory", None) or tempfile.gettempdir()
    return spill.SpillFolder(parent)


class Exchange(Expr):
    """Move each row to the partition numbered in a column, and drop the column.

    On the workers of a client it uses Dask's P2P shuffle, otherwise `io.spill`. The inputs are
    computed for this exchange only: a partition shared with another step would stay in memory until
    all rows have arrived.
    """

    _parameters = ["frame", "column", "npartitions_out", "part_of"]
    _defaults = {"part_of": None}

    @functools.cached_property
    def _meta(self):
        return self.frame._meta.drop(columns=self.column)

    def _divisions(self) -> tuple:
        return (None,) * (self.npartitions_out + 1)

    def _lower(self) -> Expr:
        frame = self.frame
        for step in frame.find_operations(Exchange):
            frame = frame.substitute(step, Exchange(*step.operands[:3], self._name))
        apart = _Apart(_Hidden(frame.optimize(fuse=True)))
        if waiting_client() is None:
            return _Arrived(_Written(apart, self.column, self.npartitions_out))
        return P2PShuffle(apart, self.column, self.npartitions_out, True, {"of": self.part_of})


class _Hidden:
    """An expression hidden from Dask's optimizer."""

    def __init__(self, expr: Expr):
        self.wrapped = expr

    def __dask_tokenize__(self) -> tuple:
        return "hidden", self.wrapped._name


class _Apart(Expr):
    """An expression whose tasks have unique names, so that no other expression shares them."""

    _parameters = ["hidden"]

    @property
    def _meta(self):
        return self.hidden.wrapped._meta

    def _divisions(self) -> tuple:
        return self.hidden.wrapped.divisions

    def _layer(self) -> dict:
        expr = self.hidden.wrapped
        graph = convert_legacy_graph(dict(expr.__dask_graph__()))
        names = {key: self._unique_key(key) for key in graph}
        layer = {names[key]: node.substitute(names, key=names[key]) for key, node in graph.items()}
        for number, key in enumerate(expr.__dask_keys__()):
            layer[self._name, number] = Alias((self._name, number), names[key])
        return layer

    def _unique_key(self, key):
        if str(key).startswith(_P2P_BARRIER):  # workers look for this name, which is unique
            return key
        name, *indices = key if isinstance(key, tuple) else (key,)
        return (f"{name}-{self._name}", *indices) if indices else f"{name}-{self._name}"


class _Written(Expr):
    """All rows in files, as one partition: the folder and the numbers of its files."""

    _parameters = ["frame", "column", "npartitions_out"]

    @functools.cached_property
    def _meta(self):
        return self.frame._meta.drop(columns=self.column)

    def _divisions(self) -> tuple:
        return (None, None)

    def _layer(self) -> dict:
        folder = spill_folder()
        schema, n = _schema(self._meta), self.npartitions_out
        layer = {}
        for i, part in enumerate(self.frame.__dask_keys__()):
            key = (f"write-{self._name}", i)
            layer[key] = Task(key, spill.write, TaskRef(part), i, folder, self.column, n, schema)
        all_numbers = List(*map(TaskRef, layer))
        layer[self._name, 0] = Task((self._name, 0), spill.SpilledFiles, folder, all_numbers)
        return layer


class _Arrived(PartitionsFiltered, BlockwiseIO):
    """The rows of each destination, read only by the task that uses them."""

    _parameters = ["written", "_partitions"]
    _defaults = {"_partitions": None}

    @property
    def _meta(self):
        return self.written._meta

    def _divisions(self) -> tuple:
        return (None,) * (self.written.npartitions_out + 1)

    def _filtered_task(self, name, index: int) -> Task:
        files = TaskRef((self.written._name, 0))
        return Task(name, spill.read, files, index, _schema(self._meta))


class AlignedPartitions(Blockwise):
    """A frame whose partitions align with those of another frame by number.

    It has no dimension, like a scalar. Otherwise, if both are inputs of one step, Dask would
    consider that step's own columns unaligned, and shuffle a frame and its mask by their indices.
    """

    _parameters = ["frame"]
    operation = staticmethod(lambda part: part)
    ndim = 0


class ReadAfter(Elemwise):
    """A frame that is read only after the rows of an exchange have arrived.

    Otherwise, a thread that waits for an exchange would read partitions ahead, which would all stay
    in memory until the exchange has ended.
    """

    _parameters = ["frame", "exchanged"]
    _projection_passthrough = True
    operation = staticmethod(lambda part, _: part)

    @functools.cached_property
    def _meta(self):
        return self.frame._meta

    def _simplify_up(self, parent, dependents):
        users = [user() for user in dependents[self.exchanged._name]]
        if all(isinstance(user, ReadAfter) for user in users if user is not None):
            return parent.substitute(self, self.frame)  # the exchanged rows are not used
        return super()._simplify_up(parent, dependents)

    def _lower(self) -> Expr:
        written = _WhenWritten(next(self.exchanged.find_operations(Exchange)))
        frame, pending, visited = self.frame, [self.frame], set()
        while pending:
            step = pending.pop()
            if isinstance(step, (FromMap, _ReadAfter)):
                earlier = step.operands if isinstance(step, _ReadAfter) else [_Hidden(step)]
                frame = frame.substitute(step, _ReadAfter(*earlier, written))
            elif step._name not in visited and not isinstance(step, (Exchange, AlignedPartitions)):
                visited.add(step._name)
                pending += step.dependencies()
        return frame


class _WhenWritten(Expr):
    """The lowered form of an exchange, which ends when all rows are written."""

    _parameters = ["exchange"]

    def _lower(self) -> Expr:
        arrived = self.exchange.lower_completely()
        return arrived.written if isinstance(arrived, _Arrived) else arrived


class _ReadAfter(BlockwiseIO):
    """A scan whose tasks wait until the rows of exchanges have been written."""

    _parameters = ["scan"]  # further operands are the exchanges

    @property
    def _meta(self):
        return self.scan.wrapped._meta

    def _divisions(self) -> tuple:
        return self.scan.wrapped.divisions

    def _task(self, name, index: int) -> Task:
        read = self.scan.wrapped._task(name, index)
        written = [TaskRef(_end_of(exchange)) for exchange in self.operands[1:]]
        return Task(name, _last, *written, read)


def _end_of(written: Expr):
    """The task that ends when all rows of an exchange are written."""
    if isinstance(written, P2PShuffle):
        return _P2P_BARRIER + written._name.split("-")[-1]
    return written._name, 0


def _last(*values):
    return values[-1]


def _schema(meta) -> pa.Schema:
    return pa.Schema.from_pandas(meta, preserve_index=False).remove_metadata()
