"""The pass over a frame that writes the rows of a sample, a file of Arrow a partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.curation.draws import SAMPLE
from laion_dask.curation.row_hash import row_hash
from laion_dask.curation.sample import sample_thresholds
from laion_dask.dtypes import decoded
from laion_dask.errors import ProvenanceError
from laion_dask.explorer.columns import is_category
from laion_dask.explorer.text_columns import coded_texts, site, with_texts
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.scan_batches import Each, NotInBatches, copied
from laion_dask.io.parquet.shard import ScanPartition
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.schema import PROVENANCE

#: Prefix of the columns of a part that hold the labels of URLs; no column name starts with it.
SITE = "\0site:"
#: Prefix of a copy of a column of text as a dictionary.
CODED = "\0coded:"
#: Rows per file, if the partition has that many, and maximum files per partition.
PART_ROWS, _MOST_PARTS = 1 << 16, 1 << 20


@dataclass(frozen=True)
class Part:
    """A file of the pass.

    Attributes
    ----------
    number : int
        Of the file; ascends with the partition, and within it.
    n : int
        Rows drawn.
    first, last : tuple of int
        The shard and row of the first and the last row drawn.
    is_ordered : bool
        Whether the rows drawn ascend by shard and row.
    """

    number: int
    n: int
    first: tuple[int, int] = (0, 0)
    last: tuple[int, int] = (0, 0)
    is_ordered: bool = True


@dataclass(frozen=True)
class Parts:
    """All files of the pass, in the order of their partitions; and the rows of the frame."""

    folder: SpillFolder
    parts: tuple[Part, ...]
    n_rows: int

    @property
    def n(self) -> int:
        return sum(part.n for part in self.parts)


@dataclass(frozen=True)
class Draw:
    """The rows to draw: those whose hash does not exceed a threshold.

    Attributes
    ----------
    seed : int
    threshold : int or None
        None: all rows.
    """

    seed: int
    threshold: int | None

    def mask(self, shard: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Mask of the rows to draw, (n,) bool."""
        if self.threshold is None:
            return np.ones(len(shard), bool)
        if self.threshold < 0:
            return np.zeros(len(shard), bool)
        drawn: np.ndarray = row_hash(shard, row, self.seed, SAMPLE) <= np.uint64(self.threshold)
        return drawn


def write_parts(
    provenance: Provenance, types: Mapping[str, str], sites: Mapping[str, str], n: int, seed: int
) -> Parts:
    """Draw rows of a frame and write some of its columns to files. Eager.

    Parameters
    ----------
    provenance : Provenance
        The provenance of the frame.
    types : mapping of str to str
        The columns, with ``shard`` and ``row``, and their types.
    sites : mapping of str to str
        Columns of URLs by the level whose labels are written: ``domain`` or ``tld``.
    n, seed : int
        As for `sample`.

    Raises
    ------
    SpillError
        When the temporary folder is full or not writable.
    """
    folder, draw = spill_folder(), _draw(provenance, n, seed)
    texts = [name for name, type_ in types.items() if type_ in ("string", "other")]
    selected = provenance.select(list(types)) if provenance.can_drop_columns else provenance
    few = tuple(name for name, type_ in types.items() if is_category(name, type_))
    task = _Write(folder, draw, tuple(types), frozenset(texts), few, tuple(sites.items()))
    if selected.optimized_scan is not None:
        scan, partitions, columns = selected.optimized_scan
        kernel = _OnScan(scan, tuple(columns), task)
        values = graph.scan_to_values(kernel, partitions)
    else:
        values = graph.map_to_values(selected.frame, _on_part, task)
    found = graph.reduce_values(values, _joined, fan_in=32)
    (parts,) = graph.compute(found, label="sampling rows")
    return Parts(folder, tuple(sorted(parts.parts, key=lambda p: p.number)), parts.n_rows)


def _draw(provenance: Provenance, n: int, seed: int) -> Draw:
    """The threshold of the draw; a pass over ``shard`` and ``row`` if there may be more rows."""
    at_most = _most_rows(provenance)
    if at_most is not None and at_most <= n:
        return Draw(seed, None)
    (found,) = graph.compute(sample_thresholds(provenance.frame, n, seed), label="drawing rows")
    if not len(found.ranks) or found.is_empty[0]:
        return Draw(seed, -1)
    return Draw(seed, int(found.ranks[0]))


def _most_rows(provenance: Provenance) -> int | None:
    """The largest number of rows that a frame may have; None if footers do not tell."""
    if provenance.repeating_step is not None:
        return None
    try:
        return sum(partition.n_rows for partition in provenance.partitions)
    except ProvenanceError:  # not read from shards, or persisted
        return None


@dataclass(frozen=True)
class _Parts:
    parts: tuple[Part, ...]
    n_rows: int


