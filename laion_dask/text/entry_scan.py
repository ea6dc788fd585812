"""Find entries of metadata in captions by MetaCLIP's rule: a hash table of their prefixes.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the functions create no
arrays. Import this module only from `laion_dask.text.entries`.

A *break* is a position beside a space, or, where scripts without spaces are free, beside one of
their characters. Every match begins and ends at breaks, and the breaks within an entry are the same
wherever it stands. From each break, a caption is compared with the prefixes of entries that end at
a break, until none continues.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_K0, _32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_SPACE = 0x20
#: Bits of the mark of a position: a break; the character there is free; the one before it is.
BREAK, FREE, AFTER_FREE = 1, 2, 4


@njit(inline="always")
def _code_point(data, at, stop):
    """The code point that starts at a position."""
    first = np.int64(data[at])
    if first < 0x80:
        return first
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if at + size > stop:
        return first
    point = first & (0x7F >> size)
    for i in range(1, size):
        point = (point << 6) | (np.int64(data[at + i]) & 0x3F)
    return point


@njit(inline="always")
def _is_free(point, ranges):
    """Whether a code point is in one of the ascending, inclusive ranges."""
    for i in range(0, len(ranges), 2):
        if point < ranges[i]:
            return False
        if point <= ranges[i + 1]:
            return True
    return False


@njit
def _mark(data, start, stop, ranges, marks):
    """Mark the positions of a text, from its start (position 0) to its end."""
    after_free, after_space = False, True
    for at in range(start, stop):
        byte = data[at]
        if byte & 0xC0 == 0x80:
            marks[at - start] = 0
            continue
        is_space = byte == _SPACE
        free = byte >= 0x80 and len(ranges) > 0 and _is_free(_code_point(data, at, stop), ranges)
        mark = BREAK if is_space or after_space or free or after_free else 0
        marks[at - start] = mark | (FREE if free else 0) | (AFTER_FREE if after_free else 0)
        after_free, after_space = free, is_space
    marks[stop - start] = BREAK | (AFTER_FREE if after_free else 0)


@njit(inline="always")
def _mixed(h):
    h *= _K0
    return h ^ (h >> _32)


@njit(inline="always")
def _find(h, data, start, stop, texts, node_start, node_size, slots):
    """The slot of a prefix, or the free slot where it belongs."""
    mask = np.uint64(len(slots) - 1)
    slot = np.int64(_mixed(h) & mask)
    size = stop - start
    while slots[slot] >= 0:
        node = slots[slot]
        if node_size[node] == size:
            at = node_start[node]
            i = 0
            while i < size and texts[at + i] == data[start + i]:
                i += 1
            if i == size:
                break
        slot = np.int64(np.uint64(slot + 1) & mask)
    return slot


def count_prefixes(texts, text_at, ranges, marks):
    """The number of breaks in all entries, at most which there are nodes."""
    n = 0
    for i in range(len(text_at) - 1):
        size = text_at[i + 1] - text_at[i]
        _mark(texts, text_at[i], text_at[i + 1], ranges, marks)
        for b in range(1, size + 1):
            n += marks[b] & BREAK
    return n


def build(texts, text_at, ranges, marks, node_start, node_size, node_entry, node_more, slots):
    """Fill the table.

    Parameters
    ----------
    texts, text_at : uint8, int64 arrays
        Distinct, nonempty entries in UTF-8.
    ranges : int64 array
        Ranges of code points beside which no space is demanded.
    marks : uint8 array
        Scratch buffer, longer than any entry.
    node_start, node_size : int64 arrays
        Filled: where the prefix of each node stands in ``texts``.
    node_entry : int64 array
        Filled: the entry that is the prefix, or -1.
    node_more : uint8 array
        Filled: whether a longer prefix starts with it.
    slots : int64 array
        -1 everywhere; a power of two, at least twice the number of nodes.
    """
    n = 0
    for i in range(len(text_at) - 1):
        start = text_at[i]
        size = text_at[i + 1] - start
        _mark(texts, start, start + size, ranges, marks)
        h = _OFFSET
        for b in range(1, size + 1):
            h = (h ^ np.uint64(texts[start + b - 1])) * _PRIME
            if marks[b] & BREAK:
                slot = _find(h, texts, start, start + b, texts, node_start, node_size, slots)
                if slots[slot] < 0:
                    slots[slot] = n
                    node_start[n], node_size[n] = start, b
                    node_entry[n], node_more[n] = -1, 0
                    n += 1
                node = slots[slot]
                if b == size:
                    node_entry[node] = i
                else:
                    node_more[node] = 1
    return n


@njit
def _spaced(data, start, stop, spaced):
    """Write a caption with its punctuation set off and a space at both ends; return its size."""
    spaced[0] = _SPACE
    n = 1
    for at in range(start, stop):
        c = data[at]
        if c == 0x2C or c == 0x2E or c == 0x3B or c == 0x3A or c == 0x3F or c == 0x21 or c == 0x60:
            spaced[n], spaced[n + 1], spaced[n + 2] = _SPACE, c, _SPACE
            n += 3
        else:
            spaced[n] = _SPACE if c == 0x09 or c == 0x0A or c == 0x0D else c
            n += 1
    spaced[n] = _SPACE
    return n + 1


def scan(
    data, at, texts, ranges, node_start, node_size, node_entry, node_more, slots, misses, spaced,
    marks, last_row, counts, n_found, missed,
):  # fmt: skip
    """Find the entries of captions.

    Parameters
    ----------
    data, at : uint8, (n + 1,) int64 arrays
        Captions in UTF-8.
    texts, ranges, node_start, node_size, node_entry, node_more, slots
        See `build`.
    misses : float64 array
        By entry: the factor of ``missed``.
    spaced, marks : uint8 arrays
        Scratch buffers, longer than three times the longest caption and two.
    last_row : int64 array
        By entry: -1 everywhere at first.
    counts : int64 array
        By entry: increased by the number of captions that it is found in.
    n_found : (n,) int64 array
        Filled: the number of distinct entries in each caption.
    missed : (n,) float64 array
        Filled: the product of the factors of the entries in each caption.
    """
    total = 0
    for row in range(len(at) - 1):
        size = _spaced(data, at[row], at[row + 1], spaced)
        _mark(spaced, 0, size, ranges, marks)
        found, product = 0, 1.0
        for s in range(1, size - 1):
            if not marks[s] & BREAK:
                continue
            if spaced[s - 1] != _SPACE and not marks[s] & FREE:
                continue
            h, e = _OFFSET, s
            while e < size - 1:
                h = (h ^ np.uint64(spaced[e])) * _PRIME
                e += 1
                if not marks[e] & BREAK:
                    continue
                slot = _find(h, spaced, s, e, texts, node_start, node_size, slots)
                node = slots[slot]
                if node < 0:
                    break
                entry = node_entry[node]
                if (
                    entry >= 0
                    and last_row[entry] != row
                    and (spaced[e] == _SPACE or marks[e] & AFTER_FREE)
                ):
                    last_row[entry] = row
                    counts[entry] += 1
                    product *= misses[entry]
                    found += 1
                if not node_more[node]:
                    break
        n_found[row], missed[row] = found, product
        total += found
    return total
