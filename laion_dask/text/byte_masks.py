"""Bit masks over 64 bytes, and unaligned loads. Compiled by numba.

The two masks are raw LLVM IR, because LLVM does not turn a loop over 64 bytes into one vector
comparison with a 64-bit result. Without the IR, the scan takes 25% longer for 60 terms
(``benchmarks/README.md``, Terms). Every function accepts unaligned addresses and releases the GIL.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_LANES = ir.VectorType(ir.IntType(8), 64)


def _load_lanes(context, builder, signature, arguments):
    """Load 64 bytes of a byte array, starting at the given position."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    address = builder.bitcast(builder.gep(data, [arguments[1]]), _LANES.as_pointer())
    lanes = builder.load(address)
    lanes.align = 1
    return lanes


def _splat(value):
    return ir.Constant(_LANES, [value] * 64)


@intrinsic
def word_byte_mask(typing, data, at):
    """Mask of 64 bytes: set for ASCII letters, digits, underscores and all non-ASCII bytes."""

    def code(context, builder, signature, arguments):
        v = _load_lanes(context, builder, signature, arguments)
        letter = builder.sub(builder.or_(v, _splat(0x20)), _splat(ord("a")))
        mask = builder.icmp_unsigned("<", letter, _splat(26))
        digit = builder.icmp_unsigned("<", builder.sub(v, _splat(ord("0"))), _splat(10))
        mask = builder.or_(mask, digit)
        mask = builder.or_(mask, builder.icmp_unsigned("==", v, _splat(ord("_"))))
        mask = builder.or_(mask, builder.icmp_signed("<", v, _splat(0)))
        return builder.bitcast(mask, ir.IntType(64))

    return types.uint64(data, types.int64), code


@intrinsic
def non_ascii_mask(typing, data, at):
    """Mask of 64 bytes: set for non-ASCII bytes."""

    def code(context, builder, signature, arguments):
        v = _load_lanes(context, builder, signature, arguments)
        return builder.bitcast(builder.icmp_signed("<", v, _splat(0)), ir.IntType(64))

    return types.uint64(data, types.int64), code


@intrinsic
def trailing_zeros(typing, number):
    """Number of zero bits below the lowest set bit; 64 for zero."""

    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), code


@intrinsic
def leading_zeros(typing, number):
    """Number of zero bits above the highest set bit; 64 for zero."""

    def code(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), code


@njit(inline="always")
def load_eight(data, at):
    """Load eight bytes as one little-endian integer; compiles to a single load.

    Positions are unsigned, because numba tests signed indices for negative values.
    """
    at = np.uint64(at)
    value = np.uint64(data[at])
    value |= np.uint64(data[at + np.uint64(1)]) << np.uint64(8)
    value |= np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
    value |= np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
    value |= np.uint64(data[at + np.uint64(4)]) << np.uint64(32)
    value |= np.uint64(data[at + np.uint64(5)]) << np.uint64(40)
    value |= np.uint64(data[at + np.uint64(6)]) << np.uint64(48)
    return value | np.uint64(data[at + np.uint64(7)]) << np.uint64(56)
