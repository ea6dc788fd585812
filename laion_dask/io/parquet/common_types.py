"""The Arrow types of a column in many shards: the type in a frame, and the common type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

_t = pa.types
#: Digits of the largest 64-bit integer.
_INTEGER_DIGITS = 20
_UNITS = ("s", "ms", "us", "ns")


def frame_type(type_: pa.DataType) -> pa.DataType:
    """The type in a frame of a stored column: without dictionaries, views and extensions.

    UUIDs become text and JSON remains text; any other extension becomes its storage type.
    """
    if _t.is_dictionary(type_):
        return frame_type(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        known = {"arrow.uuid": pa.large_string(), "arrow.bool8": pa.bool_()}
        return known.get(type_.extension_name) or frame_type(type_.storage_type)
    if _t.is_string_view(type_):
        return pa.large_string()
    if _t.is_binary_view(type_):
        return pa.large_binary()
    if _t.is_decimal32(type_) or _t.is_decimal64(type_):
        return pa.decimal128(type_.precision, type_.scale)
    if not _is_nested(type_):
        return type_
    inside = [type_.field(i).with_type(frame_type(f.type)) for i, f in enumerate(_fields(type_))]
    if [f.type for f in inside] == [f.type for f in _fields(type_)] and not _is_special_list(type_):
        return type_
    if _t.is_struct(type_):
        return pa.struct(inside)
    if _t.is_map(type_):
        return pa.map_(inside[0].type.field(0).type, inside[0].type.field(1).type)
    return pa.large_list(inside[0].type)


def leaf_types(type_: pa.DataType) -> list[tuple[tuple[str, ...], pa.DataType]]:
    """The types of a column's leaf values inside lists and structs, in file order.

    Returns
    -------
    list of (path, type)
        The path consists of the names of struct fields, and ``"0"`` for the values of a list.
    """
    if isinstance(type_, pa.BaseExtensionType):
        return leaf_types(type_.storage_type)
    if type_.num_fields == 0:
        return [((), type_)]
    is_struct = _t.is_struct(type_)
    return [
        ((field.name if is_struct else str(i), *path), leaf)
        for i, field in enumerate(_fields(type_))
        for path, leaf in leaf_types(field.type)
    ]


def without_null_keys(type_: pa.DataType) -> pa.DataType:
    """The type with map keys of type null replaced by text.

    Keys cannot be null: Arrow aborts the process when it casts to a map with null keys.
    """
    if not _holds_null_keys(type_):
        return type_
    if _t.is_struct(type_):
        return pa.struct([f.with_type(without_null_keys(f.type)) for f in _fields(type_)])
    if not _t.is_map(type_):
        return pa.large_list(without_null_keys(type_.value_type))
    key = pa.large_string() if _t.is_null(type_.key_type) else without_null_keys(type_.key_type)
    return pa.map_(key, without_null_keys(type_.item_type))


def _holds_null_keys(type_: pa.DataType) -> bool:
    has_null_key = _t.is_map(type_) and _t.is_null(type_.key_type)
    return has_null_key or any(_holds_null_keys(f.type) for f in _fields(type_))


def is_uuid(type_: pa.DataType) -> bool:
    """Whether a stored type is UUID."""
    return isinstance(type_, pa.BaseExtensionType) and type_.extension_name == "arrow.uuid"


def holds_durations(type_: pa.DataType) -> bool:
    """Whether values of a type are or contain durations."""
    return _t.is_duration(type_) or any(holds_durations(f.type) for f in _fields(type_))


def holds_intervals(type_: pa.DataType) -> bool:
    """Whether values of a type are or contain intervals."""
    return _t.is_interval(type_) or any(holds_intervals(f.type) for f in _fields(type_))


def family(type_: pa.DataType) -> str:
    """The family of an Arrow type; shards may mix types of the same family."""
    type_ = frame_type(type_)
    if _t.is_null(type_):
        return "null"
    if _t.is_boolean(type_):
        return "boolean"
    if _t.is_integer(type_):
        return "integer"
    if _t.is_floating(type_):
        return "float"
    if _t.is_string(type_) or _t.is_large_string(type_):
        return "string"
    if _t.is_decimal(type_):
        return "decimal"
    if _is_binary(type_):
        return "binary"
    if _is_list(type_):
        return f"list of {family(type_.value_type)}"
    return str(type_)


def merged(types: Sequence[pa.DataType]) -> pa.DataType | None:
    """The narrowest type that represents the values of all given types exactly, or None.

    Examples
    --------
    >>> merged([pa.timestamp("ms"), pa.timestamp("us")])
    TimestampType(timestamp[us])
    >>> merged([pa.int64(), pa.string()]) is None
    True
    """
    distinct: list[pa.DataType] = []
    for type_ in map(frame_type, types):
        # Compared with ==, which ignores the name of a list's element field.
        if not _t.is_null(type_) and type_ not in distinct:
            distinct.append(type_)
    if not distinct:
        return pa.null()
    for is_of, merge in _MERGES:
        if all(is_of(type_) for type_ in distinct):
            return merge(distinct)
    return distinct[0] if len(distinct) == 1 else None


def _numbers(types: Sequence[pa.DataType]) -> pa.DataType | None:
    if all(map(_t.is_integer, types)):
        if len(types) == 1 or pa.uint64() not in types:
            return types[0] if len(types) == 1 else pa.int64()
        return pa.uint64() if all(map(_t.is_unsigned_integer, types)) else None
    narrow = all(_t.is_floating(t) and t.bit_width < 64 for t in types)
    return pa.float32() if narrow else pa.float64()


def _decimals(types: Sequence[pa.DataType]) -> pa.DataType | None:
    """A decimal type with enough digits, before and after the point, for all given numbers."""
    sizes = [
        (t.precision - t.scale, t.scale) if _t.is_decimal(t) else (_INTEGER_DIGITS, 0)
        for t in types
    ]
    integer_digits, scale = (max(part) for part in zip(*sizes, strict=True))
    if integer_digits + scale > 76:
        return None
    return (pa.decimal128 if integer_digits + scale <= 38 else pa.decimal256)(
        integer_digits + scale, scale
    )


def _binaries(types: Sequence[pa.DataType]) -> pa.DataType:
    return types[0] if len(types) == 1 else pa.large_binary()


def _lists(types: Sequence[pa.DataType]) -> pa.DataType | None:
    if len(types) == 1:
        return types[0]
    inner = merged([t.value_type for t in types])
    return None if inner is None else pa.large_list(inner)


def _structs(types: Sequence[pa.DataType]) -> pa.DataType | None:
    """A struct with the fields of all structs; missing fields are null."""
    fields: dict[str, list[pa.DataType]] = {}
    for type_ in types:
        names = [f.name for f in _fields(type_)]
        if len(set(names)) < len(names):
            return types[0] if len(types) == 1 else None
        for inside in _fields(type_):
            fields.setdefault(inside.name, []).append(inside.type)
    merged_fields = {name: merged(field_types) for name, field_types in fields.items()}
    if None in merged_fields.values():
        return None
    return pa.struct(list(merged_fields.items()))


def _maps(types: Sequence[pa.DataType]) -> pa.DataType | None:
    if len(types) == 1:
        return types[0]
    key, item = merged([t.key_type for t in types]), merged([t.item_type for t in types])
    return None if key is None or item is None else pa.map_(key, item)


def _timestamps(types: Sequence[pa.DataType]) -> pa.DataType | None:
    zones = {t.tz for t in types}
    if len(zones) > 1 and None in zones:  # without a zone, a timestamp is not a point in time
        return None
    return pa.timestamp(_finest(types), types[0].tz if len(zones) == 1 else "UTC")


def _times(types: Sequence[pa.DataType]) -> pa.DataType:
    unit = _finest(types)
    return (pa.time32 if unit in ("s", "ms") else pa.time64)(unit)


def _finest(types: Sequence[pa.DataType]) -> str:
    return max((t.unit for t in types), key=_UNITS.index)


def _fields(type_: pa.DataType) -> list[pa.Field]:
    return [type_.field(i) for i in range(type_.num_fields)]


def _is_nested(type_: pa.DataType) -> bool:
    return type_.num_fields > 0


def _is_special_list(type_: pa.DataType) -> bool:
    is_view = _t.is_list_view(type_) or _t.is_large_list_view(type_)
    return is_view or _t.is_fixed_size_list(type_)


def _is_list(type_: pa.DataType) -> bool:
    return _t.is_list(type_) or _t.is_large_list(type_)


def _is_binary(type_: pa.DataType) -> bool:
    return _t.is_binary(type_) or _t.is_large_binary(type_) or _t.is_fixed_size_binary(type_)


def _is_string(type_: pa.DataType) -> bool:
    return _t.is_string(type_) or _t.is_large_string(type_)


#: Pairs of a predicate that all types must satisfy and a function that merges them, in order.
_MERGES: tuple[tuple[Callable, Callable], ...] = (
    (_is_string, lambda types: pa.large_string()),
    (_t.is_boolean, lambda types: pa.bool_()),
    (lambda t: _t.is_integer(t) or _t.is_floating(t), _numbers),
    (lambda t: _t.is_integer(t) or _t.is_decimal(t), _decimals),
    (_is_binary, _binaries),
    (_is_list, _lists),
    (_t.is_struct, _structs),
    (_t.is_map, _maps),
    (_t.is_timestamp, _timestamps),
    (_t.is_time, _times),
    (_t.is_duration, lambda types: pa.duration(_finest(types))),
    (_t.is_date, lambda types: types[0] if len(types) == 1 else pa.date64()),
)
