"""Compiled loops of the search in int8: rotate and round rows, and scan marked pairs.

All functions are in this file, because numba's disk cache only tracks changes to the file that
defines a function. Import this module only from `laion_dask.retrieval.exact.int8_rows`.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

#: Adding and subtracting it rounds a float32 of at most 2**22 to an integer, half to even.
_ROUND = np.float32(1.5 * 2**23)
_MOST = np.float32(127)
#: Rows that one number of `scan` marks.
_BITS = 32
#: How many pairs ahead `scan` prefetches: rows come from the third cache, far from each other.
_AHEAD = 2
#: Bytes of a cache line.
_LINE = 64


@intrinsic
def _float(_typing, value):
    """The float32 of a float16, given by its bits as uint16; a float32 is returned as it is."""

    def build(_context, builder, signature, arguments):
        if signature.args[0] == types.float32:
            return arguments[0]
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(value), build


@intrinsic
def _prefetch_line(_typing, address):
    """Ask the processor to load the cache line at an address, without waiting for it."""

    def build(context, builder, _signature, arguments):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, *[number] * 3])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), kind)
        hints = [ir.Constant(number, hint) for hint in (0, 3, 1)]  # to read, soon again, data
        builder.call(function, [builder.inttoptr(arguments[0], pointer), *hints])
        return context.get_dummy_value()

    return types.void(types.intp), build


@njit(nogil=True)
def _prefetch(row):
    """Prefetch a row."""
    for at in range(0, row.shape[0] * row.itemsize, _LINE):
        _prefetch_line(row.ctypes.data + at)


@njit(nogil=True)
def _sums(w, x, y, z):
    """Two rounds of sums and differences of four numbers."""
    s, t, u, v = w + x, w - x, y + z, y - z
    return s + u, t + v, s - u, t - v


@njit(nogil=True)
def _of_neighbors(given, out):
    """Replace four neighbors by their four signed sums, one to each quarter of the output."""
    n = given.shape[0] // 4
    a, b, c, d = out[:n], out[n : 2 * n], out[2 * n : 3 * n], out[3 * n :]
    for j in range(n):
        a[j], b[j], c[j], d[j] = _sums(
            given[4 * j], given[4 * j + 1], given[4 * j + 2], given[4 * j + 3]
        )


@njit(nogil=True)
def _of_quarters(given, signs, out):
    """Replace the numbers at one place in each quarter, times signs, by their signed sums."""
    n = given.shape[0] // 4
    w, x, y, z = given[:n], given[n : 2 * n], given[2 * n : 3 * n], given[3 * n :]
    p, q, r, s = signs[:n], signs[n : 2 * n], signs[2 * n : 3 * n], signs[3 * n :]
    a, b, c, d = out[:n], out[n : 2 * n], out[2 * n : 3 * n], out[3 * n :]
    for j in range(n):
        a[j], b[j], c[j], d[j] = _sums(
            _float(w[j]) * p[j], _float(x[j]) * q[j], _float(y[j]) * r[j], _float(z[j]) * s[j]
        )


@njit(nogil=True)
def _rotate(row, signs, ones, buffers):
    """Rotate a row by eight rounds, two at a time; the result is in ``buffers[0]``, times 16.

    Quarters are faster than neighbors, which have to be sorted; together they mix 256 elements.
    """
    one, other, n = buffers[0], buffers[1], row.shape[0]
    if n % 16:
        for j in range(n):
            one[j] = _float(row[j]) * signs[j]
        _of_neighbors(one, other)
        _of_neighbors(other, one)
    else:
        _of_quarters(row, signs, other)
        for at in range(0, n, n // 4):
            part = slice(at, at + n // 4)
            _of_quarters(other[part], ones[part], one[part])
    _of_neighbors(one, other)
    _of_neighbors(other, one)


@njit(nogil=True)
def _rounded(values, factor, codes, lost):
    """Round ``values * factor`` to int8, and store what is lost."""
    for j in range(values.shape[0]):
        value = values[j] * factor
        code = (min(max(value, -_MOST), _MOST) + _ROUND) - _ROUND
        lost[j] = value - code
        codes[j] = np.int32(code)


@njit(nogil=True, fastmath={"reassoc", "contract"})
def _dot(one, other):
    total = np.float32(0)
    for j in range(one.shape[0]):
        total += _float(one[j]) * other[j]
    return total


def encode(rows, signs, factors, codes, lost, buffers):
    """Rotate rows, and round them to int8.

    Parameters
    ----------
    rows : (n, dim) float32 array, or uint16 array of the bits of float16
        dim must be a multiple of 4.
    signs : (2, dim) float32 array
        The second row is ones.
    factors : (n,) float32 array
        A 16th over the step of each row, times its scale. 0 for rows whose codes are to be 0.
    codes : (n, dim) int8 array
    lost : (n,) float32 array
        Output: the distance between the rotated row and its codes, in steps.
    buffers : (2, dim) float32 array
    """
    for i in range(rows.shape[0]):
        if factors[i] == 0:
            codes[i], lost[i] = 0, 0
            continue
        _rotate(rows[i], signs[0], signs[1], buffers)
        _rounded(buffers[0], factors[i], codes[i], buffers[1])
        lost[i] = np.sqrt(_dot(buffers[1], buffers[1]))


@njit(nogil=True)
def _replace_least(heap, value):
    """Replace the least value of a binary heap, ``heap[0]``."""
    at, n = 0, heap.shape[0]
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value


def scan(marks, rows, scales, queries, least, heaps, first, query, position, cosine):
    """Find the marked pairs whose float32 cosine reaches the query's least.

    Parameters
    ----------
    marks : (at least m, panels) uint32 array
        From `int8_tiles.mark`; bits beyond the last row are ignored.
    rows : (n, dim) float32 array, or uint16 array of the bits of float16
    scales : (n,) float32 array
        Of the rows; NaN where a row has no direction.
    queries : (m, dim) float32 array
    least : (m,) float32 array
    heaps : (m, k) float32 array
        The k greatest cosines of each query, updated.
    first : int
        The query to start with.
    query, position, cosine : (at least n,) int32, int64 and float32 arrays
        Output.

    Returns
    -------
    found, next : int
        The number of pairs, and the query to continue with: the first one not scanned because its
        pairs might not have fitted into the output.
    """
    n, marked, stop = rows.shape[0], 0, first
    while stop < queries.shape[0] and query.shape[0] - marked >= n:
        for panel in range(marks.shape[1]):
            bits, row = marks[stop, panel], panel * _BITS
            while bits and row < n:
                if bits & np.uint32(1):
                    query[marked], position[marked] = stop, row
                    marked += 1
                bits, row = np.uint32(bits >> np.uint32(1)), row + 1
        stop += 1
    found = 0
    for at in range(marked):
        if at + _AHEAD < marked:
            _prefetch(rows[position[at + _AHEAD]])
            _prefetch(queries[query[at + _AHEAD]])
        i, row = query[at], position[at]
        value = _dot(rows[row], queries[i]) * scales[row]
        if value >= least[i]:  # not for NaN
            query[found], position[found], cosine[found] = i, row, value
            found += 1
            if value > heaps[i, 0]:
                _replace_least(heaps[i], value)
    return found, stop
