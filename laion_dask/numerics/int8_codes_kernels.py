"""Compiled loops over rows rounded to int8.

All functions are in this file, because numba's disk cache only tracks changes to the file that
defines a function. Import this module only from `laion_dask.numerics.int8_codes`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Products that are compared with a threshold at a time, before they are looked at one by one.
_CHUNK = 64
#: One, in the fixed-point numbers that `add_codes` and `add_rows` sum.
_ONE = 2.0**31


@njit(nogil=True, fastmath={"reassoc", "contract"})
def _dot(x, y):
    total = 0.0
    for j in range(x.shape[0]):
        total += np.float64(x[j]) * np.float64(y[j])
    return total


@njit(nogil=True)
def _largest(values):
    """The largest absolute value; values that are not finite are not seen."""
    largest = np.float32(0)
    for j in range(values.shape[0]):
        largest = max(largest, abs(values[j]))
    return largest


@njit(nogil=True, fastmath={"reassoc", "contract"})
def _rounded(x, factor, codes):
    """Round ``x * factor`` to int8; return the squared length of what is lost."""
    lost = 0.0
    for j in range(x.shape[0]):
        value = x[j] * factor
        code = np.rint(min(max(value, np.float32(-127)), np.float32(127)))
        codes[j] = np.int8(code)
        lost += (value - code) * (value - code)
    return lost


def encode(x, largest, codes, scale, lost):
    """Round rows to int8, with steps of a 127th of ``largest``, or of each row's largest element.

    Parameters
    ----------
    x : (n, dim) float32 array
    largest : float32
        0 to use that of each row.
    codes : (n, dim) int8 array
    scale, lost : (n,) float32 array
        Output; see `laion_dask.numerics.int8_codes.Codes`. Rows without a direction are left.
    """
    for i in range(x.shape[0]):
        length = np.sqrt(_dot(x[i], x[i]))
        if not (length > 0 and length < np.inf):
            continue
        most = np.float64(largest if largest > 0 else _largest(x[i]))
        factor = 127.0 / most
        if factor < 1e37:
            squared = _rounded(x[i], np.float32(factor), codes[i])
        else:  # a row of subnormal numbers
            squared = _rounded(
                x[i] * np.float32(2.0**100), np.float32(factor * 2.0**-100), codes[i]
            )
        scale[i] = most / 127.0 / length
        lost[i] = np.sqrt(squared) * most / 127.0 / length


def inverse_lengths(x, out):
    """The reciprocal of each row's length, float64; NaN where it has no direction."""
    for i in range(x.shape[0]):
        length = np.sqrt(_dot(x[i], x[i]))
        out[i] = 1.0 / length if length > 0 and length < np.inf else np.nan


def assign(products, first, best, label):
    """Update the largest product of each row and its column, the first of equal ones.

    Parameters
    ----------
    products : (n, k) int32 array
    first : int
        The number of the first column.
    best, label : (n,) int32 array
        The largest product so far, and its column.
    """
    for i in range(products.shape[0]):
        row = products[i]
        most = row[0]
        for j in range(1, row.shape[0]):
            most = max(most, row[j])
        if most > best[i]:
            best[i] = most
            for j in range(row.shape[0]):
                if row[j] == most:
                    label[i] = first + j
                    break


def add_codes(codes, scale, label, sums, sizes):
    """Add rows, from their codes and scaled to length one, to the sums of their clusters.

    Sums are fixed-point numbers, in units of 2**-31, so they do not depend on the order of rows.

    Parameters
    ----------
    codes : (n, dim) int8 array
    scale : (n,) float32 array
        0 for rows that are left out.
    label : (n,) int32 array
    sums : (k, dim) int64 array
    sizes : (k,) int64 array
    """
    for i in range(codes.shape[0]):
        if scale[i] > 0:
            weight = np.int32(np.rint(np.float64(scale[i]) * _ONE))
            row, total = codes[i], sums[label[i]]
            for j in range(row.shape[0]):
                total[j] += np.int64(np.int32(row[j]) * weight)
            sizes[label[i]] += 1


def add_rows(x, inverse, label, sums, sizes):
    """As `add_codes`, from the rows themselves; ``inverse`` is NaN for rows that are left out."""
    for i in range(x.shape[0]):
        if inverse[i] > 0:
            factor = inverse[i] * _ONE
            row, total = x[i], sums[label[i]]
            for j in range(row.shape[0]):
                total[j] += np.int64(np.rint(np.float64(row[j]) * factor))
            sizes[label[i]] += 1


