"""Cast columns of shards to their type in the frame without changing values."""

from __future__ import annotations

from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import SchemaError, argument
from laion_dask.io.parquet.common_types import family, frame_type, is_uuid
from laion_dask.memory_pool import POOL


def cast_exactly(
    column: pa.ChunkedArray, type_: pa.DataType, *, name: str, path: str, rows: pa.ChunkedArray
) -> pa.ChunkedArray:
    """Cast a column to its common type without changing values.

    NaN becomes null if the column becomes an integer. ``rows`` contains the position of each value
    in the file, for error messages.

    Raises
    ------
    SchemaError
        When a value would change: a float that is not an integer, or an integer that is too large.
    """
    if str(column.type) == str(type_):  # list<l: float> == list<element: float>, but differs in str
        return column
    if column.null_count == len(column):  # for example in an empty shard
        return pa.chunked_array([pa.nulls(len(column), type_)])
    column = _plain_text(column, name)
    if pa.types.is_floating(column.type) and pa.types.is_integer(type_):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    try:
        if family(column.type) == "decimal" and pa.types.is_floating(type_):
            column = column.cast(pa.string())  # Arrow's own cast is inexact for one in eight values
        return pc.cast(column, type_, memory_pool=POOL)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row, value = _first_bad(column, type_, rows)
        raise SchemaError(
            f"Row {row} of shard {path} has {name} = {value!r}, stored as {column.type}. All "
            f"shards are read as {type_}, which cannot hold it exactly. Rewrite the file, or leave "
            f"the column out with {argument('columns')}. ({error})"
        ) from error


def _plain_text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column without its extension type; UUIDs become text."""
    plain = frame_type(column.type)
    if not isinstance(column.type, pa.BaseExtensionType):
        return _without_uuids(column, plain) if _has_uuid(column.type) else column
    if not is_uuid(column.type):
        return pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
    return _without_uuids(column, plain, digits=name == "uid")


def uuid_digits(name: str, stored: pa.DataType) -> bool:
    """Whether UUIDs are read as 32 digits without hyphens, as in DataComp."""
    return name == "uid" and is_uuid(stored)


def _has_uuid(type_: pa.DataType) -> bool:
    inside = [type_.field(i).type for i in range(type_.num_fields)]
    return is_uuid(type_) or any(map(_has_uuid, inside))


def _without_uuids(column: pa.ChunkedArray, type_: pa.DataType, digits: bool = False):
    """UUIDs as text, including those in lists and structs."""

    def text(value):
        if isinstance(value, UUID):
            return value.hex if digits else str(value)
        if isinstance(value, dict):
            return {key: text(one) for key, one in value.items()}
        return list(map(text, value)) if isinstance(value, (list, tuple)) else value

    return pa.chunked_array([pa.array(map(text, column.to_pylist()), type_)])


def _first_bad(
    column: pa.ChunkedArray, type_: pa.DataType, rows: pa.ChunkedArray
) -> tuple[int | None, object]:
    for i in range(len(column)):
        try:
            column.slice(i, 1).cast(type_)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return rows[i].as_py(), column[i].as_py()
    return None, None
