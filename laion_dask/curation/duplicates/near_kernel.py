"""Pairs of rows that may be near, elements that two sorted lists share, and connected components.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the functions create no
arrays. Import this module only from `laion_dask.curation.duplicates.near_native`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_1, _2, _4, _56 = (np.uint64(n) for n in (1, 2, 4, 56))
_EVEN, _PAIRS = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_NIBBLES, _BYTES = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)


@njit(inline="always")
def _ones(word):
    word = word - ((word >> _1) & _EVEN)
    word = (word & _PAIRS) + ((word >> _2) & _PAIRS)
    word = (word + (word >> _4)) & _NIBBLES
    return np.int64((word * _BYTES) >> _56)


@njit(inline="always")
def _root(parents, at):
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at


def find_pairs(starts, bits, sizes, limits, counts, parents, earlier, later):
    """Write the pairs of each row and earlier ones of its group that may be near.

    Parameters
    ----------
    starts : (n,) int64 array
        The first row of each row's group; its earlier rows stand from there on.
    bits : (n, words) uint64 array
    sizes : (n,) int64 array
    limits : (2,) float64 array
        A pair may be near if as many bits differ, and its sizes differ by as many, as the first
        limit, plus the second one times the sum of its sizes; or fewer.
    counts : (5,) int64 array
        The row to continue at, and the pairs written so far, both updated; the largest number of
        pairs of a row; the number of first rows of a group that a row is compared with; and the
        number of comparisons after which to stop.
    parents : (n,) or (0,) int64 array
        If not empty, only pairs of rows that are not connected yet are written, and connected.
    earlier, later : (m,) int64 arrays
        Filled with the positions of rows. They have room for n pairs if ``parents`` is not empty.
    """
    most, first, budget = counts[2], counts[3], counts[4]
    base, share = limits[0], limits[1]
    forest = len(parents) > 0
    at = counts[1]
    j = counts[0]
    while j < len(starts):
        if budget <= 0 or (not forest and at + most > len(earlier)):
            break
        found = 0
        for i in range(starts[j], min(j, starts[j] + first)):
            budget -= 1
            limit = np.int64(base + share * (sizes[i] + sizes[j]))
            if abs(sizes[i] - sizes[j]) > limit:
                continue
            differ = 0
            for word in range(bits.shape[1]):
                differ += _ones(bits[i, word] ^ bits[j, word])
            if differ > limit:
                continue
            if forest:
                a, b = _root(parents, i), _root(parents, j)
                if a == b:
                    continue
                parents[max(a, b)] = min(a, b)
            earlier[at] = i
            later[at] = j
            at += 1
            found += 1
            if found == most:
                break
        j += 1
    counts[0] = j
    counts[1] = at
    return 0


def count_shared(a_offsets, a, a_at, b_offsets, b, b_at, shared):
    """Count the elements that two lists share, of each pair of a list of a and one of b.

    No list has an element twice.
    """
    for n in range(len(shared)):
        i, i_end = a_offsets[a_at[n]], a_offsets[a_at[n] + 1]
        j, j_end = b_offsets[b_at[n]], b_offsets[b_at[n] + 1]
        count = 0
        while i < i_end and j < j_end:
            if a[i] == b[j]:
                count += 1
                i += 1
                j += 1
            elif a[i] < b[j]:
                i += 1
            else:
                j += 1
        shared[n] = count
    return 0


def unite(one, other, parents, joined):
    """Connect pairs of nodes; the root of a component is its first node.

    Parameters
    ----------
    one, other : (m,) int64 arrays
    parents : (n,) int64 array
        Of a node, one of its component that does not come after it; updated.
    joined : (m,) uint8 array
        Filled with 1 where a pair was not connected yet.
    """
    for n in range(len(one)):
        a, b = _root(parents, one[n]), _root(parents, other[n])
        joined[n] = a != b
        parents[max(a, b)] = min(a, b)
    return 0
