"""The common type in which the keys of both sides of a join are compared, and conversion to it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import JoinError

#: The limit up to which float64 represents every integer exactly.
_LARGEST_EXACT = 2**53


def common_key_type(name: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """The type in which the keys of two tables are compared.

    Integers of any width are compared by value, text by its bytes. Floats may represent integers,
    because pandas stores integers with nulls as floats; `to_key_type` checks every value.

    Raises
    ------
    JoinError
        When no type represents the values of both exactly.
    """
    left, right = _plain(left), _plain(right)
    if pa.types.is_null(left) or pa.types.is_null(
        right
    ):  # object columns, whose types are known only from the values
        left, right = (right, right) if pa.types.is_null(left) else (left, left)
    numbers = [t for t in (left, right) if pa.types.is_integer(t) or pa.types.is_floating(t)]
    if len(numbers) == 2 and any(map(pa.types.is_integer, numbers)):
        return pa.uint64() if any(map(pa.types.is_unsigned_integer, numbers)) else pa.int64()
    for is_of, common in ((_is_text, pa.large_string()), (_is_binary, pa.large_binary())):
        if is_of(left) and is_of(right):
            return common
    raise JoinError(
        f"The key {name!r} is {left} in the frame and {right} in the scores. Expected integers in "
        "both, or strings in both. Convert one of them exactly, for instance with astype, or join "
        "on another column."
    )


def _plain(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _is_text(type_: pa.DataType) -> bool:
    return (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


def _is_binary(type_: pa.DataType) -> bool:
    return (
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_fixed_size_binary(type_)
    )


def to_key_type(column: pa.ChunkedArray, type_: pa.DataType, name: str) -> pa.ChunkedArray:
    """Convert a key to the common type; null, NaN and values that do not fit become null.

    Raises
    ------
    JoinError
        When a value is a float that is not an integer up to 2^53, or has a different type.
    """
    column = column.cast(_plain(column.type))
    if pa.types.is_floating(column.type) and pa.types.is_integer(type_):
        column = _whole_numbers(column.cast(pa.float64()), name)
    if pa.types.is_unsigned_integer(type_) and pa.types.is_signed_integer(column.type):
        column = pc.if_else(pc.less(column, 0), pa.scalar(None, column.type), column)
    if pa.types.is_null(column.type) or common_key_type(name, column.type, type_) == type_:
        return column.cast(type_)
    raise JoinError(
        f"The key {name!r} should be {type_} according to the frame's meta, but is {column.type} "
        "in one partition. Pass its true dtype as meta= where the column is created."
    )


def _whole_numbers(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    is_integer = pc.equal(pc.trunc(column), column)
    exact = pc.and_(is_integer, pc.less_equal(pc.abs(column), float(_LARGEST_EXACT)))
    if pc.all(exact).as_py() is False:
        value = column.filter(pc.invert(exact))[0].as_py()
        raise JoinError(
            f"The key {name!r} is stored as float64 with a value of {value!r}, but floats only "
            "hold whole numbers up to 2^53 exactly. Store the key as int64 (with nulls, 'Int64' in "
            "pandas), or join on another column."
        )
    return column.cast(pa.int64())
