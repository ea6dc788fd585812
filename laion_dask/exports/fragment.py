"""Fragments: the rows of each partition on their way into parts, in the staging folder.

An export first writes each partition as one Arrow file, and cuts the rows into parts when it knows
how many there are. Locally, fragments are not compressed and are memory-mapped; in a store they are
compressed, because there the network limits the speed.
"""

from __future__ import annotations

import mmap
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError
from laion_dask.exports.formats.staged_files import StagingFolder
from laion_dask.exports.part_schema import cast_column, conform
from laion_dask.exports.row_bytes import content_bytes
from laion_dask.io.storage.atomic_file import reason, write_error
from laion_dask.io.storage.local_file import failures, file_system
from laion_dask.memory_pool import POOL
from laion_dask.runtime.ordered_map import in_order
from laion_dask.schema import PROVENANCE

#: Rows of a record batch; a reader decompresses whole batches.
_BATCH_ROWS = 65_536
#: Bytes of the smallest file that is memory-mapped; the number of maps of a process is limited.
_MAPPED_BYTES = 1 << 22
_THREADS = 16


@dataclass(frozen=True)
class Fragment:
    """The rows of one partition.

    Attributes
    ----------
    name : str
        The name of its file in the staging folder.
    rows : int
    content_bytes : int
        See `laion_dask.exports.row_bytes.content_bytes`; the sum over all columns.
    schema : pyarrow.Schema
    bytes : int
        The size of the file.
    """

    name: str
    rows: int
    content_bytes: int
    schema: pa.Schema
    bytes: int

    @property
    def number(self) -> int:
        """The number of the partition."""
        return int(self.name.split("-")[1])


@dataclass(frozen=True)
class Slice:
    """Rows ``start`` to ``stop`` of a fragment."""

    name: str
    start: int
    stop: int


def write_fragment(
    table: pa.Table,
    number: int,
    staging: StagingFolder,
    schema: pa.Schema,
    order_by: Sequence[str] = PROVENANCE,
) -> list[Fragment]:
    """Write the rows of one partition, sorted by shard and row, as a fragment.

    Parameters
    ----------
    table : pyarrow.Table
    number : int
        The partition's number.
    staging : StagingFolder
    schema : pyarrow.Schema
        The `part_schema` of the frame.
    order_by : sequence of str
        As for `row_order`.

    Returns
    -------
    list of Fragment
        One fragment; none if the partition has no rows.

    Raises
    ------
    SchemaError
        When a column's values do not fit the type that the frame's meta promised.
    ExportError
        When the fragment cannot be written.
    """
    if not len(table):
        return []
    table = conform(table, schema)
    order = row_order(table, order_by)
    table = table if order is None else pc.take(table, order, memory_pool=POOL)
    # If a task runs twice, nobody writes to a file that is already being read.
    name = f"fragment-{number:08d}-{uuid.uuid4().hex[:12]}.arrow"
    n_bytes = _write(table, staging, name)
    content = sum(map(content_bytes, table.columns))
    return [Fragment(name, len(table), content, table.schema, n_bytes)]


def row_order(table: pa.Table, order_by: Sequence[str] = PROVENANCE) -> pa.Array | None:
    """The positions that sort rows by shard and row; None if they are sorted, or unidentified.

    A shuffle may return the rows of a partition in any order.

    Parameters
    ----------
    table : pyarrow.Table
    order_by : sequence of str
        ``shard`` and ``row``; and the column that tells the records of a row apart, if it has
        several, which is used if it has integers.
    """
    if not set(PROVENANCE) <= set(table.column_names):
        return None
    keys = [table[name].to_numpy() for name in PROVENANCE]
    for name in order_by[len(PROVENANCE) :]:
        if name in table.column_names and pa.types.is_integer(table[name].type):
            keys.append(pc.fill_null(table[name], -1).to_numpy())
    follows = np.ones(max(0, len(table) - 1), bool)
    for key in reversed(keys):
        follows = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & follows)
    return None if follows.all() else pa.array(np.lexsort(keys[::-1]))


def _write(table: pa.Table, staging: StagingFolder, name: str) -> int:
    """Write a table as a file, and return its size."""
    fs, folder = file_system(staging.url)
    is_local = isinstance(fs, LocalFileSystem)
    options = pa.ipc.IpcWriteOptions(compression=None if is_local else "zstd", use_threads=False)
    path = f"{folder}/{name}"
    try:
        with open(path, "wb") if is_local else fs.open(path, "wb") as file:
            with pa.ipc.new_file(file, table.schema, options=options) as writer:
                writer.write_table(table, max_chunksize=_BATCH_ROWS)
            n_bytes: int = file.tell()
            return n_bytes
    except failures(fs) as error:
        raise write_error(f"{staging.url}/{name}", error) from error