def _joined(several: Any) -> _Parts:
    results = list(several)
    parts = tuple(part for one in results for part in one.parts)
    return _Parts(parts, sum(one.n_rows for one in results))


@dataclass(frozen=True)
class _Write:
    """Draws rows of tables and writes them."""

    folder: SpillFolder
    draw: Draw
    names: tuple[str, ...]
    texts: frozenset[str]
    categories: tuple[str, ...]
    sites: tuple[tuple[str, str], ...]

    def drawn(self, table: pa.Table) -> pa.Table:
        """The rows to draw, with ``shard`` and ``row`` as int64."""
        table = with_texts(decoded(table.select(list(self.names))), self.texts)
        shard, row, valid = _identity(table)
        drawn = valid & self.draw.mask(shard, row)
        if not drawn.all():
            table = table.filter(pa.array(drawn))
            shard, row = shard[drawn], row[drawn]
        return _with_identity(table, shard, row)

    def write(self, table: pa.Table, number: int) -> Part:
        """Write rows that were drawn, with their labels."""
        cancellation.check()
        shard, row = (table[name].to_numpy() for name in PROVENANCE)
        for level, column in self.sites:
            table = table.append_column(SITE + level, site(table[column], level))
        for name in self.categories:
            if (coded := coded_texts(table[name])) is not None:
                table = table.append_column(CODED + name, coded)
        batches = table.combine_chunks().to_batches() or [_empty(table.schema)]
        with self.folder.file(number, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_batch(batches[0])
        return _ordered(Part(number, len(table)), shard, row)


class _Writing:
    """Writes the rows that are drawn from one partition, some of them at a time."""

    def __init__(self, task: _Write, number: int) -> None:
        self._task, self._first = task, number * _MOST_PARTS
        self._waiting: list[pa.Table] = []
        self._n_waiting = self.n_rows = 0
        self._parts: list[Part] = []

    def add(self, table: pa.Table, lengths: frozenset[str] = frozenset()) -> pa.Table:
        """Draw from the next rows; nothing is kept of them."""
        self.n_rows += len(table)
        drawn = self._task.drawn(table)
        if not self._n_waiting and len(drawn) >= PART_ROWS:
            self._write(drawn)
        elif len(drawn):
            self._waiting.append(copied(drawn))
            self._n_waiting += len(drawn)
        else:
            self._waiting = self._waiting or [copied(drawn)]  # a schema, if nothing is drawn
        if self._n_waiting >= PART_ROWS:
            self._flush()
        return table.slice(0, 0).select([])

    def _flush(self) -> None:
        self._write(pa.concat_tables(self._waiting))
        self._waiting, self._n_waiting = [], 0

    def _write(self, drawn: pa.Table) -> None:
        self._parts.append(self._task.write(drawn, self._first + len(self._parts)))

    def finished(self) -> _Parts:
        """Write the rest; what was written."""
        if self._n_waiting or not self._parts:
            self._flush()
        return _Parts(tuple(self._parts), self.n_rows)


@dataclass(frozen=True)
class _OnScan:
    """Applies the task to a partition of a scan, in batches of rows."""

    scan: Scan
    columns: tuple[str, ...]
    task: _Write

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return ("laion_dask.sample_pass", self.scan.__dask_tokenize__(), self.task.folder.path)

    def __call__(self, partition: ScanPartition, number: int) -> _Parts:
        writing, columns = _Writing(self.task, number), list(self.columns)
        try:
            self.scan.read(partition, columns, Each(writing.add))
        except NotInBatches:  # read again, and reported if that fails too
            writing = _Writing(self.task, number)
            writing.add(self.scan.read(partition, columns).table)
        return writing.finished()


def _on_part(part: Frame, task: _Write, partition_info: dict | None = None) -> _Parts:
    writing = _Writing(task, (partition_info or {}).get("number", 0))
    writing.add(frame_to_arrow(part[list(task.names)].reset_index(drop=True)))
    return writing.finished()


def _identity(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shard and row, int64, and a mask of the rows that have both."""
    columns = [table[name].cast(pa.int64()) for name in PROVENANCE]
    shard, row = (pc.fill_null(column, -1).to_numpy() for column in columns)
    return shard, row, (shard >= 0) & (row >= 0)


def _with_identity(table: pa.Table, shard: np.ndarray, row: np.ndarray) -> pa.Table:
    for name, values in zip(PROVENANCE, (shard, row), strict=True):
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


def _ordered(part: Part, shard: np.ndarray, row: np.ndarray) -> Part:
    if not len(shard):
        return part
    steps = np.diff(shard)
    ascending = (steps > 0) | ((steps == 0) & (np.diff(row) >= 0))
    first, last = ((int(shard[at]), int(row[at])) for at in (0, -1))
    return replace(part, first=first, last=last, is_ordered=bool(ascending.all()))


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], one.type) for one in schema], schema=schema)
