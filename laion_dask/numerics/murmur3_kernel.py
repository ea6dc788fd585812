"""MurmurHash3 x64 128 of many byte strings, and the best row of each group of equal hashes.

Appleby, A. (2011). MurmurHash3, public domain, https://github.com/aappleby/smhasher.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the functions create no
arrays. Import this module only from `laion_dask.numerics.murmur3`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from laion_dask.numerics.byte_words import load_eight, load_up_to_eight

_C1, _C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
_F1, _F2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_N1, _N2 = np.uint64(0x52DCE729), np.uint64(0x38495AB5)
_0, _1, _5, _8, _16 = (np.uint64(n) for n in (0, 1, 5, 8, 16))
_27, _31, _33, _64 = (np.uint64(n) for n in (27, 31, 33, 64))


@njit(inline="always")
def _rotated(value, bits):
    return (value << bits) | (value >> (_64 - bits))


@njit(inline="always")
def _finished(value):
    value = (value ^ (value >> _33)) * _F1
    value = (value ^ (value >> _33)) * _F2
    return value ^ (value >> _33)


def hash_bytes(data, offsets, hashes):
    """Hash the bytes between consecutive offsets, with seed 0.

    Parameters
    ----------
    data : uint8 array
    offsets : (n + 1,) int64 array
    hashes : (n, 2) uint64 array
        Filled with the two halves of each hash.
    """
    for i in range(len(hashes)):
        at, end = np.uint64(offsets[i]), np.uint64(offsets[i + 1])
        length = end - at
        h1, h2 = _0, _0
        while end - at >= _16:
            k1, k2 = load_eight(data, at), load_eight(data, at + _8)
            h1 ^= _rotated(k1 * _C1, _31) * _C2
            h1 = (_rotated(h1, _27) + h2) * _5 + _N1
            h2 ^= _rotated(k2 * _C2, _33) * _C1
            h2 = (_rotated(h2, _31) + h1) * _5 + _N2
            at += _16
        if end - at > _8:
            h2 ^= _rotated(load_up_to_eight(data, at + _8, end) * _C2, _33) * _C1
            end = at + _8
        if end > at:
            h1 ^= _rotated(load_up_to_eight(data, at, end) * _C1, _31) * _C2
        h1, h2 = h1 ^ length, h2 ^ length
        h1 += h2
        h2 += h1
        h1, h2 = _finished(h1), _finished(h2)
        h1 += h2
        h2 += h1
        hashes[i, 0], hashes[i, 1] = h1, h2
    return np.int64(len(hashes))


def keep_best(high, low, order, key, slots, keep):
    """Mark, among rows of equal hashes, the row with the smallest (order, key).

    Parameters
    ----------
    high, low : (n,) uint64 arrays
        Two halves of each row's hash.
    order : (n,) or (0,) uint64 array
        Without elements, all are equal.
    key : (n,) int64 array
    slots : int32 array
        A power of two, more than n, of elements -1.
    keep : (n,) uint8 array
        Filled with 1 for the best row of each group, else 0.

    Returns
    -------
    int
        The number of groups.
    """
    mask, groups = np.uint64(len(slots) - 1), np.int64(0)
    ordered = len(order) > 0
    for i in range(len(high)):
        slot = (low[i] ^ high[i]) & mask
        while True:
            j = slots[slot]
            if j < 0:
                slots[slot], keep[i] = i, 1
                groups += 1
                break
            if high[np.uint64(j)] == high[i] and low[np.uint64(j)] == low[i]:
                best = np.uint64(j)
                if ordered and order[i] != order[best]:
                    is_better = order[i] < order[best]
                else:
                    is_better = key[i] < key[best]
                if is_better:
                    keep[best], keep[i] = 0, 1
                    slots[slot] = i
                else:
                    keep[i] = 0
                break
            slot = (slot + _1) & mask
    return groups
