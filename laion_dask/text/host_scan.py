"""The scan that finds the authority of each URL: the text between ``//`` and the next slash.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the functions create no
arrays. Import this module only from `laion_dask.text.hosts`. Positions are unsigned, because numba
tests signed indices for negative values.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Codes of rows without a name: null, and a URL that does not start with http:// or https://.
NULL, OTHER = -1, -2
_0, _1, _8 = np.uint64(0), np.uint64(1), np.uint64(8)
_CODE, _TAG = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFF00000000)
# Odd constants with well-distributed bits: 2^64 over the golden ratio, and one of xxHash64.
_K0, _K1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_32 = np.uint64(32)
#: Eight slashes; 1 in each byte; the highest bit of each byte.
_SLASHES, _ONES = np.uint64(0x2F2F2F2F2F2F2F2F), np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)


@njit(inline="always")
def _word(data, at):
    """Load eight bytes as one integer; compiles to a single load."""
    value = np.uint64(data[at])
    value |= np.uint64(data[at + np.uint64(1)]) << np.uint64(8)
    value |= np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
    value |= np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
    value |= np.uint64(data[at + np.uint64(4)]) << np.uint64(32)
    value |= np.uint64(data[at + np.uint64(5)]) << np.uint64(40)
    value |= np.uint64(data[at + np.uint64(6)]) << np.uint64(48)
    return value | np.uint64(data[at + np.uint64(7)]) << np.uint64(56)


@njit(inline="always")
def _hash(data, begin, end):
    """Hash a range of bytes by multiplication, eight bytes at a time."""
    value, at = end - begin, begin
    while at + _8 <= end:
        value = (value ^ _word(data, at)) * _K0
        value ^= value >> _32
        at += _8
    remaining = _0
    while at < end:
        remaining = (remaining << _8) | np.uint64(data[at])
        at += _1
    value = (value ^ remaining) * _K1
    return value ^ (value >> _32)


@njit(inline="always")
def _equal(one, at, two, begin, size):
    i = _0
    while i + _8 <= size:
        if _word(one, at + i) != _word(two, begin + i):
            return False
        i += _8
    while i < size:
        if one[at + i] != two[begin + i]:
            return False
        i += _1
    return True


@njit(inline="always")
def _has_slash(word):
    """Whether one of eight bytes is a slash (Warren, Hacker's Delight, 2nd ed., section 6-1)."""
    other = word ^ _SLASHES
    return (other - _ONES) & ~other & _TOPS != _0


@njit(inline="always")
def _begin(data, at, stop):
    """Start of the name after http:// or https://; 0 if the URL does not start with either."""
    begin = at + np.uint64(7)
    if begin > stop or data[at] != 104 or data[at + _1] != 116:
        return _0
    if data[at + np.uint64(2)] != 116 or data[at + np.uint64(3)] != 112:
        return _0
    if data[at + np.uint64(4)] == 115:
        begin += _1
    if begin > stop or data[begin - np.uint64(3)] != 58:
        return _0
    return begin if data[begin - np.uint64(2)] == 47 and data[begin - _1] == 47 else _0


def rehash(names, ends, slots, state):
    """Enter all names into an empty, larger table; the parameters are those of `scan`."""
    mask = np.uint64(len(slots) - 1)
    for code in range(state[1]):
        value = _hash(names, np.uint64(ends[code]), np.uint64(ends[code + 1]))
        slot = value & mask
        while slots[slot] != _0:
            slot = (slot + _1) & mask
        slots[slot] = (value & _TAG) | np.uint64(code + 1)
    return 0


def scan(data, offsets, nulls, codes, slots, names, ends, state):
    """Encode the rows of one chunk as positions in a growing table of names.

    Stops early if the table is half full: enter the names into a larger one, and call it again.

    Parameters
    ----------
    data : uint8 array
    offsets : (n + 1,) int64 array
    nulls : (n,) bool array, empty if there are no nulls
    codes : (n,) int32 array
        Output: positions in ``names``, `NULL` or `OTHER`.
    slots : uint64 array
        Hash table of the names; its length is a power of 2. An entry is 0, or the upper half of the
        hash combined with the code plus one.
    names, ends : uint8 and int64 arrays
        Output: the concatenated bytes of the names, and the end of each; ``ends[0]`` is 0.
    state : (2,) int64 array
        Input and output: the next row, and the number of names so far.

    Returns
    -------
    int
        The next row; the number of rows if all are encoded.
    """
    n_rows, n_names = len(offsets) - 1, state[1]
    mask = np.uint64(len(slots) - 1)
    row = state[0]
    while row < n_rows and 2 * n_names <= len(slots):
        if len(nulls) and nulls[row]:
            codes[row] = NULL
            row += 1
            continue
        stop = np.uint64(offsets[row + 1])
        begin = _begin(data, np.uint64(offsets[row]), stop)
        if begin == _0:
            codes[row] = OTHER
            row += 1
            continue
        end = begin
        while end + _8 <= stop and not _has_slash(_word(data, end)):
            end += _8
        while end < stop and data[end] != 47:
            end += _1
        size = end - begin
        value = _hash(data, begin, end)
        slot = value & mask
        code = -1
        while code < 0:
            entry = slots[slot]
            if entry == _0:
                code = n_names
                slots[slot] = (value & _TAG) | np.uint64(code + 1)
                first = np.uint64(ends[code])
                for i in range(size):
                    names[first + np.uint64(i)] = data[begin + np.uint64(i)]
                n_names += 1
                ends[n_names] = np.int64(first + size)
            elif entry & _TAG == value & _TAG:
                code = np.int64(entry & _CODE) - 1
                first = np.uint64(ends[code])
                same = np.uint64(ends[code + 1]) - first == size
                if not (same and _equal(names, first, data, begin, size)):
                    code = -1
            slot = (slot + _1) & mask
        codes[row] = code
        row += 1
    state[0], state[1] = row, n_names
    return row
