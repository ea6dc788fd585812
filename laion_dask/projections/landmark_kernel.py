"""A compiled loop that places rows among the landmarks that are nearest to them.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the function creates no
arrays. Import this module only from `laion_dask.projections.landmarks`.
"""

from __future__ import annotations

import numpy as np


def place(products, first, best, number, places, is_last, points):
    """Keep the largest products of each row; after the last tile, the mean of their places.

    Parameters
    ----------
    products : (n, m) int32 array
        Products of rows with a tile of landmarks.
    first : (1,) int64 array
        The number of the tile's first landmark.
    best : (n, k + 1) int32 array
        The largest products so far, in descending order; of equal ones, the first landmark's.
    number : (n, k + 1) int32 array
        Their landmarks; -1 at first.
    places : (landmarks, 2) float64 array
    is_last : (1,) int64 array
        1 for the last tile.
    points : (n, 2) float32 array
        Output.
    """
    n, m = products.shape
    k = best.shape[1] - 1
    for i in range(n):
        for j in range(m):
            value = products[i, j]
            if value <= best[i, k]:
                continue
            at = k
            while at > 0 and value > best[i, at - 1]:
                best[i, at], number[i, at] = best[i, at - 1], number[i, at - 1]
                at -= 1
            best[i, at], number[i, at] = value, np.int32(first[0] + j)
        if is_last[0] == 1:
            least = np.float64(best[i, k])
            span = np.float64(best[i, 0]) - least
            x, y, total = 0.0, 0.0, 0.0
            for at in range(k):
                if number[i, at] < 0:
                    continue
                weight = 1.0
                if number[i, k] >= 0 and span > 0:
                    weight = (np.float64(best[i, at]) - least) / span
                    weight = weight * weight
                x += weight * places[number[i, at], 0]
                y += weight * places[number[i, at], 1]
                total += weight
            points[i, 0], points[i, 1] = np.float32(x / total), np.float32(y / total)
    return np.int64(n)
