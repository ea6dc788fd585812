"""The Protocol Buffers wire format, as far as needed to read messages with known field numbers.

Field numbers and types are those of the ``.proto`` files of TensorFlow 2; the encoding is described
in "Encoding", protobuf.dev. Malformed input raises a ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Iterator

Value = int | memoryview


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned integer in groups of seven bits, low ones first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("an integer extends past the end")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
    raise ValueError("an integer of more than ten bytes")


def varints(data: memoryview) -> list[int]:
    """A packed list of integers."""
    values, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        values.append(value)
    return values


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a message in order: number, and an integer or bytes."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        match key & 7:
            case 0:
                value, at = varint(message, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = varint(message, at)
            case 5:
                size = 4
            case kind:
                raise ValueError(f"a field of kind {kind}")
        if size > len(message) - at:
            raise ValueError("a field extends past the end")
        yield key >> 3, message[at : at + size]
        at += size


def every(message: memoryview, number: int) -> list[memoryview]:
    """All messages, strings or bytes under a field number."""
    values: list[memoryview] = []
    for key, value in fields(message):
        if key == number:
            if isinstance(value, int):
                raise ValueError(f"field {number} is an integer, not bytes")
            values.append(value)
    return values


def message(parent: memoryview, number: int) -> memoryview:
    """The message, string or bytes under a field number; the last one, as the format requires."""
    messages = every(parent, number)
    if not messages:
        raise ValueError(f"field {number} is missing")
    return messages[-1]


def text(parent: memoryview, number: int) -> str:
    """The string under a field number; empty if missing, as in proto3."""
    texts = every(parent, number)
    return str(texts[-1], "utf-8") if texts else ""


def number(parent: memoryview, field: int) -> int:
    """The integer under a field number; 0 if missing, as in proto3."""
    value = 0
    for key, field_value in fields(parent):
        if key == field:
            if not isinstance(field_value, int):
                raise ValueError(f"field {field} is bytes, not an integer")
            value = field_value
    return value