def read_slices(
    slices: Sequence[Slice],
    staging: StagingFolder,
    schema: pa.Schema,
    order_by: Sequence[str] = PROVENANCE,
) -> pa.Table:
    """The rows of slices in order, sorted by shard and row, with one chunk per column.

    Memory use is that of the table and of one more column.

    Parameters
    ----------
    slices : sequence of Slice
    staging : StagingFolder
    schema : pyarrow.Schema
        The `common_schema` of all fragments.
    order_by : sequence of str
        As for `row_order`.

    Raises
    ------
    SchemaError
        When a value cannot be converted to the common type of its column.
    ExportError
        When a fragment cannot be read.
    """
    fs, folder = file_system(staging.url)
    maps: list[mmap.mmap] = []
    try:
        if isinstance(fs, LocalFileSystem):
            tables = [_read(partial(_open_local, f"{folder}/{s.name}", maps), s) for s in slices]
        else:
            read = partial(_read_stored, fs, folder)
            tables = list(in_order(read, slices, min(_THREADS, max(1, len(slices)))))
    except FileNotFoundError as error:
        target = staging.url.rpartition("/")[0]
        raise ExportError(
            f"{target} lacks rows that workers wrote, so it is not the same folder on every "
            "worker. Name a folder that all workers share."
        ) from error
    except (failures(fs), pa.ArrowException) as error:
        raise ExportError(f"{staging.url} could not be read: {reason(error)}.") from error
    keys = pa.schema([field for field in schema if field.name in order_by])
    order = row_order(_column_wise(tables, keys), order_by)
    return _column_wise(tables, schema, order, maps)


def _column_wise(
    tables: Sequence[pa.Table],
    schema: pa.Schema,
    order: pa.Array | None = None,
    maps: Sequence[mmap.mmap] = (),
) -> pa.Table:
    """Concatenate tables column by column, and drop the pages of the maps after each."""
    columns = []
    for field in schema:
        chunks = [c for t in tables for c in cast_column(t[field.name], field).chunks]
        column = pa.chunked_array(chunks, field.type)
        column = column if order is None else pc.take(column, order, memory_pool=POOL)
        columns.append(pa.table({"": column}).combine_chunks(memory_pool=POOL).column(0))
        for mapped in maps:
            if hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)
    return pa.Table.from_arrays(columns, schema=schema)


def _open_local(path: str, maps: list[mmap.mmap]) -> pa.NativeFile:
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) >= _MAPPED_BYTES:
            with suppress(OSError):  # a file system without memory maps
                maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                return pa.BufferReader(pa.py_buffer(maps[-1]))
        file.seek(0)
        return pa.BufferReader(file.read())


def _read_stored(fs: fsspec.AbstractFileSystem, folder: str, one: Slice) -> pa.Table:
    with fs.open(f"{folder}/{one.name}", "rb") as file:
        return _read(lambda: file, one)


def _read(open_: Callable[[], Any], one: Slice) -> pa.Table:
    with pa.ipc.open_file(open_(), memory_pool=POOL) as reader:
        return pa.Table.from_batches(_batches(reader, one), reader.schema)


def _batches(reader: pa.ipc.RecordBatchFileReader, one: Slice) -> Iterator[pa.RecordBatch]:
    begin = 0
    for i in range(reader.num_record_batches):
        if begin >= one.stop:
            return
        batch = reader.get_batch(i)
        start, stop = max(one.start - begin, 0), min(one.stop - begin, len(batch))
        begin += len(batch)
        if start < stop:
            yield _rows(batch, start, stop)


def _rows(batch: pa.RecordBatch, start: int, stop: int) -> pa.RecordBatch:
    """Rows of a batch; a copy if Arrow (26) casts a slice of its types to a damaged array."""
    if (start, stop) == (0, len(batch)) or not any(_nests_nulls(f.type) for f in batch.schema):
        return batch.slice(start, stop - start)
    return batch.take(pa.array(np.arange(start, stop)))


def _nests_nulls(type_: pa.DataType) -> bool:
    """Whether a nested type has values of the type null."""
    children = [type_.field(n).type for n in range(type_.num_fields)]
    return any(pa.types.is_null(child) or _nests_nulls(child) for child in children)


def is_whole(fragment: Fragment, staging: StagingFolder) -> bool:
    """Whether the file of a fragment has the size, the rows and the schema that were recorded."""
    fs, folder = file_system(staging.url)
    path = f"{folder}/{fragment.name}"
    try:
        if not isinstance(fs, LocalFileSystem):
            return bool(fs.size(path) == fragment.bytes)
        with pa.memory_map(path) as file, pa.ipc.open_file(file) as reader:
            rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
            found = (file.size(), rows, reader.schema)
            return found == (fragment.bytes, fragment.rows, fragment.schema)
    except (failures(fs), pa.ArrowException):
        return False


def remove_fragments(names: Sequence[str], staging: StagingFolder) -> None:
    """Remove fragments that are no longer needed; the end of the export removes the rest."""
    fs, folder = file_system(staging.url)
    for name in names:
        with suppress(failures(fs)):
            fs.rm_file(f"{folder}/{name}")
