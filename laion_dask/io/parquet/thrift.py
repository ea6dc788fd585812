"""Read structs in Thrift's compact protocol, the encoding of Parquet's page headers.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import struct

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_WHOLE_NUMBERS = (4, 5, 6)
#: Maximum nesting of structs; a page header has three levels.
MAX_DEPTH = 16


class NotThrift(ValueError):
    """The bytes are not a complete struct."""


def read_struct(content: bytes, at: int = 0, depth: int = 0) -> tuple[dict, int]:
    """The struct at a position, as a dict by field number, and the position after the struct.

    Raises
    ------
    NotThrift
        When the bytes at ``at`` are not a struct.
    """
    if depth > MAX_DEPTH:
        raise NotThrift("structs are nested too deeply")
    fields: dict = {}
    number = 0
    while True:
        if at >= len(content):
            raise NotThrift("a struct is truncated")
        kind, step = content[at] & 15, content[at] >> 4
        at += 1
        if kind == 0:
            return fields, at
        if step:
            number += step
        else:
            number, at = _whole_number(content, at)
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _value(content, at, kind, depth)


def read_list(content: bytes, at: int) -> list:
    """The elements of a list whose head is at a position.

    Raises
    ------
    NotThrift
        When the bytes at ``at`` are not a list.
    """
    return _sequence(content, at, 0)[0]


def end_of_list(content: bytes, at: int) -> int:
    """The position after the list at a position. Raises as `read_struct`."""
    return _sequence(content, at, 0)[1]


def end_of_number(content: bytes, at: int) -> int:
    """The position after the number at a position. Raises as `read_struct`."""
    return _varint(content, at)[1]


def _value(content: bytes, at: int, kind: int, depth: int):
    if kind in _WHOLE_NUMBERS:
        return _whole_number(content, at)
    if kind == _STRUCT:
        return read_struct(content, at, depth + 1)
    if kind == _BINARY:
        length, at = _varint(content, at)
        return _take(content, at, length)
    if kind == _DOUBLE:
        value, at = _take(content, at, 8)
        return struct.unpack("<d", value)[0], at
    if kind in (_TRUE, _FALSE, _BYTE):  # in a list, a boolean takes a byte
        value, at = _take(content, at, 1)
        return value[0], at
    if kind in (_LIST, _SET):
        return _sequence(content, at, depth)
    raise NotThrift(f"unknown type {kind}")


def _sequence(content: bytes, at: int, depth: int) -> tuple[list, int]:
    if depth > MAX_DEPTH:
        raise NotThrift("lists are nested too deeply")
    head, at = _take(content, at, 1)
    length, kind = head[0] >> 4, head[0] & 15
    if length == 15:
        length, at = _varint(content, at)
    if kind > _STRUCT:
        raise NotThrift(f"unknown type {kind}")
    if length > len(content) - at:
        raise NotThrift("a list is truncated")
    values = []
    for _ in range(length):
        value, at = _value(content, at, kind, depth + 1)
        values.append(value)
    return values, at


def _take(content: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(content):
        raise NotThrift("a value is truncated")
    return content[at : at + length], at + length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if value >> 64:
            raise NotThrift("a number has more than 64 bits")
        if byte < 0x80:
            return value, at
    raise NotThrift("a number is truncated")


def _whole_number(content: bytes, at: int) -> tuple[int, int]:
    """A signed integer in zigzag encoding."""
    value, at = _varint(content, at)
    return (value >> 1) ^ -(value & 1), at
