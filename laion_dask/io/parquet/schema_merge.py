"""Merge the schemas of many shards: choose one Arrow type for each column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import pyarrow as pa

from laion_dask.errors import SchemaError, argument
from laion_dask.io.parquet.column_statistics import StoredValues, holds_wide_integers
from laion_dask.io.parquet.common_types import (
    family,
    holds_intervals,
    leaf_types,
    merged,
    without_null_keys,
)
from laion_dask.schema import CANONICAL


def _canonical_type(name: str, types: Sequence[pa.DataType]) -> pa.DataType | None:
    """The type of a canonical column, or None if the stored types cannot be converted to it."""
    kind, families = CANONICAL[name].kind, {family(t) for t in types}
    if kind == "string":  # old writers do not mark bytes as text
        return pa.large_string() if families <= {"string", "binary"} else None
    if kind == "int32":
        return pa.int32() if families <= {"integer", "float", "decimal"} else None
    if kind == "int64":
        if pa.uint64() in types:  # like DuckDB's hash(), which exceeds int64
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
    conflicting = [pair for pair in by_shard if merged([first_type, pair[1]]) is None]
    if not conflicting and name in CANONICAL:
        conflicting = [pair for pair in by_shard if family(pair[1]) != family(first_type)]
    path, type_ = conflicting[0] if conflicting else (None, None)
    if path is None:
        unfit = [p for p in by_shard if _canonical_type(name, [p[1]]) is None]
        first_path, first_type = unfit[0] if unfit else by_shard[0]
        expected = CANONICAL[name].kind
        expected = {"float": "a number", "key": "a string or an integer"}.get(expected, expected)
        return SchemaError(
            f"Column {name!r} of shard {first_path} is stored as {first_type}, but the canonical "
            f"column is {expected}, and the conversion would not be exact. Rewrite the column, or "
            f"leave it out with {argument('columns')}."
        )
    return SchemaError(
        f"Column {name!r} is {first_type} in shard {first_path} but {type_} in shard "
        f"{path}; no single type holds both exactly. Read them separately, rewrite one of them, "
        f"or leave the column out with {argument('columns')}."
    )


def common_type(name: str, by_shard: Sequence[tuple[str, pa.DataType]]) -> pa.DataType:
    """The common type of a column over all shards that have it.

    Parameters
    ----------
    name : str
        The name of the column in the frame.
    by_shard : sequence of (path, type)
        One pair for each shard that has the column.

    Raises
    ------
    SchemaError
        When no type represents all values exactly; the message names a shard and both types.
        Raised when the shards are opened.
    """
    typed = [(path, t) for path, t in by_shard if not pa.types.is_null(t)]
    for path, type_ in typed:
        if holds_intervals(type_):
            raise SchemaError(
                f"Column {name!r} of shard {path} holds intervals of months, days and milliseconds "
                "(Parquet's INTERVAL), which frames do not support. Write it as a number or a "
                f"duration, or leave it out with {argument('columns')}."
            )
    types: list[pa.DataType] = []
    for _, type_ in typed:
        if type_ not in types:
            types.append(type_)
    if name in CANONICAL:
        common = _canonical_type(name, types)
    else:
        common = merged(types) if types else pa.large_string()
    if common is None:
        raise _disagreement(name, typed)
    return without_null_keys(common)


def merge_schemas(
    schemas: Mapping[str, Mapping[str, pa.DataType]],
    values: StoredValues,
    needed: Collection[str] | None = None,
) -> tuple[dict[str, pa.DataType], set[tuple[str, str]]]:
    """The schema of all shards: canonical columns first, in canonical order, then the others.

    Parameters
    ----------
    schemas : mapping of path to (mapping of frame's column name to Arrow type)
    values : StoredValues
        The statistics of the shards.
    needed : collection of str, optional
        The requested columns; other columns on which the shards disagree are omitted.

    Returns
    -------
    types : dict
        The Arrow type of each column.
    without_values : set of (path, column)
        Columns of shards without any values, whose types were ignored.

    Raises
    ------
    SchemaError
        As for `common_type`, and if a footer shows a value that the common type cannot represent.
    """
    columns = _ByColumn(schemas, values)
    order = [n for n in CANONICAL if n in columns.names]
    order += [n for n in columns.names if n not in CANONICAL]
    types, without_values = {}, set()
    for name in order:
        try:
            types[name], without = columns.type_of(name)
        except SchemaError:
            if needed is None or name in needed:
                raise
        else:
            without_values |= {(path, name) for path in without}
    return types, without_values


class _ByColumn:
    """The types of each column over the shards; shards with the same schema object count once.

    Parameters
    ----------
    schemas : mapping of path to (mapping of frame's column name to Arrow type)
    values : StoredValues
    """

    def __init__(
        self, schemas: Mapping[str, Mapping[str, pa.DataType]], values: StoredValues
    ) -> None:
        self._schemas, self._values = schemas, values
        self._distinct: dict[int, Mapping[str, pa.DataType]] = {}
        self._first: dict[int, str] = {}
        self._empty: list[str] = []
        for path, schema in schemas.items():
            if not values.has_rows(path):
                self._empty.append(path)
            elif id(schema) not in self._first:
                self._first[id(schema)] = path
            self._distinct[id(schema)] = schema
        self.names = list(dict.fromkeys(name for s in self._distinct.values() for name in s))

    def type_of(self, name: str) -> tuple[pa.DataType, set[str]]:
        """The type of a column, and the shards whose type was ignored because they have no values.

        Raises
        ------
        SchemaError
        """
        types = [schema[name] for schema in self._distinct.values() if name in schema]
        if all(type_ == types[0] and str(type_) == str(types[0]) for type_ in types[1:]):
            valued = [path for path in self._first.values() if name in self._schemas[path]]
            with suppress(SchemaError):  # the statistics of the shards may resolve it
                common = common_type(name, [(path, types[0]) for path in valued[:1]])
                if valued:
                    return common, {path for path in self._empty if name in self._schemas[path]}
        by_shard = [(path, s[name]) for path, s in self._schemas.items() if name in s]
        return _type_of_values(name, by_shard, self._values)


def _type_of_values(
    name: str, by_shard: Sequence[tuple[str, pa.DataType]], values: StoredValues
) -> tuple[pa.DataType, set[str]]:
    """The type of a column, and the shards whose type was ignored because they have no values."""
    without = {path for path, _ in by_shard if not values.has_rows(path)}
    try:
        return _type_that_holds(name, by_shard, without, values), without
    except SchemaError:
        empty = values.without_values(name, (path for path, _ in by_shard)) - without
        if not empty:
            raise
        return _type_that_holds(name, by_shard, without | empty, values), without | empty


def _type_that_holds(
    name: str, by_shard: Sequence[tuple[str, pa.DataType]], without: set[str], values: StoredValues
) -> pa.DataType:
    valued = [pair for pair in by_shard if pair[0] not in without]
    if valued:
        common = common_type(name, valued)
        _check_extremes(name, valued, common, values)
        return common
    try:
        return common_type(name, by_shard)
    except SchemaError:
        return common_type(name, [])


def _check_extremes(
    name: str,
    by_shard: Sequence[tuple[str, pa.DataType]],
    common: pa.DataType,
    values: StoredValues,
) -> None:
    """Raise if the common type cannot represent an extreme of a shard of a different type."""
    if len({str(type_) for _, type_ in by_shard}) == 1:
        return
    narrowed = {path: type_ for path, type_ in by_shard if _may_not_fit(type_, common)}
    for path, extremes in values.extremes(name, narrowed):
        leaves = dict(leaf_types(common))
        for (at, _), leaf_extremes in zip(leaf_types(narrowed[path]), extremes, strict=True):
            if (lost := _first_lost(leaf_extremes, leaves.get(at, leaf_extremes.type))) is not None:
                raise _value_error(name, path, narrowed[path], lost, by_shard, common)


def _may_not_fit(type_: pa.DataType, common: pa.DataType) -> bool:
    """Whether a stored type has 64-bit integers or times that may not fit the common type."""
    if str(type_) == str(common):
        return False
    leaves = dict(leaf_types(common))
    return any(
        holds_wide_integers(leaf)
        and leaf != leaves.get(at, leaf)
        and not pa.types.is_integer(
            leaves[at]
        )  # an integer leaf comes from the canonical column, whatever is stored
        for at, leaf in leaf_types(type_)
    )


def _first_lost(values: pa.Array, type_: pa.DataType) -> str | None:
    for i in range(len(values)):
        try:
            values.slice(i, 1).cast(type_)
        except pa.ArrowInvalid:
            return _shown(values.slice(i, 1))
    return None


def _shown(value: pa.Array) -> str:
    try:
        return value.cast(pa.string())[0].as_py()
    except pa.ArrowInvalid:  # unknown time zone
        return f"{value.cast(pa.int64())[0]} {value.type.unit}"


def _value_error(
    name: str,
    path: str,
    stored: pa.DataType,
    value: str,
    by_shard: Sequence[tuple[str, pa.DataType]],
    common: pa.DataType,
) -> SchemaError:
    others = [pair for pair in by_shard if str(pair[1]) != str(stored)]
    other, type_ = next((pair for pair in others if str(pair[1]) == str(common)), others[0])
    return SchemaError(
        f"Column {name!r} is {stored} with a value of {value} in shard {path} but {type_} in shard "
        f"{other}; no single type holds both exactly. Read them separately, rewrite one, or "
        f"leave the column out with {argument('columns')}."
    )
