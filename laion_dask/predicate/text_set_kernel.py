"""A hash table of texts: open addressing over Arrow's offsets and bytes.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the functions create no
arrays. Import this module only from `laion_dask.predicate.value_sets`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# Odd constants with well-distributed bits: 2^64 over the golden ratio, and one of xxHash64.
_K0, _K1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_8, _29, _32 = np.uint64(8), np.uint64(29), np.uint64(32)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _hash(data: np.ndarray, start: int, stop: int) -> Any:
    h = np.uint64(stop - start) * _K1
    at = start
    while at < stop:
        word, shift, end = np.uint64(0), np.uint64(0), min(at + 8, stop)
        while at < end:
            word |= np.uint64(data[at]) << shift
            shift += _8
            at += 1
        h = (h ^ word) * _K0
        h ^= h >> _29
    h *= _K1
    return h ^ (h >> _32)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _equal(
    one: np.ndarray, start: int, stop: int, other: np.ndarray, other_start: int, other_stop: int
) -> bool:
    if stop - start != other_stop - other_start:
        return False
    for i in range(stop - start):  # noqa: SIM110
        if one[start + i] != other[other_start + i]:
            return False
    return True


@njit(inline="always")  # type: ignore[untyped-decorator]
def _slot(
    data: np.ndarray,
    start: int,
    stop: int,
    texts: np.ndarray,
    text_at: np.ndarray,
    slots: np.ndarray,
) -> Any:
    """The slot of a text, or the free slot where it belongs."""
    mask = np.uint64(len(slots) - 1)
    slot = np.int64(_hash(data, start, stop) & mask)
    while slots[slot] >= 0:
        text = slots[slot]
        if _equal(data, start, stop, texts, text_at[text], text_at[text + 1]):
            break
        slot = np.int64(np.uint64(slot + 1) & mask)
    return slot


def fill(texts: np.ndarray, text_at: np.ndarray, slots: np.ndarray) -> int:
    """Enter texts into empty slots, a power of two and at least twice as many; count the distinct.

    Parameters
    ----------
    texts : uint8 array
    text_at : (n + 1,) int64 array
        The start of each text, and the end of the last.
    slots : int64 array
        -1 everywhere; filled with numbers of texts.
    """
    distinct = 0
    for i in range(len(text_at) - 1):
        slot = _slot(texts, text_at[i], text_at[i + 1], texts, text_at, slots)
        if slots[slot] < 0:
            slots[slot] = i
            distinct += 1
    return distinct


def find(
    data: np.ndarray,
    at: np.ndarray,
    texts: np.ndarray,
    text_at: np.ndarray,
    slots: np.ndarray,
    found: np.ndarray,
) -> int:
    """Write 1 into ``found`` for each text that is in the table, else 0; count the found."""
    n = 0
    for i in range(len(at) - 1):
        slot = _slot(data, at[i], at[i + 1], texts, text_at, slots)
        found[i] = slots[slot] >= 0
        n += found[i]
    return n
