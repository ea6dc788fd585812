"""The scan: one walk over the bytes of captions that says which groups of words are in which.

Compiled by numba when first used. All of it is in this one file, because numba's cache on disk
knows no more of a function than the file it is in. All of it releases the GIL.

Words are found 64 bytes at a time: a mask of those bytes that may belong to a word, as simdjson
finds structure (Langdale, G. and Lemire, D. (2019). Parsing gigabytes of JSON per second. VLDB
Journal 28). A run of ASCII is a word as it stands; a run with other bytes is taken apart code
point by code point. A word is looked up by a hash, and counts when all of its bytes agree.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

WORD, SPACE, HYPHEN, APOSTROPHE, INVISIBLE = 1, 2, 4, 8, 16
_ONE, _FOLD = np.uint64(1), np.uint64(0x2020202020202020)
_ALL_ONES, _63 = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(63)
# Odd constants with well-spread bits: 2^64 over the golden ratio, and two of xxHash64.
_K0 = np.uint64(0x9E3779B97F4A7C15)
_K1 = np.uint64(0xC2B2AE3D27D4EB4F)
_K2 = np.uint64(0x165667B19E3779F9)
_LANES = ir.VectorType(ir.IntType(8), 64)


class Tables(NamedTuple):
    """What is looked for. Made by `laion_dask.text.matcher_tables`, which says what each is."""

    kind: np.ndarray
    marks: np.ndarray
    unfolds: np.ndarray
    unfold_at: np.ndarray
    unfold_to: np.ndarray
    word_at: np.ndarray
    word_bytes: np.ndarray
    sieve: np.ndarray
    slots: np.ndarray
    gaps: np.ndarray
    root_at: np.ndarray
    root_state: np.ndarray
    goes_on: np.ndarray
    takes_back: np.ndarray
    edge_key: np.ndarray
    edge_to: np.ndarray
    out_at: np.ndarray
    out_group: np.ndarray
    sizes: np.ndarray


def _load(context, builder, signature, arguments, kind):
    """What stands in an array of bytes from a place on, wherever that lies in memory."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    place = builder.bitcast(builder.gep(data, [arguments[1]]), kind.as_pointer())
    loaded = builder.load(place)
    loaded.align = 1
    return loaded


def _all(value):
    return ir.Constant(_LANES, [value] * 64)


@intrinsic
def _maybe_word(typing, data, at):
    """One bit for each of 64 bytes: an ASCII letter, digit or underscore, or not ASCII."""

    def code(context, builder, signature, arguments):
        v = _load(context, builder, signature, arguments, _LANES)
        letter = builder.sub(builder.or_(v, _all(0x20)), _all(ord("a")))
        found = builder.icmp_unsigned("<", letter, _all(26))
        digit = builder.icmp_unsigned("<", builder.sub(v, _all(ord("0"))), _all(10))
        found = builder.or_(found, digit)
        found = builder.or_(found, builder.icmp_unsigned("==", v, _all(ord("_"))))
        found = builder.or_(found, builder.icmp_signed("<", v, _all(0)))
        return builder.bitcast(found, ir.IntType(64))

    return types.uint64(data, types.int64), code


@intrinsic
def _not_ascii(typing, data, at):
    """One bit for each of 64 bytes: not ASCII."""

    def code(context, builder, signature, arguments):
        v = _load(context, builder, signature, arguments, _LANES)
        return builder.bitcast(builder.icmp_signed("<", v, _all(0)), ir.IntType(64))

    return types.uint64(data, types.int64), code


@intrinsic
def _eight(typing, data, at):
    """Eight bytes as one number, the first the least, wherever they lie in memory."""

    def code(context, builder, signature, arguments):
        return _load(context, builder, signature, arguments, ir.IntType(64))

    return types.uint64(data, types.int64), code


@intrinsic
def _zeros_below(typing, number):
    """Zero bits below the lowest one; 64 of none."""

    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), code


@intrinsic
def _zeros_above(typing, number):
    """Zero bits above the highest one; 64 of none."""

    def code(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), code


@njit(nogil=True)
def _hash_begin(data, at, length):
    """A hash of a word's length and first eight bytes, alike for both cases of ASCII letters.

    Reads eight bytes from ``at`` on, however short the word.
    """
    few = np.uint64(8 * max(8 - length, 0)) & _63  # a shift by 64 or more has no value
    return (((_eight(data, at) | _FOLD) << few) ^ np.uint64(length)) * _K0


