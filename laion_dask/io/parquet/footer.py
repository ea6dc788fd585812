"""Read Parquet footers: rows, row groups, schema, digest. One small read per file."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.errors import ShardError
from laion_dask.io.parquet.column_chunks import Chunk, column_chunks, is_of_other_files
from laion_dask.io.parquet.common_types import leaf_types
from laion_dask.io.parquet.shard import Piece
from laion_dask.io.parquet.thrift import NotThrift
from laion_dask.io.storage.conversion import conversion
from laion_dask.io.storage.local_file import open_bytes
from laion_dask.io.storage.remote_file import StoreFile

_TAIL = 1 << 16
REMEDY = "Fetch the file again, or leave it out of the paths."
MAGIC = b"PAR1"
_POINTER = b"version https://git-lfs"
#: Threads that read footers; they mostly wait for the store.
THREADS = 16

#: Exceptions that pyarrow raises for a damaged file.
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)


@dataclass(frozen=True)
class Footer:
    """A Parquet file as its footer describes it.

    Attributes
    ----------
    path : str
        Local path or fsspec address.
    size : int
        Size of the file in bytes.
    sha256 : str
        Digest of the footer's bytes; changes whenever rows, layout or statistics change.
    row_groups : tuple of int
        The number of rows in each row group, in file order.
    schema : pyarrow.Schema
    int96 : frozenset of str
        Columns with INT96 timestamps.
    """

    path: str
    size: int
    sha256: str
    row_groups: tuple[int, ...]
    schema: pa.Schema
    int96: frozenset[str] = frozenset()

    @property
    def n_rows(self) -> int:
        return sum(self.row_groups)


def read_footer(path: str) -> Footer:
    """The footer of one file.

    Raises
    ------
    ShardError
        When the file is empty, not Parquet, truncated or damaged, or its store fails.
    """
    try:
        with open_bytes(path) as file:
            store = StoreFile(file, path)
            footer = _footer_bytes(store, store.size, path)
        if path.endswith("/_metadata") and is_of_other_files(footer):
            raise ShardError(
                f"{path} lists the row groups of other files and has no rows itself. Leave it "
                "out of the paths."
            )
        metadata = pq.read_metadata(pa.BufferReader(MAGIC + footer))
        schema = _with_parquet_types(metadata.schema.to_arrow_schema(), metadata.schema)
        int96 = _int96(schema, metadata.schema)
        groups = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    except ShardError:
        raise
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error
    _check_counts(path, metadata.num_rows, groups)
    digest = hashlib.sha256(footer).hexdigest()
    return Footer(path, store.size, digest, groups, schema, int96)


def _int96(schema: pa.Schema, stored: pq.ParquetSchema) -> frozenset[str]:
    leaves = [stored.column(i).physical_type for i in range(len(stored))]
    if "INT96" not in leaves:
        return frozenset()
    names = [field.name for field in schema for _ in leaf_types(field.type)]
    return frozenset(n for n, kind in zip(names, leaves, strict=True) if kind == "INT96")


def _with_parquet_types(schema: pa.Schema, stored: pq.ParquetSchema) -> pa.Schema:
    """The schema, with types that Parquet knows and Arrow does not.

    These are UUIDs and intervals, which Arrow reads as bytes, and INT96, which Arrow reads as
    nanoseconds, limited to the years 1677 to 2262, although Spark, Hive and Impala write
    microseconds.
    """
    leaves = [stored.column(i) for i in range(len(stored))]
    if not any(_parquet_type(leaf) for leaf in leaves):
        return schema
    by_leaf = iter(leaves)

    def typed(type_: pa.DataType) -> pa.DataType:
        if isinstance(type_, pa.BaseExtensionType):
            for _ in leaf_types(type_):
                next(by_leaf)
            return type_
        if type_.num_fields == 0:
            parquet_type = _parquet_type(next(by_leaf))
            replaceable = pa.types.is_fixed_size_binary(type_) or pa.types.is_timestamp(type_)
            return parquet_type if parquet_type is not None and replaceable else type_
        inside = [
            type_.field(i).with_type(typed(type_.field(i).type)) for i in range(type_.num_fields)
        ]
        if pa.types.is_struct(type_):
            return pa.struct(inside)
        if pa.types.is_map(type_):
            return pa.map_(inside[0].type.field(0), inside[0].type.field(1))
        if pa.types.is_large_list(type_):
            return pa.large_list(inside[0])
        size = type_.list_size if pa.types.is_fixed_size_list(type_) else -1
        return pa.list_(inside[0], size)

    return pa.schema([field.with_type(typed(field.type)) for field in schema])


def _parquet_type(leaf: pq.ColumnSchema) -> pa.DataType | None:
    if leaf.logical_type.type == "UUID" and leaf.length == 16:
        return pa.uuid()
    if leaf.physical_type == "INT96":
        return pa.timestamp("us")
    return pa.month_day_nano_interval() if leaf.converted_type == "INTERVAL" else None


def check_unchanged(path: str, footer_sha256: str) -> bytes:
    """Read a file's footer again and check that it is unchanged since the file was opened.

    Raises
    ------
    ShardError
        When the file has changed, since its rows may differ.
    """
    try:
        with open_bytes(path) as file:
            footer = _footer_bytes(file, file.seek(0, 2), path)
    except OSError as error:
        if isinstance(error, ShardError):
            raise
        raise damaged(path, error) from error
    if hashlib.sha256(footer).hexdigest() != footer_sha256:
        raise ShardError(
            f"{path} was rewritten after it was opened. Call read_shards again to read its "
            "current content."
        )
    return footer


def groups_of(path: str, footer: bytes) -> list[pq.RowGroupMetaData]:
    """The row groups of a footer; checks that their columns are inside the file.

    libcudf trusts footers that point outside the file (rapidsai/cudf issue 14104), and an invalid
    read on a GPU destroys the CUDA context of the whole process.

    Raises
    ------
    ShardError
        When a column is outside the file.
    """
    try:
        column_chunks(footer)  # raises if a column is encrypted, which would abort pyarrow
        metadata = pq.read_metadata(pa.BufferReader(MAGIC + footer))
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        with open_bytes(path) as file:
            end = file.seek(0, 2) - len(footer)
        for number, group in enumerate(groups):
            for i in range(group.num_columns):
                _check_chunk(path, number, group.column(i), end)
    except ARROW_ERRORS as error:
        raise error if isinstance(error, ShardError) else damaged(path, error) from error
    return groups


def groups_between(
    groups: Iterable[pq.RowGroupMetaData], start: int, stop: int
) -> list[tuple[int, int, pq.RowGroupMetaData]]:
    """The nonempty row groups that start within a range of rows of the file.

    Returns
    -------
    list of (number in the file, first row, row group)
    """
    between, first = [], 0
    for number, group in enumerate(groups):
        if group.num_rows and start <= first < stop:
            between.append((number, first, group))
        first += group.num_rows
    return between


def chunks_of(piece: Piece, footer: bytes, columns: Collection[str]) -> list[Chunk]:
    """The column chunks of a piece for the given columns, named as in the file.

    Raises
    ------
    ShardError
        When the footer is damaged, or a column is encrypted.
    """
    names = {name.encode("utf-8", "surrogateescape") for name in columns}
    try:
        chunks = column_chunks(footer)
    except NotThrift as error:
        raise damaged(piece.shard.path, error) from error
    within = range(piece.start, piece.stop)
    return [chunk for chunk in chunks if chunk.first_row in within and chunk.path[0] in names]


def _check_chunk(path: str, number: int, chunk: pq.ColumnChunkMetaData, end: int) -> None:
    first, size = chunk.data_page_offset, chunk.total_compressed_size
    if chunk.num_values == 0:
        return  # there may be no pages
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        first = min(first, chunk.dictionary_page_offset)
    if first < len(MAGIC) or size < 0 or first + size > end:
        raise ShardError(
            f"{path} is damaged: column {chunk.path_in_schema!r} of row group {number} spans "
            f"bytes {first:,} to {first + size:,}, outside its {end:,} bytes of data. {REMEDY}"
        )


def damaged(path: str, error: Exception) -> ShardError:
    """The error for a shard that cannot be read as Parquet."""
    first = str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__
    return ShardError(f"{path} cannot be read as Parquet: {first}. {REMEDY}")


def _footer_bytes(file, size: int, path: str) -> bytes:
    """The footer, including its length and the closing magic bytes."""
    if size == 0:
        raise ShardError(f"{path} is empty: 0 bytes, no Parquet footer. {REMEDY}")
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    if size < 12 or tail[-4:] != MAGIC:
        file.seek(0)
        raise _not_parquet(path, size, file.read(len(_POINTER)))
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > size - 4:
        raise ShardError(
            f"{path} is truncated or damaged: its footer claims {length:,} bytes of a file of "
            f"{size:,}. {REMEDY}"
        )
    if length > len(tail):
        file.seek(size - length)
        tail = file.read(length)
    return tail[-length:]


def _not_parquet(path: str, size: int, start: bytes) -> ShardError:
    """The error for a file without a Parquet footer, depending on how the file starts."""
    if start.startswith(MAGIC):
        problem = "is truncated: it starts as Parquet but has no footer"
        return ShardError(f"{path} ({size:,} bytes) {problem}. {REMEDY}")
    if hint := conversion(path):
        return ShardError(hint)
    if start == _POINTER:
        return ShardError(
            f"{path} ({size:,} bytes) is a Git LFS pointer, not the file itself. Fetch it with "
            "git lfs pull."
        )
    return ShardError(f"{path} ({size:,} bytes) is not Parquet. {REMEDY}")


def _check_counts(path: str, n_rows: int, groups: tuple[int, ...]) -> None:
    if n_rows != sum(groups) or any(n < 0 for n in groups):
        raise ShardError(
            f"{path} is damaged: its footer claims {n_rows:,} rows, its row groups "
            f"{sum(groups):,}. {REMEDY}"
        )


def read_footers(paths: Sequence[str]) -> list[Footer]:
    """The footers of many files, in the given order.

    Raises
    ------
    ShardError
        As for `read_footer`, for the first file that fails.
    """
    with ThreadPoolExecutor(min(THREADS, len(paths))) as pool:
        return list(pool.map(read_footer, paths))
