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
    try:
        while True:
            head = content[at]
            at += 1
            kind = head & 15
            if kind == 0:
                return fields, at
            if head > 15:
                number += head >> 4
            else:
                number, at = _whole_number(content, at)
            if kind in _WHOLE_NUMBERS:
                byte = content[at]
                if byte < 0x80:  # most numbers
                    fields[number] = (byte >> 1) ^ -(byte & 1)
                    at += 1
                else:
                    fields[number], at = _whole_number(content, at)
            elif kind == _BINARY:
                length, at = _varint(content, at)
                fields[number], at = _take(content, at, length)
            elif kind in (_TRUE, _FALSE):
                fields[number] = kind == _TRUE
            else:
                fields[number], at = _value(content, at, kind, depth)
    except IndexError:
        raise NotThrift("a struct is truncated") from None


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
    if at >= len(content):
        raise NotThrift("a list is truncated")
    length, kind = content[at] >> 4, content[at] & 15
    at += 1
    if length == 15:
        length, at = _varint(content, at)
    if kind > _STRUCT:
        raise NotThrift(f"unknown type {kind}")
    if length > len(content) - at:
        raise NotThrift("a list is truncated")
    values: list = []
    if kind == _STRUCT:
        for _ in range(length):
            fields, at = read_struct(content, at, depth + 2)
            values.append(fields)
        return values, at
    if kind in _WHOLE_NUMBERS and (numbers := content[at : at + length]).isascii():
        return [(byte >> 1) ^ -(byte & 1) for byte in numbers], at + length
    for _ in range(length):
        value, at = _value(content, at, kind, depth + 1)
        values.append(value)
    return values, at


def _take(content: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(content):
        raise NotThrift("a value is truncated")
    return content[at : at + length], at + length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    try:
        value = byte = content[at]
        at += 1
        if byte >= 0x80:
            value &= 0x7F
            for shift in range(7, 70, 7):
                byte = content[at]
                at += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
    except IndexError:
        raise NotThrift("a number is truncated") from None
    if value >> 64 or byte >= 0x80:
        raise NotThrift("a number has more than 64 bits")
    return value, at


def _whole_number(content: bytes, at: int) -> tuple[int, int]:
    """A signed integer in zigzag encoding."""
    value, at = _varint(content, at)
    return (value >> 1) ^ -(value & 1), at