def nearest(products, scale, bound, x, inverse, centroids, first, cosine, label):
    """Update the nearest centroid of each row, by exact cosines of those that products admit.

    Parameters
    ----------
    products : (n, k) int32 array
        Of the codes of rows and centroids.
    scale : (n,) float64 array
        From a product to an approximate cosine; 0 for rows that are left out.
    bound : (n,) float64 array
        Of the error of the approximate cosine.
    x : (n, dim) float32 array
    inverse : (n,) float64 array
        The reciprocal of each row's length.
    centroids : (k, dim) float32 array
        Of length one.
    first : int
        The number of the first of these centroids.
    cosine : (n,) float64 array
        The largest cosine so far.
    label : (n,) int32 array
        Its centroid; of equal ones, the first.
    """
    for i in range(products.shape[0]):
        if not scale[i] > 0:
            continue
        row = products[i]
        most = row[0]
        for j in range(1, row.shape[0]):
            most = max(most, row[j])
        least = max(most - 2 * bound[i] / scale[i], (cosine[i] - bound[i]) / scale[i])
        for start in range(0, row.shape[0], _CHUNK):
            chunk = row[start : start + _CHUNK]
            most = chunk[0]
            for j in range(1, chunk.shape[0]):
                most = max(most, chunk[j])
            if most < least:
                continue
            for j in range(chunk.shape[0]):
                if chunk[j] >= least:
                    value = _dot(x[i], centroids[start + j]) * inverse[i]
                    number = first + start + j
                    if value > cosine[i] or (value == cosine[i] and number < label[i]):
                        cosine[i], label[i] = value, number
                        least = max(least, (value - bound[i]) / scale[i])


#: Cosines this near to 1 are taken for 1: those of equal rows differ from it by rounding.
_EQUAL = 1 - 1e-12


@njit(nogil=True, fastmath={"reassoc", "contract"})
def _largest_product(products, scale):
    most = np.float32(-np.inf)
    for j in range(products.shape[0]):
        most = max(most, np.float32(products[j]) * scale[j])
    return most


def nearest_earlier(
    products, x_scale, bound, y_scale, x, y, x_inverse, y_inverse, ahead, first, cosine, position
):
    """Update, for each row x, the earlier row y with the largest cosine, if that is large enough.

    Parameters
    ----------
    products : (n, m) int32 array
        Of the codes of x and y.
    x_scale, y_scale : (n,) and (m,) float32 array
    bound : (n,) float64 array
        Of the error of an approximate cosine.
    x, y : (n, dim) and (m, dim) float32 array
    x_inverse, y_inverse : (n,) and (m,) float64 array
        The reciprocals of the rows' lengths.
    ahead : int
        The position of the first row of x minus that of the first row of y.
    first : int
        The position of the first row of y.
    cosine : (n,) float64 array
        The largest so far; at first the threshold, which must be exceeded.
    position : (n,) int64 array
        That of the earlier row; of equal cosines, the first one.
    """
    for i in range(products.shape[0]):
        stop = min(products.shape[1], ahead + i)
        least = np.float32((cosine[i] - bound[i]) / x_scale[i])
        for start in range(0, stop, _CHUNK):
            if cosine[i] >= 1:
                break
            end = min(start + _CHUNK, stop)
            if _largest_product(products[i, start:end], y_scale[start:end]) < least:
                continue
            for j in range(start, end):
                if np.float32(products[i, j]) * y_scale[j] >= least and cosine[i] < 1:
                    value = _dot(x[i], y[j]) * x_inverse[i] * y_inverse[j]
                    if value > cosine[i]:
                        cosine[i], position[i] = value if value < _EQUAL else 1.0, first + j
                        least = np.float32((cosine[i] - bound[i]) / x_scale[i])


@njit(nogil=True)
def _root(parents, at):
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at


def unite(
    products, x_scale, bound, y_scale, x, y, x_inverse, y_inverse, ahead, first, least, parents
):
    """Join the components of rows x and earlier rows y whose cosine exceeds ``least``.

    Parameters are those of `nearest_earlier`, and

    Parameters
    ----------
    least : float
    parents : (rows,) int64 array
        A forest of all rows; the root of a tree is its first row.
    """
    for i in range(products.shape[0]):
        stop = min(products.shape[1], ahead + i)
        limit = np.float32((least - bound[i]) / x_scale[i])
        for start in range(0, stop, _CHUNK):
            end = min(start + _CHUNK, stop)
            if _largest_product(products[i, start:end], y_scale[start:end]) < limit:
                continue
            for j in range(start, end):
                if np.float32(products[i, j]) * y_scale[j] < limit:
                    continue
                one, other = _root(parents, first + ahead + i), _root(parents, first + j)
                if one == other or not _dot(x[i], y[j]) * x_inverse[i] * y_inverse[j] > least:
                    continue
                parents[max(one, other)] = min(one, other)