@njit(nogil=True)
def _hash_word(data, at, length):
    """A hash of the last eight bytes, too."""
    last = _eight(data, at + max(length - 8, 0)) | _FOLD
    h = _hash_begin(data, at, length)
    if length > 8:
        h += last * _K1
    return (h ^ (h >> np.uint64(32))) * _K2


@njit(nogil=True)
def _passes(begin, sieve):
    """1 where a word that begins so may be one that is looked for, else 0."""
    bit = begin >> np.uint64(40) & np.uint64(8 * len(sieve) - 1)
    return np.uint64(sieve[bit >> np.uint64(3)]) >> (bit & np.uint64(7)) & _ONE


@njit(nogil=True)
def _sift(data, at, begins, ends, sieve):
    """One bit for the first word of a block, where it passes the sieve; 0 of no word."""
    s = _zeros_below(begins)
    length = np.int64(_zeros_below(ends)) - np.int64(s)
    found = _passes(_hash_begin(data, at + np.int64(s), length), sieve)
    return found << (s & np.uint64(63)) if begins else np.uint64(0)


@njit(nogil=True)
def _look_up(h, data, at, length, case, word_at, word_bytes, slots):
    """The number of a word, or -1. ``case`` is 0x20 where bytes are raw ASCII, else 0."""
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
def _code_point(data, at, stop):
    """The code point at a place and its length in bytes; (-1, 1) where the UTF-8 is broken."""
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
def _keep(points, n, c, marks):
    """Append a code point in canonical order; how many there are then."""
    if n >= len(points):
        return len(points) + 1  # longer than every word that is looked for
    i = n
    if marks[c]:
        while i > 0 and marks[points[i - 1]] > marks[c]:
            points[i] = points[i - 1]
            i -= 1
    points[i] = c
    return n + 1


@njit(nogil=True)
def _write(points, n, scratch):
    """Code points as folded UTF-8; how many bytes."""
    k = 0
    for i in range(n):
        c = points[i]
        if c == 0x345:  # the iota below, a mark while marks are ordered, folds to a letter
            c = 0x3B9
        if c < 0x80:
            scratch[k] = c | 0x20
            k += 1
            continue
        length = 2 if c < 0x800 else 3 if c < 0x10000 else 4
        for j in range(length - 1, 0, -1):
            scratch[k + j] = 0x80 | c & 0x3F
            c >>= 6
        scratch[k] = (0xC0 if length == 2 else 0xE0 if length == 3 else 0xF0) | c
        k += length
    return k


@njit(nogil=True)
def _next_word(data, at, stop, kinds, marks, unfolds, unfold_at, unfold_to, points, scratch):
    """The next word of a run with bytes beyond ASCII, folded into ``scratch``.

    Returns
    -------
    k : int
        How many bytes it has there; more than any word that is looked for when it is longer.
    start, end : int
        Its position; the start is -1 when no word is left.
    """
    start, n, most = np.int64(-1), 0, len(points)
    while at < stop:
        c, length = _code_point(data, at, stop)
        if c >= 0 and kinds[c] & INVISIBLE:
            at += length
            continue
        if c < 0 or not kinds[c] & WORD:
            if start >= 0:
                break
            at += length
            continue
        if start < 0:
            start = at
        at += length
        if n <= most:
            u = unfolds[c]
            if u == 0:
                n = _keep(points, n, c, marks)
            else:
                for i in range(unfold_at[u], unfold_at[u + 1]):
                    if n <= most:
                        n = _keep(points, n, np.int64(unfold_to[i]), marks)
    k = _write(points, n, scratch) if n <= most else len(scratch)
    return k, start, at


@njit(nogil=True)
def _gap(data, at, stop, kinds, gaps):
    """The number of what stands between two words, or -1: no term has that between its words."""
    packed, n, spaced = _ONE, 0, False
    while at < stop:
        c, length = _code_point(data, at, stop)
        kind = kinds[c] if c >= 0 else np.uint8(0)
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
            if n == 3:
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
def _hash_edge(key):
    """Where an edge is looked for first."""
    h = np.uint64(key) * _K0
    return h ^ (h >> np.uint64(32))


