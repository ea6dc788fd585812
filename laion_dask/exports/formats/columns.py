"""Columns that a format needs, and new names for columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from laion_dask.errors import SchemaError, no_column


def need_column(schema: pa.Schema, name: str, format: str) -> pa.Field:
    """The field of a column that a format needs.

    Raises
    ------
    ColumnError
        When the frame does not have it.
    """
    if name not in schema.names:
        raise no_column(name, schema.names, f"The format {format!r} needs it.")
    return schema.field(name)


def is_text(type_: pa.DataType) -> bool:
    """Whether values are strings; a column without values may hold any."""
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
        or pa.types.is_null(type_)
    )


def need_text(schema: pa.Schema, name: str, format: str) -> None:
    """Raise unless the frame has a column of strings.

    Raises
    ------
    ColumnError
        When the frame does not have the column.
    SchemaError
        When its values are not strings.
    """
    field = need_column(schema, name, format)
    if not is_text(field.type):
        raise SchemaError(
            f"The column {name!r} is {field.type}. Expected strings for the format {format!r}. "
            "Convert it with astype, or export in another format."
        )


def unused_name(name: str, taken: Iterable[str]) -> str:
    """The name, with underscores if a column has it already, in any case."""
    lowered = {other.lower() for other in taken}
    while name.lower() in lowered:
        name += "_"
    return name


def new_names(names: Iterable[str], renamed: Mapping[str, str]) -> dict[str, str]:
    """The new name of each column, all different even if case is ignored.

    Raises
    ------
    SchemaError
        When two columns would have the same name.
    """
    out: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        new = renamed.get(name, name)
        if new.lower() in owners:
            raise SchemaError(
                f"The columns {owners[new.lower()]!r} and {name!r} would both be named {new!r}. "
                "Rename or drop one of them."
            )
        owners[new.lower()] = name
        out[name] = new
    return out
