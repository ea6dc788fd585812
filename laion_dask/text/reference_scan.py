"""Find captions that may contain HTML character references. Compiled by numba."""

from __future__ import annotations

import numpy as np


def find_references(data, offsets, rows):
    """Find captions that may contain a character reference: "&" before a letter or "#".

    Parameters
    ----------
    data : uint8 array
    offsets : (n + 1,) int64 array
    rows : (n,) int64 array
        Output: positions of the captions, ascending.

    Returns
    -------
    filled : int
        Number of captions found.
    """
    at, end, row, filled = offsets[0], offsets[-1], 0, 0
    while at < end:
        stop = min(at + 64, end)
        if stop - at == 64:
            any_ampersand = np.uint8(0)
            for i in range(64):  # compiles to one comparison of 64 bytes
                any_ampersand |= np.uint8(data[at + i] == 38)
            if not any_ampersand:
                at = stop
                continue
        for i in range(at, min(stop, end - 1)):
            after = data[i + 1]
            if data[i] == 38 and (after == 35 or 97 <= after | np.uint8(0x20) < 123):
                while offsets[row + 1] <= i:
                    row += 1
                if filled == 0 or rows[filled - 1] != row:
                    rows[filled] = row
                    filled += 1
        at = stop
    return filled
