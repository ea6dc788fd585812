"""Look up caption words in a hash table: as written, or folded code point by code point.

Compiled by numba. Every function releases the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from laion_dask.text.byte_masks import load_eight
from laion_dask.text.word_boundaries import INVISIBLE, WORD

_ONE, _63 = np.uint64(1), np.uint64(63)
_LOWER = np.uint64(0x2020202020202020)
# Odd constants with well-distributed bits: 2^64 over the golden ratio, and two of xxHash64.
_K0 = np.uint64(0x9E3779B97F4A7C15)
_K1 = np.uint64(0xC2B2AE3D27D4EB4F)
_K2 = np.uint64(0x165667B19E3779F9)
#: The iota subscript is a mark while marks are reordered, and then folds to a letter.
_IOTA_BELOW, _IOTA = 0x345, 0x3B9


@njit(nogil=True)
def hash_start(data, at, length):
    """Hash a word's length and first eight bytes, ignoring the case of ASCII letters.

    Always reads eight bytes from ``at``, even for shorter words.
    """
    shift = np.uint64(8 * max(8 - length, 0)) & _63  # shifting by 64 or more is undefined
    return (((load_eight(data, at) | _LOWER) << shift) ^ np.uint64(length)) * _K0


@njit(nogil=True)
def hash_word(data, at, length):
    """Hash a word's length, first eight and last eight bytes."""
    last = load_eight(data, at + max(length - 8, 0)) | _LOWER
    h = hash_start(data, at, length)
    if length > 8:
        h += last * _K1
    return (h ^ (h >> np.uint64(32))) * _K2


@njit(nogil=True)
def hash_edge(key):
    """Hash an edge of the automaton."""
    h = np.uint64(key) * _K0
    return h ^ (h >> np.uint64(32))


@njit(nogil=True)
def passes_sieve(start_hash, sieve):
    """1 if a word with this `hash_start` may begin a term, else 0."""
    bit = start_hash >> np.uint64(40) & np.uint64(8 * len(sieve) - 1)
    return np.uint64(sieve[bit >> np.uint64(3)]) >> (bit & np.uint64(7)) & _ONE


@njit(nogil=True)
def look_up(data, at, length, case, word_at, word_bytes, slots):
    """Number of a word, or -1. ``case`` is 0x20 for raw ASCII bytes, else 0."""
    h = hash_word(data, at, length)
    slot = np.int64((h >> np.uint64(20)) & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        word = slots[slot]
        start = word_at[word]
        if word_at[word + 1] - start == length:
            i = 0
            while i < length and (data[at + i] | case) == word_bytes[start + i]:
                i += 1
            if i == length:
                return np.int64(word)
        slot = (slot + 1) & (len(slots) - 1)
    return np.int64(-1)


@njit(nogil=True)
def code_point(data, at, stop):
    """The code point at a position and its length in bytes; (-1, 1) for invalid UTF-8."""
    b = np.int64(data[at])
    if b < 0x80:
        return b, 1
    if 0xC2 <= b < 0xE0:
        length, c = 2, b & 0x1F
    elif 0xE0 <= b < 0xF0:
        length, c = 3, b & 0x0F
    elif 0xF0 <= b < 0xF5:
        length, c = 4, b & 0x07
    else:
        return np.int64(-1), 1
    if at + length > stop:
        return np.int64(-1), 1
    for i in range(1, length):
        n = np.int64(data[at + i])
        if n & 0xC0 != 0x80:
            return np.int64(-1), 1
        c = c << 6 | n & 0x3F
    return (c, length) if c < 0x110000 else (np.int64(-1), 1)


@njit(nogil=True)
def _append(points, n, c, combining):
    """Append a code point in canonical order; returns the new length."""
    if n >= len(points):
        return len(points) + 1  # longer than any word of a term
    i = n
    if combining[c]:
        while i > 0 and combining[points[i - 1]] > combining[c]:
            points[i] = points[i - 1]
            i -= 1
    points[i] = c
    return n + 1


@njit(inline="always")
def _append_folded(points, n, c, combining, fold_index, fold_at, fold_to):
    """Append the folded form of a code point; returns the new length."""
    u = fold_index[c]
    if u == 0:
        n = _append(points, n, c, combining)
    else:
        for i in range(fold_at[u], fold_at[u + 1]):
            if n <= len(points):
                n = _append(points, n, np.int64(fold_to[i]), combining)
    return n


@njit(nogil=True)
def _encode(points, n, out):
    """Write code points as UTF-8, ASCII in lower case; returns the number of bytes."""
    k = 0
    for i in range(n):
        c = points[i]
        if c == _IOTA_BELOW:
            c = _IOTA
        if c < 0x80:
            out[k] = c | 0x20
            k += 1
            continue
        length = 2 if c < 0x800 else 3 if c < 0x10000 else 4
        for j in range(length - 1, 0, -1):
            out[k + j] = 0x80 | c & 0x3F
            c >>= 6
        out[k] = (0xC0 if length == 2 else 0xE0 if length == 3 else 0xF0) | c
        k += length
    return k


@njit(nogil=True)
def next_word(
    data, at, stop, classes, combining, fold_index, fold_at, fold_to, points, out
):  # fmt: skip
    """Write the next word of a run with non-ASCII bytes to ``out``, folded.

    Parameters
    ----------
    data : uint8 array
    at, stop : int
        The run's bounds.
    classes, combining, fold_index, fold_at, fold_to
        See `word_boundaries.Characters`.
    points : int64 array
        Scratch buffer, as long as the longest word of a term in code points.
    out : uint8 array
        Output.

    Returns
    -------
    size : int
        Bytes written; ``len(out)``, which exceeds every word of a term, if the word is too long.
    start, end : int
        The word's bounds; ``start`` is -1 if no word is left.
    """
    start, n, limit = np.int64(-1), 0, len(points)
    while at < stop:
        c, length = code_point(data, at, stop)
        if c >= 0 and classes[c] & INVISIBLE:
            at += length
            continue
        if c < 0 or not classes[c] & WORD:
            if start >= 0:
                break
            at += length
            continue
        if start < 0:
            start = at
        at += length
        if n <= limit:
            n = _append_folded(points, n, c, combining, fold_index, fold_at, fold_to)
    size = _encode(points, n, out) if n <= limit else len(out)
    return size, start, at
