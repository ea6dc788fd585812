"""Keys of a join: the type that both sides are compared in, exactly, and the columns in it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import JoinError

#: Beyond it a float64 no longer holds every whole number.
_LARGEST_EXACT = 2**53


def common_key_type(name: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """The type that a key of two tables is compared in.

    Integers of any width compare by value, text by its bytes. A float may stand for an integer,
    as pandas writes integers beside nulls; `comparable` checks every value of it.

    Raises
    ------
    JoinError
        When no type holds the values of both exactly.
    """
    left, right = _plain(left), _plain(right)
    if pa.types.is_null(left) or pa.types.is_null(right):  # objects, of which only values tell
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


def comparable(column: pa.ChunkedArray, type_: pa.DataType, name: str) -> pa.ChunkedArray:
    """A key in its common type; null where it is null or NaN, or no value of that type equals it.

    Raises
    ------
    JoinError
        When a value is a float that is not a whole number of at most 2^53, or of another type.
    """
    column = column.cast(_plain(column.type))
    if pa.types.is_floating(column.type) and pa.types.is_integer(type_):
        column = _whole_numbers(column.cast(pa.float64()), name)
    if pa.types.is_unsigned_integer(type_) and pa.types.is_signed_integer(column.type):
        column = pc.if_else(pc.less(column, 0), pa.scalar(None, column.type), column)
    if pa.types.is_null(column.type) or common_key_type(name, column.type, type_) == type_:
        return column.cast(type_)
    raise JoinError(
        f"The key {name!r} was to be {type_} by the frame's meta, but a partition has "
        f"{column.type}. Give meta= its true dtype where it is made."
    )


def _whole_numbers(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    whole = pc.equal(pc.trunc(column), column)
    exact = pc.and_(whole, pc.less_equal(pc.abs(column), float(_LARGEST_EXACT)))
    if pc.all(exact).as_py() is False:
        value = column.filter(pc.invert(exact))[0].as_py()
        raise JoinError(
            f"The key {name!r} is stored as float64, and a value of it is {value!r}: a float holds "
            "whole numbers exactly up to 2^53 only. Store the key as int64 (pandas: 'Int64' beside "
            "nulls), or join on another column."
        )
    return column.cast(pa.int64())
