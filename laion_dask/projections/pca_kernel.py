"""Compiled loops over embeddings: points of a linear projection, and rows rounded to integers.

Sums are pairwise, of the two halves of a row at every level, so their order depends on the width of
a row and on nothing else: the same row gives the same bits in any block and on any processor. Each
level is a loop without dependencies, which the compiler turns into vector instructions.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the functions create no
arrays. Import this module only from `laion_dask.projections.pca`.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(inline="always")
def _sum(buffer, width):
    """The pairwise sum of the first ``width`` numbers, which are overwritten."""
    while width > 1:
        half = (width + 1) // 2
        for j in range(width - half):
            buffer[j] += buffer[half + j]
        width = half
    return buffer[0]


def project(x, components, offsets, buffer, points):
    """The coordinates of rows, scaled to length one, along two components.

    Parameters
    ----------
    x : (n, dim) float32 array
    components : (2, dim) float64 array
    offsets : (2,) float64 array
        Subtracted from the coordinates.
    buffer : (3, dim) float64 array
    points : (n, 2) float32 array
        Output; NaN for a row whose length is zero, infinite or NaN.
    """
    n, dim = x.shape
    half = (dim + 1) // 2
    for i in range(n):
        for j in range(half):
            value = np.float64(x[i, j])
            buffer[0, j] = value * value
            buffer[1, j] = value * components[0, j]
            buffer[2, j] = value * components[1, j]
        for j in range(dim - half):
            value = np.float64(x[i, half + j])
            buffer[0, j] += value * value
            buffer[1, j] += value * components[0, half + j]
            buffer[2, j] += value * components[1, half + j]
        length = np.sqrt(_sum(buffer[0], half))
        if length > 0 and length < np.inf:
            points[i, 0] = np.float32(_sum(buffer[1], half) / length - offsets[0])
            points[i, 1] = np.float32(_sum(buffer[2], half) / length - offsets[1])
        else:
            points[i, 0] = np.nan
            points[i, 1] = np.nan
    return np.int64(n)


def integers(x, scale, buffer, out):
    """Rows scaled to the length ``scale[0]`` and rounded to integers; returns how many there are.

    Parameters
    ----------
    x : (n, dim) float32 array
    scale : (1,) float64 array
    buffer : (dim,) float64 array
    out : (n, dim) float64 array
        Output: the first rows are those with a direction; the others are 0.
    """
    n, dim = x.shape
    found = 0
    for i in range(n):
        for j in range(dim):
            value = np.float64(x[i, j])
            buffer[j] = value * value
        length = np.sqrt(_sum(buffer, dim))
        if length > 0 and length < np.inf:
            for j in range(dim):
                out[found, j] = np.rint(np.float64(x[i, j]) / length * scale[0])
            found += 1
    for i in range(found, n):
        for j in range(dim):
            out[i, j] = 0.0
    return np.int64(found)