@njit(nogil=True)
def _edge(state, gap, word, edge_key, edge_to):
    """The state that a word leads to from another, or -1."""
    key = np.int64(state) << 32 | np.int64(gap) << 26 | np.int64(word)
    slot = np.int64(_hash_edge(key) & np.uint64(len(edge_key) - 1))
    while edge_key[slot] >= 0:
        if edge_key[slot] == key:
            return edge_to[slot]
        slot = (slot + 1) & (len(edge_key) - 1)
    return np.int32(-1)


@njit(nogil=True)
def _tell(state, row, out_at, out_group, seen, k, rows, groups):
    """Write down the groups that a state stands for, each once a row; how much is written then."""
    for o in range(out_at[state], out_at[state + 1]):
        group = out_group[o]
        if seen[group] != row:
            seen[group] = row
            if k < len(rows):
                rows[k], groups[k] = row, group
            k += 1
    return k


@njit(nogil=True)
def _run_end(data, at, end):
    """The end of a run that is longer than 64 bytes, and whether it has bytes beyond ASCII."""
    odd = False
    while at < end:
        b = data[at]
        low = b | np.uint8(0x20)
        if b >= 0x80:
            odd = True
        elif not (97 <= low < 123 or 48 <= b < 58 or b == 95):
            break
        at += 1
    return at, odd


