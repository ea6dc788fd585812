"""A compiled loop that decides which points are in a polygon.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the function creates no
arrays. Import this module only from `laion_dask.projections.polygon`.
"""

from __future__ import annotations

import numpy as np

#: More than what is lost where a product is too small for float64.
_UNDERFLOW = 1e-300


def classify(points, edges, starts, crossing, frame, out):
    """Count the edges to the right of each point, by the even-odd rule.

    Parameters
    ----------
    points : (n, 2) float64 array
    edges : (m, 4) float64 array
        The two ends of each edge: x, y, x, y.
    starts : (bands + 1,) int64 array
        The first edge of each band of y in ``crossing``.
    crossing : int64 array
        The numbers of the edges that each band has a part of.
    frame : (6,) float64 array
        Lowest and highest x, lowest and highest y, bands per unit of y, and the relative error of a
        determinant.
    out : (n,) uint8 array
        Output: 0 outside, 1 inside, 2 so near an edge that float64 does not decide.
    """
    n_bands = starts.shape[0] - 1
    for i in range(points.shape[0]):
        x, y = points[i, 0], points[i, 1]
        out[i] = 0
        if not (x >= frame[0] and x <= frame[1] and y >= frame[2] and y <= frame[3]):
            continue
        band = min(np.int64((y - frame[2]) * frame[4]), n_bands - 1)
        inside, unsure = False, False
        for at in range(starts[band], starts[band + 1]):
            e = crossing[at]
            ax, ay, bx, by = edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
            if (ay > y) != (by > y):
                left, right = (bx - ax) * (y - ay), (by - ay) * (x - ax)
                difference = left - right
                if abs(difference) <= frame[5] * (abs(left) + abs(right)) + _UNDERFLOW:
                    unsure = True
                elif (difference > 0) == (by > ay):
                    inside = not inside
            elif ay == y and by == y:
                unsure = unsure or (min(ax, bx) <= x and x <= max(ax, bx))
            elif (ay == y and ax == x) or (by == y and bx == x):
                unsure = True
        out[i] = 2 if unsure else inside
    return np.int64(points.shape[0])
