"""Read Thrift's compact protocol in compiled code; `thrift` has the slow and obvious functions.

Every read is checked against the end of the bytes, every value takes at least one byte, and nothing
is allocated from a claimed length, so any bytes are read in linear time. A position of -1 means
that the bytes are not Thrift; `thrift.read_struct` refuses the same ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from laion_dask.io.parquet.thrift import MAX_DEPTH

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE = 1, 2, 3, 4, 5, 6, 7
BINARY, LIST, SET, STRUCT = 8, 9, 10, 12


@njit(nogil=True)
def varint(content, at, end):
    value, shift = np.uint64(0), np.uint64(0)
    while at < end:
        byte = np.uint64(content[at])
        at += 1
        if shift == np.uint64(63) and byte > np.uint64(1):
            break
        value |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return value, at
        shift += np.uint64(7)
    return value, -1


@njit(nogil=True)
def whole(content, at, end, kind):
    """An integer; a byte is a number from 0 to 255."""
    if kind == BYTE:
        return (np.int64(content[at]), at + 1) if at < end else (np.int64(0), -1)
    value, at = varint(content, at, end)
    return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at


@njit(nogil=True)
def read_field(content, at, end, number, stack):
    """The type and number of the next field, and the position of its value; type 0 at the end.

    A number that does not follow from the last one in a byte, which no writer of Parquet needs and
    readers treat differently, is noted in the last row of the stack.
    """
    if at < 0 or at >= end:
        return 0, number, -1
    kind, step = np.int64(content[at] & 15), np.int64(content[at] >> 4)
    at += 1
    if kind != 0:
        if step:
            number += step
        else:
            stack[MAX_DEPTH + 7, 0] = 1
            number, at = whole(content, at, end, np.int64(I16))
    return kind, number, at


@njit(nogil=True)
def binary(content, at, end):
    """The start and the end of a value's bytes."""
    length, at = varint(content, at, end)
    if at < 0 or length > np.uint64(end - at):
        return at, -1
    return at, at + np.int64(length)


@njit(nogil=True)
def list_head(content, at, end):
    """The type and the number of elements, and the position of the first."""
    if at >= end:
        return 0, 0, -1
    kind, length = np.int64(content[at] & 15), np.uint64(content[at] >> 4)
    at += 1
    if length == np.uint64(15):
        length, at = varint(content, at, end)
    if at < 0 or length > np.uint64(end - at) or kind > STRUCT:
        return 0, 0, -1
    return kind, np.int64(length), at


@njit(nogil=True)
def skip(content, at, end, kind, depth, stack):
    """The position after a value of a struct at a depth; not for booleans, which have no bytes."""
    top = 0
    while True:
        if kind in (I16, I32, I64):
            _, at = varint(content, at, end)
        elif kind == BINARY:
            _, at = binary(content, at, end)
        elif kind in (TRUE, FALSE, BYTE):
            at += 1
        elif kind == DOUBLE:
            at += 8
        elif kind in (LIST, SET) and depth <= MAX_DEPTH:
            element, length, at = list_head(content, at, end)
            stack[top, 0], stack[top, 1], stack[top, 2] = depth, element, length
            top += 1
        elif kind == STRUCT and depth < MAX_DEPTH:
            stack[top, 0], stack[top, 1], stack[top, 2] = depth + 1, 0, -1
            top += 1
        else:
            return -1
        if at < 0 or at > end:
            return -1
        kind, depth, top, at = _next(content, at, end, top, stack)
        if at < 0 or top == 0:
            return at


@njit(nogil=True)
def _next(content, at, end, top, stack):
    """The type and the depth of the next value inside the open structs and lists."""
    while top > 0:
        depth, kind, left = stack[top - 1, 0], stack[top - 1, 1], stack[top - 1, 2]
        if left > 0:
            stack[top - 1, 2] -= 1
            return kind, depth + 1, top, at
        if left == 0:
            top -= 1
            continue
        kind, _, at = read_field(content, at, end, depth, stack)
        if at < 0:
            return 0, 0, top, -1
        if kind == 0:
            top -= 1
        elif kind != TRUE and kind != FALSE:
            return kind, depth, top, at
    return 0, 0, 0, at


@njit(nogil=True)
def is_odd(stack):
    """Whether `read_field` noted anything since the last call."""
    odd = stack[MAX_DEPTH + 7, 0] != 0
    stack[MAX_DEPTH + 7, 0] = 0
    return odd
