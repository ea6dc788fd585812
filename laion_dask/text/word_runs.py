"""Runs of word characters in blocks of 64 bytes. Compiled by numba; releases the GIL."""

from __future__ import annotations

import numpy as np
from numba import njit

from laion_dask.text.byte_masks import (
    leading_zeros,
    non_ascii_mask,
    trailing_zeros,
    word_byte_mask,
)
from laion_dask.text.word_lookup import hash_start, passes_sieve

_ONE, _63 = np.uint64(1), np.uint64(63)


@njit(nogil=True)
def _run_end(data, at, end):
    """End of a run longer than 64 bytes, and whether it contains non-ASCII bytes."""
    beyond_ascii = False
    while at < end:
        b = data[at]
        low = b | np.uint8(0x20)
        if b >= 0x80:
            beyond_ascii = True
        elif not (97 <= low < 123 or 48 <= b < 58 or b == 95):
            break
        at += 1
    return at, beyond_ascii


@njit(inline="always")
def runs_in_block(data, at, end):
    """Find the runs of word characters in the next 64 bytes of a caption.

    Returns
    -------
    begins, ends : uint64
        Masks of the first byte of each run, and of the byte after each run.
    high : uint64
        Mask of non-ASCII bytes.
    then : int
        Start of the next block.
    long_end : int
        End of a single run that fills the block and continues beyond it, else 0.
    """
    words, high = word_byte_mask(data, at), non_ascii_mask(data, at)
    width = min(64, end - at)
    if width < 64:
        words &= (_ONE << np.uint64(width)) - _ONE
        high &= words
    begins, ends = words & ~(words << _ONE), ~words & (words << _ONE)
    next_start, long_end = at + width, np.int64(0)
    if words >> _63 and next_start < end:  # the last run may continue in the next 64 bytes
        final = _63 - leading_zeros(begins)
        if final:
            begins &= ~(_ONE << final)
            next_start = at + np.int64(final)
        else:
            long_end, beyond_ascii = _run_end(data, next_start, end)
            next_start, high = long_end, high | np.uint64(beyond_ascii)
    return begins, ends, high, next_start, long_end


@njit(nogil=True)
def _sift_one(data, at, begins, ends, sieve):
    """A mask with the bit of the first run set if it passes the sieve; 0 if there is no run."""
    s = trailing_zeros(begins)
    length = np.int64(trailing_zeros(ends)) - np.int64(s)
    passes = passes_sieve(hash_start(data, at + np.int64(s), length), sieve)
    return passes << (s & _63) if begins else np.uint64(0)


@njit(inline="always")
def sift(data, at, begins, ends, sieve):
    """Mask of the runs of a block that pass the sieve."""
    hits, m, e = np.uint64(0), begins, ends
    for _ in range(8):  # most blocks have at most eight runs; a fixed count avoids mispredictions
        hits |= _sift_one(data, at, m, e, sieve)
        m, e = m & (m - _ONE), e & (e - _ONE)
    while m:
        hits |= _sift_one(data, at, m, e, sieve)
        m, e = m & (m - _ONE), e & (e - _ONE)
    return hits
