"""Bytes as integers of 64 bits, for compiled scans and hashes.

Positions are unsigned, because numba tests signed indices for negative values. Import this module
only from modules that numba compiles.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_0, _1, _8 = np.uint64(0), np.uint64(1), np.uint64(8)


@njit(inline="always")
def load_eight(data, at):
    """Load eight bytes as one little-endian integer; compiles to a single load."""
    value = np.uint64(data[at])
    value |= np.uint64(data[at + np.uint64(1)]) << np.uint64(8)
    value |= np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
    value |= np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
    value |= np.uint64(data[at + np.uint64(4)]) << np.uint64(32)
    value |= np.uint64(data[at + np.uint64(5)]) << np.uint64(40)
    value |= np.uint64(data[at + np.uint64(6)]) << np.uint64(48)
    return value | np.uint64(data[at + np.uint64(7)]) << np.uint64(56)


@njit(inline="always")
def load_up_to_eight(data, at, end):
    """Load at most eight bytes as one integer, byte by byte."""
    value, shift = _0, _0
    while at < end:
        value |= np.uint64(data[at]) << shift
        shift += _8
        at += _1
    return value
