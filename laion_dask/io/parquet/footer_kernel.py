"""Walk Parquet footers in compiled code; see `footer_layout`.

Field numbers are those of ``parquet.thrift``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from laion_dask.io.parquet.chunk_kernel import read_chunk
from laion_dask.io.parquet.footer_columns import (
    ACCEPTED,
    BEFORE,
    CHUNKS,
    FIRST_GROUP,
    FIRST_ROW,
    GROUP,
    GROUPS,
    GROUPS_END,
    LEAF,
    N_BEFORE,
    N_CHUNKS,
    N_GROUPS,
    N_ROWS,
    PATH,
    PATH_AT,
    PATH_END,
    PATHS,
    PLAIN,
    ROWS,
    SCHEMA_END,
    STATE,
    SUMMARY,
)
from laion_dask.io.parquet.thrift_kernel import (
    BYTE,
    FALSE,
    I64,
    LIST,
    SET,
    STRUCT,
    TRUE,
    is_odd,
    list_head,
    read_field,
    skip,
    whole,
)

_MOST_ROWS = 1 << 62


@njit(nogil=True)
def _number_path(content, chunks, chunk, leaf, state):
    """Give a path the number that it has in the last row group, if its bytes are the same."""
    if leaf < state[N_BEFORE] and state[CHUNKS] < len(chunks) - 1:
        other = chunks[state[BEFORE] + leaf]
        a, b = chunk[PATH_AT], other[PATH_AT]
        size = chunk[PATH_END] - a
        is_same = other[PATH_END] - b == size
        i = 0
        while is_same and i < size:
            is_same = content[a + i] == content[b + i]
            i += 1
        if is_same:
            chunk[PATH] = other[PATH]
            return
    chunk[PATH] = state[PATHS]
    state[PATHS] += 1


@njit(nogil=True)
def _columns(content, at, end, stack, chunks, state):
    """The chunks of a row group. Whether they are accepted, and whether they are plain."""
    kind, length, at = list_head(content, at, end)
    is_accepted, is_plain = kind == STRUCT or length == 0, kind == STRUCT
    for leaf in range(length):
        if at < 0:
            break
        if kind != STRUCT:
            at = skip(content, at, end, kind, np.int64(3), stack)
            continue
        chunk = chunks[min(state[CHUNKS], len(chunks) - 1)]
        at, is_chunk, is_plain_chunk = read_chunk(content, at, end, stack, chunk)
        is_accepted, is_plain = is_accepted and is_chunk, is_plain and is_plain_chunk
        if is_accepted and at >= 0:
            chunk[GROUP], chunk[FIRST_ROW] = state[GROUPS] - state[FIRST_GROUP], state[ROWS]
            chunk[LEAF] = leaf
            _number_path(content, chunks, chunk, leaf, state)
            state[CHUNKS] += 1
    return at, is_accepted, is_plain


@njit(nogil=True)
def _group(content, at, end, stack, chunks, state):
    """RowGroup. The number of rows, or -1; and whether every reader accepts it."""
    start, paths, number, n_rows = state[CHUNKS], state[PATHS], 0, -1
    has_columns, has_size, is_plain = False, False, True
    while True:
        kind, next_number, at = read_field(content, at, end, number, stack)
        if at < 0 or kind == 0:
            break
        is_plain = is_plain and next_number > number and next_number != 4  # sorting columns
        number = next_number
        if number == 1:
            has_columns = False
            state[CHUNKS], state[PATHS] = start, paths
            if kind in (LIST, SET):
                at, has_columns, are_plain = _columns(content, at, end, stack, chunks, state)
                is_plain = is_plain and are_plain and kind == LIST
                continue
        elif number == 2:
            has_size = kind == I64
        elif number == 3:
            n_rows = -1
            if BYTE <= kind <= I64:
                n_rows, at = whole(content, at, end, kind)
                is_plain = is_plain and kind == I64
                continue
        if kind != TRUE and kind != FALSE:
            at = skip(content, at, end, kind, np.int64(2), stack)
    if n_rows > 0 and not has_columns:
        n_rows = -1
    if n_rows == 0:
        state[CHUNKS], state[PATHS] = start, paths
    elif state[CHUNKS] > start:
        state[BEFORE], state[N_BEFORE] = start, state[CHUNKS] - start
    return at, n_rows, is_plain and has_columns and has_size


@njit(nogil=True)
def _groups(content, at, end, stack, group_rows, chunks, state):
    """The row groups of a file. Whether every reader accepts them."""
    kind, length, at = list_head(content, at, end)
    if at >= 0 and length > 0 and kind != STRUCT:
        return -1, False
    is_plain = kind == STRUCT
    for _ in range(length):
        at, n_rows, is_plain_too = _group(content, at, end, stack, chunks, state)
        if at < 0 or n_rows < 0 or n_rows > _MOST_ROWS - state[ROWS]:
            return -1, False
        if state[GROUPS] < len(group_rows):
            group_rows[state[GROUPS]] = n_rows
        state[GROUPS] += 1
        state[ROWS] += n_rows
        is_plain = is_plain and is_plain_too
    return at, is_plain


@njit(nogil=True)
def _copy(state, source):
    for i in range(STATE):  # numba compiles this much sooner than an assignment of arrays
        state[i] = source[i]


@njit(nogil=True)
def _clear(summary):
    for i in range(SUMMARY):
        summary[i] = 0
    summary[N_ROWS] = -1


@njit(nogil=True)
def _file(content, at, end, stack, group_rows, chunks, state, before, summary):
    """FileMetaData; fills a row of the summary. Whether it was accepted."""
    _copy(before, state)
    number, has_groups, is_plain = 0, False, True
    _clear(summary)
    while True:
        kind, next_number, at = read_field(content, at, end, number, stack)
        if at < 0 or kind == 0:
            break
        is_first = next_number <= 4 or number < 4
        is_plain = is_plain and next_number == number + 1 if is_first else is_plain
        number = next_number
        if number == 4:
            _copy(state, before)
            has_groups = kind in (LIST, SET)
            is_plain = is_plain and kind == LIST
        if number == 4 and has_groups:
            at, are_plain = _groups(content, at, end, stack, group_rows, chunks, state)
            is_plain = is_plain and are_plain
            summary[GROUPS_END] = at
        elif number == 3 and kind == I64:
            summary[N_ROWS], at = whole(content, at, end, kind)
        elif kind not in (TRUE, FALSE):
            at = skip(content, at, end, kind, np.int64(0), stack)
            if number == 2:
                summary[SCHEMA_END] = at
    is_plain = not is_odd(stack) and is_plain and summary[N_ROWS] >= 0
    summary[PLAIN] = is_plain and at <= end - 8
    summary[N_GROUPS] = state[GROUPS] - before[GROUPS]
    summary[N_CHUNKS] = state[CHUNKS] - before[CHUNKS]
    return has_groups and at >= 0


def walk(content, starts, summary, group_rows, chunks, stack, states):
    """Walk many footers. The number of row groups.

    What does not fit the arrays is only counted.

    Parameters
    ----------
    content : (n_bytes,) uint8
        Footers, with the eight bytes that end a file.
    starts : (n_files + 1,) int64
    summary : (n_files, SUMMARY) int64
    group_rows : (n_groups,) int64
        The number of rows of each row group.
    chunks : (n_chunks + 1, WIDTH) int64
        The last row is scratch.
    stack : `STACK` int64
        Scratch; zeros.
    states : (3, STATE) int64
        Zeros; the first row becomes the final counts, the others are scratch.
    """
    state, before = states[0], states[1]
    for i in range(len(summary)):
        _copy(before, state)
        state[FIRST_GROUP], state[ROWS] = state[GROUPS], 0
        is_accepted = _file(
            content,
            starts[i],
            starts[i + 1],
            stack,
            group_rows,
            chunks,
            state,
            states[2],
            summary[i],
        )
        if is_accepted:
            summary[i, ACCEPTED] = 1
        else:
            _clear(summary[i])
            _copy(state, before)
    return state[GROUPS]
