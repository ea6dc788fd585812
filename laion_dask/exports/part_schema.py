"""The columns of an export's parts: one schema for all, whatever the partitions held."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import SchemaError
from laion_dask.memory_pool import POOL


def part_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of the parts, with dictionary types replaced by their value types."""
    return pa.schema([(field.name, _decoded(field.type)) for field in schema])


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast a table to the schema of parts; a column with type null in the schema is not cast.

    Dictionaries are decoded, since partitions may use different codes.

    Raises
    ------
    SchemaError
        When a column's values do not fit the type that the frame's meta promised.
    """
    columns = []
    for field in schema:
        column = table[field.name]
        try:
            column = pc.cast(column, _decoded(column.type), memory_pool=POOL)
            if not pa.types.is_null(field.type):
                column = pc.cast(column, field.type, memory_pool=POOL)
            columns.append(column)
        except pa.ArrowException as error:
            raise SchemaError(
                f"Column {field.name!r} should be {field.type} according to the frame's meta, but "
                f"is {column.type} in one partition: {error}. Pass its true dtype as meta= where "
                "the column is created."
            ) from error
    return pa.Table.from_arrays(columns, names=schema.names)


def common_schema(schema: pa.Schema, of_partitions: Sequence[pa.Schema]) -> pa.Schema:
    """The schema that holds the values of all partitions.

    Parameters
    ----------
    schema : pyarrow.Schema
        The `part_schema` of the frame.
    of_partitions : sequence of pyarrow.Schema
        The schemas of the partitions that have rows, after `conform`.

    Raises
    ------
    SchemaError
        When a column whose type the frame's meta does not state has values of several types.
    """
    for i, field in enumerate(schema):
        if pa.types.is_null(field.type):
            types = {one.field(i).type for one in of_partitions}
            schema = schema.set(i, pa.field(field.name, _common_type(field.name, types)))
    return schema


def _common_type(name: str, types: set[pa.DataType]) -> pa.DataType:
    ordered = sorted(types, key=str)
    one_each = [pa.schema([(name, type_)]) for type_ in ordered]
    with suppress(pa.ArrowException):
        return (
            pa.unify_schemas(one_each, promote_options="permissive").field(0).type
            if types
            else pa.null()
        )
    listed = ", ".join(map(str, ordered))
    raise SchemaError(
        f"Column {name!r} has values of several types: {listed}. Convert it to one type, and pass "
        "its dtype as meta= where the column is created."
    )


def cast_column(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """A column of one partition with its type in the `common_schema`.

    Raises
    ------
    SchemaError
        When a value cannot be converted exactly.
    """
    if column.type == field.type:  # Arrow (26) damages some arrays of nested nulls
        return column
    try:
        return pc.cast(column, field.type, memory_pool=POOL)
    except pa.ArrowException as error:
        raise SchemaError(
            f"Column {field.name!r} is {column.type} in one partition and {field.type} in others: "
            f"{error}. Pass its dtype as meta= where the column is created."
        ) from error


def _decoded(type_: pa.DataType) -> pa.DataType:
    """A type without dictionaries, at any depth."""
    if pa.types.is_dictionary(type_):
        return _decoded(type_.value_type)
    if pa.types.is_struct(type_):
        return pa.struct([_decoded_field(field) for field in type_])
    if pa.types.is_map(type_):
        return pa.map_(_decoded_field(type_.key_field), _decoded_field(type_.item_field))
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(_decoded_field(type_.value_field), type_.list_size)
    if pa.types.is_large_list(type_):
        return pa.large_list(_decoded_field(type_.value_field))
    if pa.types.is_list(type_):
        return pa.list_(_decoded_field(type_.value_field))
    return type_


def _decoded_field(field: pa.Field) -> pa.Field:
    return field.with_type(_decoded(field.type))
