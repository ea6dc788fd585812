"""A Parquet footer, parsed: rows, row groups, schema, digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.errors import ShardError
from laion_dask.io.parquet.column_chunks import is_of_other_files
from laion_dask.io.parquet.common_types import leaf_types
from laion_dask.io.parquet.footer_file import ARROW_ERRORS, MAGIC, REMEDY, damaged


@dataclass(frozen=True, slots=True)
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


def parsed(path: str, size: int, footer: bytes) -> Footer:
    """Parse a footer with its length and the closing magic bytes.

    Raises
    ------
    ShardError
        When it is damaged, or describes other files.
    """
    try:
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
    return Footer(path, size, hashlib.sha256(footer).hexdigest(), groups, schema, int96)


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


def _check_counts(path: str, n_rows: int, groups: tuple[int, ...]) -> None:
    if n_rows != sum(groups) or any(n < 0 for n in groups):
        raise ShardError(
            f"{path} is damaged: its footer claims {n_rows:,} rows, its row groups "
            f"{sum(groups):,}. {REMEDY}"
        )