def fill(word_at, word_bytes, root_at, sieve, slots, keys, to, edge_key, edge_to):
    """Put words and edges where the scan looks for them; those that begin a term pass the sieve."""
    for word in range(len(word_at) - 1):
        at = word_at[word]
        h = _hash_word(word_bytes, at, np.int64(word_at[word + 1] - at))
        begin = _hash_begin(word_bytes, at, np.int64(word_at[word + 1] - at))
        bit = begin >> np.uint64(40) & np.uint64(8 * len(sieve) - 1)
        if root_at[word] < root_at[word + 1]:
            sieve[np.int64(bit >> np.uint64(3))] |= np.uint8(1) << np.uint8(bit & np.uint64(7))
        slot = np.int64((h >> np.uint64(20)) & np.uint64(len(slots) - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = word
    for i in range(len(keys)):
        slot = np.int64(_hash_edge(keys[i]) & np.uint64(len(edge_key) - 1))
        while edge_key[slot] >= 0:
            slot = (slot + 1) & (len(edge_key) - 1)
        edge_key[slot], edge_to[slot] = keys[i], to[i]


def references(data, offsets, rows):
    """The captions that may hold an HTML character reference: "&" before a letter or "#".

    Parameters
    ----------
    data : uint8 array
    offsets : (n + 1,) int64 array
    rows : (n,) int64 array
        To be filled.

    Returns
    -------
    found : int
        How much was filled.
    """
    at, end, row, found = offsets[0], offsets[-1], 0, 0
    while at < end:
        stop = min(at + 64, end)
        if stop - at == 64:
            some = np.uint8(0)
            for i in range(64):  # compiled to a comparison of 64 bytes
                some |= np.uint8(data[at + i] == 38)
            if not some:
                at = stop
                continue
        for i in range(at, min(stop, end - 1)):
            after = data[i + 1]
            if data[i] == 38 and (after == 35 or 97 <= after | np.uint8(0x20) < 123):
                while offsets[row + 1] <= i:
                    row += 1
                if found == 0 or rows[found - 1] != row:
                    rows[found] = row
                    found += 1
        at = stop
    return found


def scan(data, offsets, valid, valid_at, base, start, t, seen, rows, groups):
    """The groups that captions mention.

    Parameters
    ----------
    data : (m,) uint8 array
        The captions' bytes, and at least 72 more (`compiled.BEYOND`), which are read.
    offsets : (n + 1,) int32 or int64 array
        Where each begins.
    valid : uint8 array
        One bit a caption, from bit ``valid_at`` on: 0 for null. Empty when none is null.
    base : int
        The number that the first caption has in ``rows``.
    start : int
        The caption to begin with.
    t : Tables
    seen : (groups,) int64 array
        The last row that each group was found in; -1 at first.
    rows, groups : int64, int32 arrays
        To be filled.

    Returns
    -------
    found, stopped : int
        How much was filled, and the caption at which there was no more room; n at the end.
    """
    kinds, marks, unfolds = t.kind, t.marks, t.unfolds
    unfold_at, unfold_to, word_at, word_bytes = t.unfold_at, t.unfold_to, t.word_at, t.word_bytes
    sieve, slots, gaps, root_at, root_state = t.sieve, t.slots, t.gaps, t.root_at, t.root_state
    goes_on, takes_back, edge_key, edge_to = t.goes_on, t.takes_back, t.edge_key, t.edge_to
    out_at, out_group = t.out_at, t.out_group
    longest = t.sizes[0]
    points = np.zeros(t.sizes[1], np.int64)
    scratch = np.zeros(4 * t.sizes[1] + 8, np.uint8)
    active = np.zeros(t.sizes[2], np.int32)
    taken_back = np.full(len(goes_on), -1, np.int64)  # by state: the last place where it was
    k = 0
    for i in range(start, len(offsets) - 1):
        if len(valid) and not (valid[(valid_at + i) >> 3] >> ((valid_at + i) & 7)) & 1:
            continue
        at, end, before, row = np.int64(offsets[i]), np.int64(offsets[i + 1]), k, base + i
        n_active, last = 0, at
        while at < end:
            words, high = _maybe_word(data, at), _not_ascii(data, at)
            width = min(64, end - at)
            if width < 64:
                words &= (_ONE << np.uint64(width)) - _ONE
                high &= words
            begins, ends = words & ~(words << _ONE), ~words & (words << _ONE)
            then, long_end = at + width, np.int64(0)
            if words >> np.uint64(63) and then < end:  # the last may go on in the next 64 bytes
                final = np.uint64(63) - _zeros_above(begins)
                if final:
                    begins &= ~(_ONE << final)
                    then = at + np.int64(final)
                else:
                    long_end, more = _run_end(data, then, end)
                    then, high = long_end, high | np.uint64(more)
            hits = begins
            if high == 0 and long_end == 0:
                hits, m, e = np.uint64(0), begins, ends
                for _ in range(8):  # most have no more, and the processor need not guess
                    hits |= _sift(data, at, m, e, sieve)
                    m, e = m & (m - _ONE), e & (e - _ONE)
                while m:
                    hits |= _sift(data, at, m, e, sieve)
                    m, e = m & (m - _ONE), e & (e - _ONE)
            if n_active:  # whatever comes next may go on with a term
                hits |= begins & (~begins + _ONE)
            while hits:
                s = _zeros_below(hits)
                hits &= hits - _ONE
                a = at + np.int64(s)
                b = min(a + np.int64(_zeros_below(ends >> s)), then)
                odd = high >> s & (_ALL_ONES >> np.uint64(64 - (b - a))) != 0  # 1 to 64 bits
                if long_end:
                    b, odd = long_end, high != 0
                while a < b:
                    word, first = np.int64(-1), a
                    if not odd:
                        if b - a <= longest and (
                            n_active or _passes(_hash_begin(data, a, b - a), sieve)
                        ):
                            h = _hash_word(data, a, b - a)
                            word = _look_up(
                                h, data, a, b - a, np.uint8(0x20), word_at, word_bytes, slots
                            )
                        a = b
                    else:
                        size, first, a = _next_word(
                            data, a, b, kinds, marks, unfolds, unfold_at, unfold_to, points, scratch
                        )
                        if first < 0:
                            break
                        if size <= longest and (
                            n_active or _passes(_hash_begin(scratch, 0, size), sieve)
                        ):
                            h = _hash_word(scratch, 0, size)
                            word = _look_up(
                                h, scratch, 0, size, np.uint8(0), word_at, word_bytes, slots
                            )
                    if word < 0:
                        n_active = 0
                        continue
                    n = 0
                    if n_active:
                        gap = _gap(data, last, first, kinds, gaps)
                        if gap >= 0:
                            for j in range(n_active):
                                state = _edge(active[j], gap, word, edge_key, edge_to)
                                if state >= 0:
                                    k = _tell(state, row, out_at, out_group, seen, k, rows, groups)
                                    if goes_on[state]:
                                        active[n] = state
                                        n += 1
                                    if takes_back[state] >= 0:
                                        taken_back[takes_back[state]] = first
                    for r in range(root_at[word], root_at[word + 1]):
                        state = root_state[r]
                        if taken_back[state] == first:
                            continue
                        k = _tell(state, row, out_at, out_group, seen, k, rows, groups)
                        if goes_on[state]:
                            active[n] = state
                            n += 1
                    n_active, last = n, a
                if n_active:
                    rest = begins & ~((np.uint64(2) << s) - _ONE)
                    hits |= rest & (~rest + _ONE)
            at = then
        if k > len(rows):
            return before, i
    return k, len(offsets) - 1
