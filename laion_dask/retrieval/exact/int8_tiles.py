"""Compiled loops that multiply int8 codes and keep one bit of each product: whether it is enough.

A product stays in a register until it has been compared: writing all of them to memory, and
reading them again, takes a third of the time of multiplying. Import this module only from
`laion_dask.retrieval.exact.int8_rows`; as in `int8_kernels`, all functions are in this file.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

#: Rows and queries of a tile: 24 of the 32 registers of AVX-512 hold its sums, 16 in each. Larger
#: tiles are not faster; the rows of one stay in a core's first cache.
TILE_ROWS, TILE_QUERIES = 32, 12
_LANES = 16
_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_I32, _LANES)
_DOT = "llvm.x86.avx512.vpdpbusd.512"


def _everywhere(build, number):
    """A vector that has the number in every lane."""
    nowhere = ir.Constant(_VECTOR, ir.Undefined)
    first = build.insert_element(nowhere, number, ir.Constant(_I32, 0))
    return build.shuffle_vector(first, nowhere, ir.Constant(_VECTOR, [0] * _LANES))


def _loaded(build, address, kind, count: int) -> list:
    """Several values of a type that follow each other in memory."""
    pointer = build.inttoptr(address, kind.as_pointer())
    values = [build.load(build.gep(pointer, [ir.Constant(_I32, i)])) for i in range(count)]
    for value in values:
        value.align = 4
    return values


def _add_products(build, rows, queries, sums, function) -> list:
    """The sums, four columns later: each adds four products in each lane."""
    codes = _loaded(build, rows, _VECTOR, TILE_ROWS // _LANES)
    return [
        build.call(function, [sums[len(codes) * q + r], code, query])
        for q, number in enumerate(_loaded(build, queries, _I32, TILE_QUERIES))
        for query in [_everywhere(build, number)]
        for r, code in enumerate(codes)
    ]


def _compare(build, sums, cuts, marks, stride) -> None:
    """Store one bit per sum, whether it reaches its query's cut: 32 bits per query."""
    width = TILE_ROWS // _LANES
    for q, cut in enumerate(_loaded(build, cuts, _I32, TILE_QUERIES)):
        line = build.add(marks, build.mul(stride, ir.Constant(_I64, q)))
        pointer = build.inttoptr(line, _I16.as_pointer())
        for r in range(width):
            reaches = build.icmp_signed(">=", sums[width * q + r], _everywhere(build, cut))
            place = build.gep(pointer, [ir.Constant(_I32, r)])
            build.store(build.bitcast(reaches, _I16), place)


def _build_tile(_context, build, _signature, arguments):
    rows, queries, cuts, marks, stride, steps = arguments
    function = build.module.globals.get(_DOT) or ir.Function(
        build.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), _DOT
    )
    before, loop = build.block, build.append_basic_block("columns")
    after = build.append_basic_block("compare")
    build.branch(loop)
    build.position_at_end(loop)
    at = build.phi(_I64)
    at.add_incoming(ir.Constant(_I64, 0), before)
    sums = [build.phi(_VECTOR) for _ in range(TILE_ROWS // _LANES * TILE_QUERIES)]
    row_at = build.add(rows, build.mul(at, ir.Constant(_I64, 4 * TILE_ROWS)))
    query_at = build.add(queries, build.mul(at, ir.Constant(_I64, 4 * TILE_QUERIES)))
    added = _add_products(build, row_at, query_at, sums, function)
    following = build.add(at, ir.Constant(_I64, 1))
    build.cbranch(build.icmp_signed("<", following, steps), loop, after)
    at.add_incoming(following, loop)
    for value, sum_ in zip(sums, added, strict=True):
        value.add_incoming(ir.Constant(_VECTOR, [0] * _LANES), before)
        value.add_incoming(sum_, loop)
    build.position_at_end(after)
    _compare(build, added, cuts, marks, stride)


@intrinsic
def _tile(_typing, rows, queries, cuts, marks, stride, steps):
    """Multiply one tile, at these addresses, and mark the products that reach the cuts."""

    def build(context, builder, signature, arguments):
        _build_tile(context, builder, signature, arguments)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), build


@njit(nogil=True)
def _interleave(codes, panel):
    """Copy up to 32 rows as `_tile` reads them: the same four columns of all rows together."""
    for i in range(codes.shape[0]):
        for j in range(codes.shape[1]):
            panel[j, i] = codes[i, j] ^ np.uint32(0x80808080)


def mark(codes, panel, queries, cuts, marks):
    """Mark the pairs of a row and a query whose product reaches the query's cut.

    Requires AVX-512 VNNI, which multiplies unsigned by signed numbers, so 128 is added to codes.

    Parameters
    ----------
    codes : (n, dim / 4) uint32 array
        Four int8 codes each.
    panel : (dim / 4, TILE_ROWS) uint32 array
        Scratch. It stays in a core's first cache while it is multiplied by all queries.
    queries : (tiles, dim / 4, 4 * TILE_QUERIES) int8 array
    cuts : (tiles * TILE_QUERIES,) int32 array
        For products of codes plus 128.
    marks : (tiles * TILE_QUERIES, panels) uint32 array
        Output: one bit per row, the lowest for the first. Bits beyond the last row are arbitrary.
    """
    stride = 4 * marks.shape[1]
    for number in range(marks.shape[1]):
        _interleave(codes[number * TILE_ROWS : (number + 1) * TILE_ROWS], panel)
        for tile in range(queries.shape[0]):
            first = tile * TILE_QUERIES
            _tile(
                panel.ctypes.data,
                queries[tile].ctypes.data,
                cuts.ctypes.data + 4 * first,
                marks.ctypes.data + stride * first + 4 * number,
                stride,
                panel.shape[0],
            )


def mark_products(products, cuts, marks):
    """As `mark`, for products that are in memory: (m, n) int32, with cuts (m,) int32."""
    for i in range(products.shape[0]):
        line, cut = products[i], cuts[i]
        for panel in range(marks.shape[1]):
            part, bits = line[panel * TILE_ROWS : (panel + 1) * TILE_ROWS], np.uint32(0)
            for j in range(part.shape[0]):
                bits |= np.uint32(part[j] >= cut) << np.uint32(j)
            marks[i, panel] = bits
