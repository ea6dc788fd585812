"""Many shards, one schema: which Arrow type each column gets, and the exact cast to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import SchemaError
from laion_dask.schema import CANONICAL

#: Families whose types may differ from shard to shard: the widest one holds them all.
_MIXABLE = {"string", "integer", "float", "boolean"}
_LIST = "list of "


def family(type_: pa.DataType) -> str:
    """The family of an Arrow type; types of one family may be mixed between shards."""
    t = pa.types
    if t.is_dictionary(type_):
        return family(type_.value_type)
    if t.is_null(type_):
        return "null"
    if t.is_boolean(type_):
        return "boolean"
    if t.is_integer(type_):
        return "integer"
    if t.is_floating(type_):
        return "float"
    if t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_):
        return "string"
    if t.is_list(type_) or t.is_large_list(type_):
        return f"{_LIST}{family(type_.value_type)}"
    return str(type_)


def _plain(type_: pa.DataType) -> pa.DataType:
    """A type without its dictionary encoding, which is a matter of the file."""
    return _plain(type_.value_type) if pa.types.is_dictionary(type_) else type_


def _widest(types: Sequence[pa.DataType]) -> pa.DataType:
    """The narrowest type of one family that holds all of them exactly."""
    families = {family(t) for t in types}
    if families == {"string"}:
        return pa.large_string()
    if families == {"boolean"}:
        return pa.bool_()
    if families == {"float"}:
        width = max(t.bit_width for t in types)
        return pa.float64() if width == 64 else pa.float32()
    if families == {"integer"}:
        signed = {pa.types.is_signed_integer(t) for t in types}
        if len(signed) == 2 or len(set(types)) > 1:
            return pa.int64()
        return types[0]
    if families == {"integer", "float"}:
        return pa.float64()
    if len(types) > 1:  # lists: writers differ in their width
        return pa.large_list(_widest([t.value_type for t in types]))
    return types[0]


def _canonical_type(name: str, types: Sequence[pa.DataType]) -> pa.DataType | None:
    """The type that the canonical schema gives a column, or None where these cannot take it."""
    kind, families = CANONICAL[name].kind, {family(t) for t in types}
    if kind == "string":
        return pa.large_string() if families <= {"string"} else None
    if kind == "int32":
        return pa.int32() if families <= {"integer", "float"} else None
    if kind == "int64":
        return pa.int64() if families <= {"integer"} else None
    if kind == "float" and families <= {"integer", "float"}:
        return _widest([*types, pa.float32()]) if families <= {"float"} else pa.float64()
    if kind == "key" and families in ({"integer"}, {"string"}):
        return _widest(types)
    if kind == "key" and not families:
        return pa.large_string()
    return None


def _disagreement(name: str, by_shard: Sequence[tuple[str, pa.DataType]]) -> SchemaError:
    first_path, first_type = by_shard[0]
    other = next((p for p in by_shard if family(p[1]) != family(first_type)), None)
    if other is None and name not in CANONICAL:
        other = next((p for p in by_shard if p[1] != first_type), None)
    if other is None:
        expected = CANONICAL[name].kind
        expected = {"float": "a number", "key": "a string or an integer"}.get(expected, expected)
        return SchemaError(
            f"Column {name!r} of shard {first_path} is stored as {first_type}, but the canonical "
            f"column is {expected}, and that type cannot be taken over exactly. Rewrite the "
            f"column, or leave it out with columns=[...]."
        )
    return SchemaError(
        f"Column {name!r} is {first_type} in shard {first_path} but {other[1]} in shard "
        f"{other[0]}: no one type holds both exactly. Read the shards apart, rewrite one of them, "
        f"or leave the column out with columns=[...]."
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
    known = [(path, _plain(t)) for path, t in by_shard if family(t) != "null"]
    types: list[pa.DataType] = []
    for _, type_ in known:
        if type_ not in types:  # by ==: what a list calls its elements makes no other type
            types.append(type_)
    if name in CANONICAL:
        found = _canonical_type(name, types) if types else _canonical_type(name, [])
        if found is None:
            raise _disagreement(name, known)
        return found
    if not types:
        return pa.large_string()
    families = {family(t) for t in types}
    elements = {f.removeprefix(_LIST) for f in families}
    mixable = families == {"integer", "float"} or (elements <= _MIXABLE and len(families) == 1)
    if len(types) > 1 and not mixable:
        raise _disagreement(name, known)
    return _widest(types)


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
    if pa.types.is_floating(column.type) and pa.types.is_integer(type_):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    try:
        return column.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row, value = _first_bad(column, type_, rows)
        raise SchemaError(
            f"Row {row} of shard {path} has {name} = {value!r}, stored as {column.type}, which "
            f"{type_} cannot hold exactly. Correct the file, or leave the column out with "
            f"columns=[...]. ({error})"
        ) from error


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
    schemas: Mapping[str, Mapping[str, pa.DataType]], needed: Sequence[str] | None = None
) -> dict[str, pa.DataType]:
    """One schema for all shards: canonical columns first, in canonical order, then the others.

    Parameters
    ----------
    schemas : mapping of path to (mapping of frame's column name to Arrow type)
    needed : sequence of str, optional
        Columns that are asked for; one that is not, and on which the shards disagree, is left out.

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
            types[name] = common_type(name, by_column[name])
        except SchemaError:
            if needed is None or name in needed:
                raise
    return types
