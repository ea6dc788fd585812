"""Read the structs of a column chunk in compiled code; see `footer_kernel`.

Field numbers are those of ``parquet.thrift``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from laion_dask.io.parquet.footer_columns import (
    CODEC,
    HIGH_AT,
    IN_OTHER_FILE,
    LOW_AT,
    N_NULLS,
    N_VALUES,
    PATH_AT,
    PATH_END,
    SIZE,
    START,
)
from laion_dask.io.parquet.thrift_kernel import (
    BINARY,
    BYTE,
    FALSE,
    I32,
    I64,
    LIST,
    SET,
    STRUCT,
    TRUE,
    binary,
    list_head,
    read_field,
    skip,
    whole,
)

#: Values that are only used while a chunk is read.
_DICTIONARY, _SEEN, _WRONG = 16, 17, 18

#: Fields of ColumnMetaData that each reader requires, as bits.
_READ = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9
_REQUIRED = _READ | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7
#: Optional fields, which must have their type if they are present.
_OPTIONAL = 1 << 11 | 1 << 12
#: Fields with structs whose own fields are not checked here.
_UNCHECKED = 1 << 8 | 1 << 17


@njit(nogil=True)
def _path(content, at, end, stack, chunk):
    """A list of names; any other list is a path of the wrong type."""
    chunk[PATH_AT] = at
    kind, length, names = list_head(content, at, end)
    at = skip(content, at, end, np.int64(LIST), np.int64(5), stack)
    chunk[PATH_END] = at
    return at, names >= 0 and kind == BINARY and length > 0


@njit(nogil=True)
def _statistics(content, at, end, stack, chunk):
    number = 0
    chunk[N_NULLS], chunk[LOW_AT], chunk[HIGH_AT] = -1, -1, -1
    is_right = True
    while True:
        kind, number, at = read_field(content, at, end, number, stack)
        if at < 0 or kind == 0:
            return at, is_right
        is_flag = kind in (TRUE, FALSE)
        if number == 3:
            chunk[N_NULLS], is_right = -1, BYTE <= kind <= I64
            if is_right:
                n_nulls, at = whole(content, at, end, kind)
                chunk[N_NULLS] = max(n_nulls, -1)
                continue
        elif number == 5 or number == 6:
            column = HIGH_AT if number == 5 else LOW_AT
            chunk[column] = -1
            if kind == BINARY:
                start, at = binary(content, at, end)
                chunk[column], chunk[column + 1] = start, at - start
                continue
        if not is_flag:
            at = skip(content, at, end, kind, np.int64(6), stack)


@njit(nogil=True)
def _column_of(number):
    """Where an integer of ColumnMetaData is stored; `_WRONG` if it is not."""
    if number == 4:
        return CODEC
    if number == 5:
        return N_VALUES
    if number == 7:
        return SIZE
    if number == 9:
        return START
    return _DICTIONARY if number == 11 else _WRONG


@njit(nogil=True)
def _encodings(content, at, end, stack):
    """The position after PageEncodingStats; whether each has its three fields."""
    kind, length, at = list_head(content, at, end)
    if at < 0:
        return -1, False
    if kind != STRUCT:
        for _ in range(length):
            if at >= 0:
                at = skip(content, at, end, kind, np.int64(6), stack)
        return at, False
    is_plain = True
    for _ in range(length):
        number, seen = 0, 0
        while True:
            kind, number, at = read_field(content, at, end, number, stack)
            if at < 0:
                return -1, False
            if kind == 0:
                break
            seen |= 1 << number if kind == I32 and 0 < number < 4 else 1
            if kind != TRUE and kind != FALSE:
                at = skip(content, at, end, kind, np.int64(7), stack)
        is_plain = is_plain and seen == 14
    return at, is_plain


@njit(nogil=True)
def _sizes(content, at, end, stack):
    """The position after SizeStatistics; whether its lists have the type that readers assume."""
    number, is_plain = 0, True
    while True:
        kind, number, at = read_field(content, at, end, number, stack)
        if at < 0 or kind == 0:
            return at, is_plain
        if kind in (LIST, SET):
            is_plain = is_plain and at < end and content[at] & 15 == I64
        if kind not in (TRUE, FALSE):
            at = skip(content, at, end, kind, np.int64(6), stack)


@njit(nogil=True)
def _has_type(content, at, end, number, kind):
    """Whether a field that is not stored has its type; false for the fields that are stored."""
    if number == 2:
        return kind == LIST and at < end and content[at] & 15 == I32
    if number == 1 or number == 6:
        return kind == (I32 if number == 1 else I64)
    if number in (3, 12, 13, 16):
        return False
    return _column_of(number) == _WRONG


@njit(nogil=True)
def _metadata(content, at, end, stack, chunk):
    """ColumnMetaData. Whether `column_chunks` accepts it, and whether every reader does."""
    number, seen, wrong, is_plain = 0, 0, 0, True
    chunk[SIZE], chunk[N_NULLS], chunk[LOW_AT], chunk[HIGH_AT], chunk[_DICTIONARY] = (
        -1,
        -1,
        -1,
        -1,
        0,
    )
    while True:
        kind, next_number, at = read_field(content, at, end, number, stack)
        if at < 0:
            return -1, False, False
        if kind == 0:
            break
        is_plain = is_plain and next_number > number
        number = next_number
        bit = 1 << number if 0 < number < 60 else 0
        is_right, is_number = True, BYTE <= kind <= I64
        if number == 3 and kind in (LIST, SET):
            at, is_right = _path(content, at, end, stack, chunk)
            is_plain = is_plain and kind == LIST
        elif number == 12 and kind == STRUCT:
            at, is_right = _statistics(content, at, end, stack, chunk)
        elif number == 13 and kind == LIST:
            at, is_right = _encodings(content, at, end, stack)
        elif number == 16 and kind == STRUCT:
            at, is_right = _sizes(content, at, end, stack)
        elif is_number and _column_of(number) != _WRONG:
            chunk[_column_of(number)], at = whole(content, at, end, kind)
            is_plain = is_plain and kind == (I32 if number == 4 else I64)
        else:
            is_right = _has_type(content, at, end, number, kind)
            if kind != TRUE and kind != FALSE:
                at = skip(content, at, end, kind, np.int64(5), stack)
        seen = seen | bit if is_right else seen & ~bit
        wrong = wrong & ~bit if is_right else wrong | bit
    if chunk[_DICTIONARY] != 0 and chunk[_DICTIONARY] < chunk[START]:
        chunk[START] = chunk[_DICTIONARY]
    is_accepted = seen & _READ == _READ and wrong & _OPTIONAL == 0
    is_plain = is_plain and seen & _REQUIRED == _REQUIRED and wrong == 0
    return at, is_accepted, is_plain and seen & _UNCHECKED == 0


@njit(nogil=True)
def read_chunk(content, at, end, stack, chunk):
    """ColumnChunk. Whether it is accepted, and whether it is plain, as `_metadata`."""
    number, has_offset, is_accepted, is_plain = 0, False, False, True
    chunk[IN_OTHER_FILE] = 0
    while True:
        kind, next_number, at = read_field(content, at, end, number, stack)
        if at < 0 or kind == 0:
            return at, is_accepted, is_plain and has_offset and is_accepted
        is_plain = is_plain and next_number > number and not 8 <= next_number <= 9  # encrypted
        number = next_number
        if number == 1:
            chunk[IN_OTHER_FILE] = 1
            is_plain = is_plain and kind == BINARY
        elif number == 2:
            has_offset = kind == I64
        elif number == 3:
            is_accepted = False
            if kind == STRUCT:
                at, is_accepted, is_plain_too = _metadata(content, at, end, stack, chunk)
                is_plain = is_plain and is_plain_too
                continue
        if kind != TRUE and kind != FALSE:
            at = skip(content, at, end, kind, np.int64(4), stack)
