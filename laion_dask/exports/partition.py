"""Write one partition of a frame as one part of an export."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from laion_dask.errors import SchemaError
from laion_dask.exports.formats.base import Part, PartWriter
from laion_dask.schema import PROVENANCE

#: The columns of the result of `write_partition`.
META: dict[str, npt.DTypeLike] = {"number": "int64", "types": object, "files": object}


def part_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of the parts, with dictionary types replaced by their value types."""
    return pa.schema([(field.name, _value_type(field.type)) for field in schema])


def write_partition(
    table: pa.Table, number: int, writer: PartWriter, schema: pa.Schema
) -> dict[str, Any]:
    """Write one partition as a staged part; returns its number, types and files.

    Parameters
    ----------
    table : pyarrow.Table
    number : int
        The partition's number.
    writer : PartWriter
    schema : pyarrow.Schema
        The `part_schema` of the frame.

    Raises
    ------
    SchemaError
        When a column's values do not fit the type that the frame's meta promised.
    ExportError
        When the part cannot be written.
    """
    table = _in_row_order(_conform(table, schema))
    files = tuple(writer.write(Part(number, table)))
    return {"number": number, "types": [str(f.type) for f in table.schema], "files": files}


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast a table to the schema of parts; a column with type null in the schema is not cast.

    Dictionaries are decoded, since partitions may use different codes.
    """
    columns = []
    for field in schema:
        column = table[field.name]
        try:
            column = column.cast(_value_type(column.type))
            columns.append(column if pa.types.is_null(field.type) else column.cast(field.type))
        except pa.ArrowException as error:
            raise SchemaError(
                f"Column {field.name!r} should be {field.type} according to the frame's meta, but "
                f"is {column.type} in one partition: {error}. Pass its true dtype as meta= where "
                "the column is created."
            ) from error
    return pa.Table.from_arrays(columns, names=schema.names)


def _value_type(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _in_row_order(table: pa.Table) -> pa.Table:
    """The rows sorted by shard and row; a shuffle may return them in any order."""
    if not set(PROVENANCE) <= set(table.column_names):
        return table
    shard, row = (table[name].to_numpy() for name in PROVENANCE)
    order = np.lexsort((row, shard))
    return table if np.array_equal(order, np.arange(len(order))) else table.take(order)
