"""The scan that finds the authority of each URL: the text between ``//`` and the next slash.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the functions create no
arrays. Import this module only from `laion_dask.text.host_names`. Positions are unsigned, because
numba tests signed indices for negative values.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from laion_dask.numerics.byte_words import load_eight, load_up_to_eight

#: Codes of rows without a name: null, and a URL that does not start with http:// or https://.
NULL, OTHER = -1, -2
_0, _1, _7, _8 = np.uint64(0), np.uint64(1), np.uint64(7), np.uint64(8)
_CODE, _TAG = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFF00000000)
# Odd constants with well-distributed bits: 2^64 over the golden ratio, and one of xxHash64.
_K0, _K1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_32, _56 = np.uint64(32), np.uint64(56)
#: Eight slashes; 1 in each byte; the highest bit of each byte; the bytes from 7 down to 0.
_SLASHES, _ONES = np.uint64(0x2F2F2F2F2F2F2F2F), np.uint64(0x0101010101010101)
_TOPS, _NUMBERS = np.uint64(0x8080808080808080), np.uint64(0x0001020304050607)
#: "https://" and "http://" as words, and all bytes of a word but the last.
_HTTPS, _HTTP = np.uint64(0x2F2F3A7370747468), np.uint64(0x002F2F3A70747468)
_FIRST_7 = np.uint64(0x00FFFFFFFFFFFFFF)


@njit(inline="always")
def _first(word, size):
    """The first bytes of a word, fewer than eight."""
    return word & ((_1 << (_8 * size)) - _1)


@njit(inline="always")
def _mixed(value, word):
    value = (value ^ word) * _K0
    return value ^ (value >> _32)


@njit(inline="always")
def _finished(value, remaining, size):
    """The hash of a name of ``size`` bytes, whose whole words have been mixed."""
    value = (value ^ remaining ^ (size << _56)) * _K1
    return value ^ (value >> _32)


@njit(inline="always")
def _equal(one, at, two, begin, size):
    """Whether two ranges of bytes are equal; the last word may overlap the one before it."""
    if size < _8:
        return load_up_to_eight(one, at, at + size) == load_up_to_eight(two, begin, begin + size)
    i, last = _0, size - _8
    while i < last:
        if load_eight(one, at + i) != load_eight(two, begin + i):
            return False
        i += _8
    return load_eight(one, at + last) == load_eight(two, begin + last)


@njit(inline="always")
def _slash(word):
    """The highest bit of the first of eight bytes that is a slash; 0 if none is.

    Later bytes may be marked without being one (Warren, Hacker's Delight, 2nd ed., section 6-1).
    """
    other = word ^ _SLASHES
    marks = (other - _ONES) & ~other & _TOPS
    return marks & (~marks + _1)


@njit(inline="always")
def _begin(data, at, stop, can_overrun):
    """Start of the name after http:// or https://; 0 if the URL does not start with either."""
    size = stop - at
    if size < _7:
        return _0
    word = load_eight(data, at) if can_overrun else load_up_to_eight(data, at, min(stop, at + _8))
    if word == _HTTPS and size >= _8:
        return at + _8
    return at + _7 if word & _FIRST_7 == _HTTP else _0


def rehash(names, ends, slots, state):
    """Enter all names into an empty, larger table; the parameters are those of `scan`."""
    mask = np.uint64(len(slots) - 1)
    for code in range(state[1]):
        at, end = np.uint64(ends[code]), np.uint64(ends[code + 1])
        size, value = end - at, _0
        while at + _8 <= end:
            value = _mixed(value, load_eight(names, at))
            at += _8
        value = _finished(value, load_up_to_eight(names, at, end), size)
        slot = value & mask
        while slots[slot] != _0:
            slot = (slot + _1) & mask
        slots[slot] = (value & _TAG) | np.uint64(code + 1)
    return 0


@njit
def _find(data, offsets, nulls, codes, found, row, n, whole):
    """Find the names of ``n`` rows: the parameters are those of `scan`, codes of names are 0."""
    total, block = np.uint64(len(data)), len(found) >> 2
    for i in range(n):
        at, stop = np.uint64(offsets[row + i]), np.uint64(offsets[row + i + 1])
        codes[row + i] = OTHER
        if len(nulls) and nulls[row + i]:
            codes[row + i] = NULL
            continue
        begin = at
        if not whole:
            begin = _begin(data, at, stop, at + _8 <= total)
            if begin == _0:
                continue
        value, end, size = _0, begin, _8
        while size == _8:
            size = min(stop - end, _8)
            fits = end + _8 <= total
            word = load_eight(data, end) if fits else load_up_to_eight(data, end, end + size)
            slash = _slash(word)
            if slash != _0 and not whole:
                size = min(size, ((slash >> _7) * _NUMBERS) >> _56)
            end += size
            if size == _8:
                value = _mixed(value, word)
            else:
                value = _finished(value, _first(word, size), end - begin)
        codes[row + i] = 0
        found[i], found[block + i], found[2 * block + i] = begin, end - begin, value


@njit
def _append(data, begin, size, names, ends, code):
    """Append a name that gets the given code."""
    first = np.uint64(ends[code])
    for i in range(size):
        names[first + np.uint64(i)] = data[begin + np.uint64(i)]
    ends[code + 1] = np.int64(first + size)


def scan(data, offsets, nulls, codes, slots, names, ends, found, state):
    """Encode the rows of one chunk as positions in a growing table of names.

    The names of a block of rows are found first and then looked up, so that the processor waits for
    the memory of several rows at a time. Stops early if the table is half full: enter the names
    into a larger one, and call it again.

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
    found : uint64 array
        Scratch space: starts, sizes, hashes and entries of the names of a block, each a quarter.
    state : (3,) int64 array
        Input and output: the next row, and the number of names so far. Input: whether names are
        whole texts instead of the authorities of URLs.

    Returns
    -------
    int
        The next row; the number of rows if all are encoded.
    """
    n_rows, n_names, row = len(offsets) - 1, state[1], state[0]
    mask, block = np.uint64(len(slots) - 1), len(found) >> 2
    while row < n_rows and 2 * n_names <= len(slots):
        n = min(block, n_rows - row)
        _find(data, offsets, nulls, codes, found, row, n, state[2] != 0)
        for i in range(n):
            if codes[row + i] == 0:
                found[3 * block + i] = slots[found[2 * block + i] & mask]
        i = 0
        while i < n and 2 * n_names <= len(slots):
            if codes[row + i] == 0:
                begin, size, value = found[i], found[block + i], found[2 * block + i]
                slot, entry, code = value & mask, found[3 * block + i], -1
                if entry == _0:
                    entry = slots[slot]  # which an earlier row of the block may have set
                while code < 0:
                    if entry == _0:
                        code = n_names
                        _append(data, begin, size, names, ends, code)
                        n_names += 1
                        slots[slot] = (value & _TAG) | np.uint64(n_names)
                    elif entry & _TAG == value & _TAG:
                        code = np.int64(entry & _CODE) - 1
                        first = np.uint64(ends[code])
                        same = np.uint64(ends[code + 1]) - first == size
                        if not (same and _equal(names, first, data, begin, size)):
                            code = -1
                    slot = (slot + _1) & mask
                    entry = slots[slot]
                codes[row + i] = code
            i += 1
        row += i
    state[0], state[1] = row, n_names
    return row
