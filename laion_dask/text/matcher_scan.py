"""The scan: one pass over the bytes of captions that finds the groups of terms each mentions.

Compiled by numba on first use; see `laion_dask.text.matcher_compiled`. Every function releases the
GIL. Words are found 64 bytes at a time with a mask of word bytes, as simdjson finds structural
characters (Langdale, G. and Lemire, D. (2019). Parsing gigabytes of JSON per second. VLDB
Journal 28). A run of ASCII word bytes is one word; a run with non-ASCII bytes is split code point
by code point. Words are looked up in a hash table and compared byte by byte.

`scan` is one long function on purpose: it reads 25 arrays, and numba updates a reference count for
each array that is passed to another function. Split into functions for a caption, a run and a word,
it was four times slower.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from laion_dask.text.byte_masks import trailing_zeros
from laion_dask.text.word_boundaries import APOSTROPHE, HYPHEN, INVISIBLE, SPACE, WORD
from laion_dask.text.word_lookup import (
    code_point,
    hash_edge,
    hash_start,
    look_up,
    next_word,
    passes_sieve,
)
from laion_dask.text.word_runs import runs_in_block, sift

_ONE = np.uint64(1)
_ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_LONGEST_GAP = 3


@njit(nogil=True)
def _gap_number(data, at, stop, classes, gaps):
    """Number of the gap between two words, or -1 if no term has this gap."""
    packed, n, spaced = _ONE, 0, False
    while at < stop:
        c, length = code_point(data, at, stop)
        kind = classes[c] if c >= 0 else np.uint8(0)
        if kind & INVISIBLE:
            at += length
            continue
        if kind & SPACE:
            c = np.int64(0x20)
        elif kind & HYPHEN:
            c = np.int64(0x2D)
        elif kind & APOSTROPHE:
            c = np.int64(0x27)
        if c < 0 or kind & WORD:
            return -1
        if not (spaced and kind & SPACE):
            if n == _LONGEST_GAP:
                return -1
            packed = packed << np.uint64(21) | np.uint64(c)
            n += 1
        spaced = kind & SPACE != 0
        at += length
    for i in range(len(gaps)):
        if gaps[i] == packed:
            return i
    return -1


@njit(nogil=True)
def _follow_edge(state, gap, word, edge_key, edge_to):
    """State that the edge for a word leads to, or -1."""
    key = np.int64(state) << 32 | np.int64(gap) << 26 | np.int64(word)
    slot = np.int64(hash_edge(key) & np.uint64(len(edge_key) - 1))
    while edge_key[slot] >= 0:
        if edge_key[slot] == key:
            return edge_to[slot]
        slot = (slot + 1) & (len(edge_key) - 1)
    return np.int32(-1)


@njit(nogil=True)
def _emit(state, row, group_at, group, last_row, k, rows, groups):
    """Append the groups of a state, each once per row; returns the new length."""
    for o in range(group_at[state], group_at[state + 1]):
        g = group[o]
        if last_row[g] != row:
            last_row[g] = row
            if k < len(rows):
                rows[k], groups[k] = row, g
            k += 1
    return k


def scan(data, offsets, valid, valid_at, base, start, t, last_row, rows, groups):
    """Find the groups that captions mention.

    Parameters
    ----------
    data : (m,) uint8 array
        Bytes of the captions, followed by at least 72 readable bytes (`matcher_compiled.PADDING`).
    offsets : (n + 1,) int32 or int64 array
        Start of each caption.
    valid : uint8 array
        Validity bitmap that starts at bit ``valid_at``: 0 for null. Empty if there are no nulls.
    base : int
        Row number of the first caption.
    start : int
        First caption to scan.
    t : Tables
    last_row : (groups,) int64 array
        The last row in which each group was found; initially -1.
    rows, groups : int64, int32 arrays
        Output.
        Filled.

    Returns
    -------
    filled, stopped : int
        Number of pairs written, and the first caption whose pairs did not fit; n at the end.
    """
    classes, combining, fold_index = t.classes, t.combining, t.fold_index
    fold_at, fold_to, word_at, word_bytes = t.fold_at, t.fold_to, t.word_at, t.word_bytes
    sieve, slots, gaps, root_at, root_state = t.sieve, t.slots, t.gaps, t.root_at, t.root_state
    continues, cancels, edge_key, edge_to = t.continues, t.cancels, t.edge_key, t.edge_to
    group_at, group = t.group_at, t.group
    longest = t.sizes[0]
    points = np.zeros(t.sizes[1], np.int64)
    folded = np.zeros(4 * t.sizes[1] + 8, np.uint8)
    active = np.zeros(t.sizes[2], np.int32)  # states that the next word may continue
    canceled_at = np.full(len(continues), -1, np.int64)  # by state: its last canceled position
    k = 0
    for i in range(start, len(offsets) - 1):
        if len(valid) and not (valid[(valid_at + i) >> 3] >> ((valid_at + i) & 7)) & 1:
            continue
        at, end, before, row = np.int64(offsets[i]), np.int64(offsets[i + 1]), k, base + i
        n_active, last = 0, at
        while at < end:
            begins, ends, high, next_start, long_end = runs_in_block(data, at, end)
            hits = begins
            if high == 0 and long_end == 0:
                hits = sift(data, at, begins, ends, sieve)
            if n_active:  # any next word may continue a term
                hits |= begins & (~begins + _ONE)
            while hits:
                s = trailing_zeros(hits)
                hits &= hits - _ONE
                a = at + np.int64(s)
                b = min(a + np.int64(trailing_zeros(ends >> s)), next_start)
                folds = high >> s & (_ALL_ONES >> np.uint64(64 - (b - a))) != 0  # 1 to 64 bits
                if long_end:
                    b, folds = long_end, high != 0
                while a < b:
                    word, first = np.int64(-1), a
                    if not folds:
                        if b - a <= longest and (
                            n_active or passes_sieve(hash_start(data, a, b - a), sieve)
                        ):
                            word = look_up(
                                data, a, b - a, np.uint8(0x20), word_at, word_bytes, slots
                            )
                        a = b
                    else:
                        size, first, a = next_word(
                            data, a, b, classes, combining, fold_index, fold_at, fold_to, points,
                            folded,
                        )  # fmt: skip
                        if first < 0:
                            break
                        if size <= longest and (
                            n_active or passes_sieve(hash_start(folded, 0, size), sieve)
                        ):
                            word = look_up(folded, 0, size, np.uint8(0), word_at, word_bytes, slots)
                    if word < 0:
                        n_active = 0
                        continue
                    n = 0
                    gap = _gap_number(data, last, first, classes, gaps) if n_active else -1
                    if gap >= 0:
                        for j in range(n_active):
                            state = _follow_edge(active[j], gap, word, edge_key, edge_to)
                            if state >= 0:
                                k = _emit(state, row, group_at, group, last_row, k, rows, groups)
                                if continues[state]:
                                    active[n] = state
                                    n += 1
                                if cancels[state] >= 0:
                                    canceled_at[cancels[state]] = first
                    for r in range(root_at[word], root_at[word + 1]):
                        state = root_state[r]
                        if canceled_at[state] != first:
                            k = _emit(state, row, group_at, group, last_row, k, rows, groups)
                            if continues[state]:
                                active[n] = state
                                n += 1
                    n_active, last = n, a
                if n_active:
                    later = begins & ~((np.uint64(2) << s) - _ONE)
                    hits |= later & (~later + _ONE)
            at = next_start
        if k > len(rows):
            return before, i
    return k, len(offsets) - 1
