"""Many shards, one schema: which Arrow type each column gets, and the exact cast to it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import SchemaError, argument
from laion_dask.io.common_types import family, frame_type, holds_intervals, is_uuid, merged
from laion_dask.schema import CANONICAL


def _canonical_type(name: str, types: Sequence[pa.DataType]) -> pa.DataType | None:
    """The type that the canonical schema gives a column, or None where these cannot take it."""
    kind, families = CANONICAL[name].kind, {family(t) for t in types}
    if kind == "string":  # old writers leave out that bytes are text
        return pa.large_string() if families <= {"string", "binary"} else None
    if kind == "int32":
        return pa.int32() if families <= {"integer", "float", "decimal"} else None
    if kind == "int64":
        if pa.uint64() in types:  # as DuckDB's hash() is, which goes beyond int64
            return merged(types)
        return pa.int64() if families <= {"integer", "decimal"} else None
    if kind == "float" and families <= {"integer", "float", "decimal"}:
        return merged([*types, pa.float32()]) if families <= {"float"} else pa.float64()
    if kind == "key" and families in ({"integer"}, {"string"}):
        return merged(types)
    if kind == "key" and not families:
        return pa.large_string()
    return None


def _disagreement(name: str, by_shard: Sequence[tuple[str, pa.DataType]]) -> SchemaError:
    first_path, first_type = by_shard[0]
    apart = [pair for pair in by_shard if merged([first_type, pair[1]]) is None]
    if not apart and name in CANONICAL:
        apart = [pair for pair in by_shard if family(pair[1]) != family(first_type)]
    path, type_ = apart[0] if apart else (None, None)
    if path is None:
        fits = [p for p in by_shard if _canonical_type(name, [p[1]]) is None]
        first_path, first_type = fits[0] if fits else by_shard[0]
        expected = CANONICAL[name].kind
        expected = {"float": "a number", "key": "a string or an integer"}.get(expected, expected)
        return SchemaError(
            f"Column {name!r} of shard {first_path} is stored as {first_type}, but the canonical "
            f"column is {expected}, and that type cannot be taken over exactly. Rewrite the "
            f"column, or leave it out with {argument('columns')}."
        )
    return SchemaError(
        f"Column {name!r} is {first_type} in shard {first_path} but {type_} in shard "
        f"{path}: no one type holds both exactly. Read the shards apart, rewrite one of them, "
        f"or leave the column out with {argument('columns')}."
    )


def common_type(name: str, by_shard: Sequence[tuple[str, pa.DataType]]) -> pa.DataType:
    """The one type of a column over all shards that have it.

    Parameters
    ----------
    name : str
        The frame's name of the column.
    by_shard : sequence of (path, type)
        One pair for each shard that has the column.

    Raises
    ------
    SchemaError
        When the types cannot be brought together exactly; the message names a shard and both
        types. Raised when the shards are opened.
    """
    known = [(path, t) for path, t in by_shard if not pa.types.is_null(t)]
    for path, type_ in known:
        if holds_intervals(type_):
            raise SchemaError(
                f"Column {name!r} of shard {path} holds intervals of months, days and milliseconds "
                "(Parquet's INTERVAL), which no frame has. Write it as a number or a duration, or "
                f"leave it out with {argument('columns')}."
            )
    types: list[pa.DataType] = []
    for _, type_ in known:
        if type_ not in types:
            types.append(type_)
    if name in CANONICAL:
        found = _canonical_type(name, types)
    else:
        found = merged(types) if types else pa.large_string()
    if found is None:
        raise _disagreement(name, known)
    return found


def cast_exactly(
    column: pa.ChunkedArray, type_: pa.DataType, *, name: str, path: str, rows: pa.ChunkedArray
) -> pa.ChunkedArray:
    """One column in its common type, every value exactly as it was stored.

    NaN in a column that becomes an integer is null. ``rows`` holds the position in the file of
    each value, for the error.

    Raises
    ------
    SchemaError
        When a value does not survive: a float that is no integer, an integer that is too large.
    """
    if str(column.type) == str(type_):  # list<l: float> == list<element: float>, but is not it
        return column
    if column.null_count == len(column):  # as in a shard without rows
        return pa.chunked_array([pa.nulls(len(column), type_)])
    column = _plain_text(column, name)
    if pa.types.is_floating(column.type) and pa.types.is_integer(type_):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    try:
        if family(column.type) == "decimal" and pa.types.is_floating(type_):
            column = column.cast(pa.string())  # Arrow's own cast is off by a bit in one of eight
        return column.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row, value = _first_bad(column, type_, rows)
        raise SchemaError(
            f"Row {row} of shard {path} has {name} = {value!r}, stored as {column.type}, which "
            f"{type_} cannot hold exactly. Correct the file, or leave the column out with "
            f"{argument('columns')}. ({error})"
        ) from error


def _plain_text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column of an extension type as what a frame holds, UUIDs as text."""
    plain = frame_type(column.type)
    if not isinstance(column.type, pa.BaseExtensionType):
        return _without_uuids(column, plain) if _has_uuid(column.type) else column
    if not is_uuid(column.type):
        return pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
    return _without_uuids(column, plain, digits=name == "uid")


def uuid_digits(name: str, stored: pa.DataType) -> bool:
    """Whether a column of UUIDs is read as their 32 digits alone, as DataComp publishes its own."""
    return name == "uid" and is_uuid(stored)


def _has_uuid(type_: pa.DataType) -> bool:
    inside = [type_.field(i).type for i in range(type_.num_fields)]
    return is_uuid(type_) or any(map(_has_uuid, inside))


def _without_uuids(column: pa.ChunkedArray, type_: pa.DataType, digits: bool = False):
    """UUIDs as text, within lists and structs too."""

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


def unify(
    schemas: Mapping[str, Mapping[str, pa.DataType]],
    needed: Sequence[str] | None = None,
    without_values: Container[tuple[str, str]] = (),
) -> dict[str, pa.DataType]:
    """One schema for all shards: canonical columns first, in canonical order, then the others.

    Parameters
    ----------
    schemas : mapping of path to (mapping of frame's column name to Arrow type)
    needed : sequence of str, optional
        Columns that are asked for; one that is not, and on which the shards disagree, is left out.
    without_values : container of (path, frame's column name)
        Columns of shards without rows, whose types decide only where no shard has rows.

    Raises
    ------
    SchemaError
        As `common_type`.
    """
    by_column: dict[str, list[tuple[str, pa.DataType]]] = {}
    for path, columns in schemas.items():
        for name, type_ in columns.items():
            by_column.setdefault(name, []).append((path, type_))
    order = [n for n in CANONICAL if n in by_column] + [n for n in by_column if n not in CANONICAL]
    types = {}
    for name in order:
        try:
            types[name] = _type_of_values(name, by_column[name], without_values)
        except SchemaError:
            if needed is None or name in needed:
                raise
    return types


def _type_of_values(
    name: str, by_shard: Sequence[tuple[str, pa.DataType]], without_values: Container
) -> pa.DataType:
    valued = [pair for pair in by_shard if (pair[0], name) not in without_values]
    if valued:
        return common_type(name, valued)
    try:
        return common_type(name, by_shard)
    except SchemaError:
        return common_type(name, [])
