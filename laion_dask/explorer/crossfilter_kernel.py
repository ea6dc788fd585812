"""Compiled loops over the rows of a sample.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the functions create no
arrays. Import this module only from `laion_dask.explorer.crossfilter`.
"""

from __future__ import annotations

import numpy as np


def set_bit(bits, bit, passes):
    """Set a bit where rows do not pass, and clear it where they do, in place.

    Parameters
    ----------
    bits : (n,) array of unsigned integers
    bit : (1,) array of their dtype
        The bit, as an integer that has no other.
    passes : (n,) uint8 array
        1 or 0.
    """
    one = bit[0]
    clear = ~one
    for i in range(bits.shape[0]):
        bits[i] = bits[i] & clear if passes[i] else bits[i] | one
    return np.int64(bits.shape[0])


def count_bins(bits, keep, codes, several, sums):
    """Add the number of rows of each bin, of those that have none of the bits ``keep``.

    Four sets of counters: rows that follow each other are often in the same bin, and adding to what
    has just been written waits for the write. There is no branch: other rows have the code 255.

    Parameters
    ----------
    bits : (n,) array of unsigned integers
    keep : (1,) array of their dtype
    codes : (n,) uint8 array
    several : (4, 256) int64 array of zeros
    sums : (k,) int64 array
        Output.
    """
    mask = keep[0]
    for i in range(bits.shape[0]):
        fails = 255 * np.int64(bits[i] & mask != 0)
        several[i & 3, np.int64(codes[i]) | fails] += 1
    for code in range(sums.shape[0]):
        sums[code] += several[0, code] + several[1, code] + several[2, code] + several[3, code]
    return np.int64(bits.shape[0])


def count_codes(bits, keep, codes, sums):
    """Add the number of rows of each code, as `count_bins`.

    Parameters
    ----------
    bits, keep
    codes : (n,) int32 array
        -1 for no value.
    sums : (k + 2,) int64 array
        Output: the rows of each code, those without a value, and those that have a bit.
    """
    mask = keep[0]
    failed = sums.shape[0] - 1
    missing = failed - 1
    for i in range(bits.shape[0]):
        code = codes[i]
        at = code if code >= 0 else missing
        sums[at if bits[i] & mask == 0 else failed] += 1
    return np.int64(bits.shape[0])
