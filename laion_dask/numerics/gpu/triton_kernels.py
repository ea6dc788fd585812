"""The Triton kernels. Importing this module needs Triton, which comes with torch on Linux.

Each row is computed separately and in an order determined by the shapes, so its result does not
depend on the other rows or on its position in a block. For the same reason ``n`` is never
specialized on, and products and sums are fused only where ``tl.fma`` is called.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

#: Rows and columns of a warp's tile: at 16 bytes a lane, a step of float16 is one read per row, and
#: one warp needs no barrier. Nothing is spilled when compiled for compute capability 9.0.
_ROWS, _COLUMNS = 4, 256
#: Rows per block, columns per step of the first layer, and units per step of the second layer. 128
#: rows by 256 units in float32 use half of a multiprocessor's registers; 231 of 255 are used, none
#: spilled.
DENSE_ROWS, DENSE_STEP, DENSE_CHUNK = 128, 64, 64
#: Shared memory in bytes for a block that prefetches steps: three of them on large GPUs.
THREE_STAGES = 122_880

#: 1.5 * 2**52: a float64 below 2**51 to which it is added has no bits left for a fraction, so
#: adding and subtracting it rounds to an integer, half to even.
_WHOLE: tl.constexpr = tl.constexpr(6755399441055744.0)
#: As in ``dot_products``: the scale of the second half of a split weight.
_LOW: tl.constexpr = tl.constexpr(2.0**11)


@triton.jit(do_not_specialize=["n"])
def dots_and_squares(
    rows,  # (n, DIM) float16, bfloat16 or float32
    vectors,  # (M, DIM) float32
    dots,  # (n, M) float32, to fill
    squares,  # (n,) float32, to fill
    n,
    DIM: tl.constexpr,
    M: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP: tl.constexpr,
):
    """Dot products of every row with 1 to 4 vectors and with itself; each row is read once."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row_mask = at < n
    offsets = at.to(tl.int64) * DIM
    square = tl.zeros((BLOCK, STEP), tl.float32)
    dot0 = tl.zeros((BLOCK, STEP), tl.float32)
    dot1 = tl.zeros((BLOCK, STEP), tl.float32)
    dot2 = tl.zeros((BLOCK, STEP), tl.float32)
    dot3 = tl.zeros((BLOCK, STEP), tl.float32)
    for k in tl.static_range(0, DIM, STEP):
        column = k + tl.arange(0, STEP)
        column_mask = column < DIM
        mask = row_mask[:, None] & column_mask[None, :]
        x = tl.load(rows + offsets[:, None] + column[None, :], mask=mask, other=0.0).to(tl.float32)
        square = tl.fma(x, x, square)
        w = tl.load(vectors + column, mask=column_mask, other=0.0)
        dot0 = tl.fma(x, tl.broadcast_to(w[None, :], (BLOCK, STEP)), dot0)
        if M > 1:
            w = tl.load(vectors + DIM + column, mask=column_mask, other=0.0)
            dot1 = tl.fma(x, tl.broadcast_to(w[None, :], (BLOCK, STEP)), dot1)
        if M > 2:
            w = tl.load(vectors + 2 * DIM + column, mask=column_mask, other=0.0)
            dot2 = tl.fma(x, tl.broadcast_to(w[None, :], (BLOCK, STEP)), dot2)
        if M > 3:
            w = tl.load(vectors + 3 * DIM + column, mask=column_mask, other=0.0)
            dot3 = tl.fma(x, tl.broadcast_to(w[None, :], (BLOCK, STEP)), dot3)
    tl.store(squares + at, tl.sum(square, 1), mask=row_mask)
    out = dots + at.to(tl.int64) * M
    tl.store(out, tl.sum(dot0, 1), mask=row_mask)
    if M > 1:
        tl.store(out + 1, tl.sum(dot1, 1), mask=row_mask)
    if M > 2:
        tl.store(out + 2, tl.sum(dot2, 1), mask=row_mask)
    if M > 3:
        tl.store(out + 3, tl.sum(dot3, 1), mask=row_mask)


@triton.jit(do_not_specialize=["n"])
def dense(
    rows,  # (n, DIM) float16
    first,  # (DIM, H1, 2) float16: a weight's two halves side by side
    bias1,  # (H1,) float32
    second,  # (H1, H2) bfloat16; not read where H2 is 0
    bias2,  # (H2,) float32
    third,  # (H2 or H1, H3) bfloat16
    bias3,  # (H3,) float32
    last,  # (H3,) float32
    shift,  # (1,) float32
    dims,  # (L,) int64: the dimensions that are looked up
    spans,  # (3, L) float64: the number before the lowest slot, slots, start in the table
    table,  # float32
    ours,  # (L, H1) float32: the weights of what is looked up
    numbers,  # (n,) float32, to fill
    squares,  # (n,) float32, to fill
    n,
    scale,  # of ``first``
    DIM: tl.constexpr,
    H1: tl.constexpr,
    H2: tl.constexpr,
    H3: tl.constexpr,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """A dense network with ReLU over every row, and the row's dot product with itself.

    Only the row and the two results pass through GPU memory. The second hidden layer is computed
    and consumed ``CHUNK`` units at a time.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row_mask = at < n
    offsets = at.to(tl.int64) * DIM
    halves = tl.arange(0, 2 * H1)
    both = tl.zeros((BLOCK, 2 * H1), tl.float32)
    square = tl.zeros((BLOCK, STEP), tl.float32)
    for k in range(0, DIM, STEP):
        column = k + tl.arange(0, STEP)
        x = tl.load(rows + offsets[:, None] + column[None, :], mask=row_mask[:, None], other=0.0)
        w = tl.load(first + column[:, None] * (2 * H1) + halves[None, :])
        both = tl.dot(x, w, both)
        x_f32 = x.to(tl.float32)
        square = tl.fma(x_f32, x_f32, square)
    tl.store(squares + at, tl.sum(square, 1), mask=row_mask)

    unit = tl.arange(0, H1)
    high, low = tl.split(tl.reshape(both, (BLOCK, H1, 2)))
    hidden = (high + low / _LOW) * scale + tl.load(bias1 + unit)[None, :]
    for i in tl.static_range(L):
        value = tl.load(rows + offsets + tl.load(dims + i), mask=row_mask, other=0.0).to(tl.float64)
        slot = value * 1e6 + _WHOLE - _WHOLE - tl.load(spans + i)
        in_table = (slot > 0) & (slot < tl.load(spans + L + i))  # False for NaN and infinity
        slot = tl.where(in_table, slot, 0.0) + tl.load(spans + 2 * L + i)
        index = tl.load(table + slot.to(tl.int64))
        weight = tl.load(ours + i * H1 + unit)
        hidden = tl.fma(
            tl.broadcast_to(index[:, None], (BLOCK, H1)),
            tl.broadcast_to(weight[None, :], (BLOCK, H1)),
            hidden,
        )
    hidden = tl.maximum(hidden, 0.0).to(tl.bfloat16)

    wide_unit = tl.arange(0, H3)
    if H2 > 0:
        out = tl.zeros((BLOCK, H3), tl.float32)
        for c in range(0, H2, CHUNK):
            column = c + tl.arange(0, CHUNK)
            w = tl.load(second + unit[:, None] * H2 + column[None, :])
            part = tl.dot(hidden, w) + tl.load(bias2 + column)[None, :]
            part = tl.maximum(part, 0.0).to(tl.bfloat16)
            w = tl.load(third + column[:, None] * H3 + wide_unit[None, :])
            out = tl.dot(part, w, out)
    else:
        out = tl.dot(hidden, tl.load(third + unit[:, None] * H3 + wide_unit[None, :]))
    out = tl.maximum(out + tl.load(bias3 + wide_unit)[None, :], 0.0)
    number = tl.sum(out * tl.load(last + wide_unit)[None, :], 1) + tl.load(shift)
    tl.store(numbers + at, number, mask=row_mask)


def run_dots_and_squares(rows, vectors, dots, squares) -> None:
    """Launch `dots_and_squares` on the rows' device and its current stream."""
    n, dim = rows.shape
    with torch.cuda.device_of(rows):
        dots_and_squares[(triton.cdiv(n, _ROWS),)](
            rows,
            vectors,
            dots,
            squares,
            n,
            DIM=dim,
            M=len(vectors),
            BLOCK=_ROWS,
            STEP=_COLUMNS,
            num_warps=1,
            enable_fp_fusion=False,
        )


def run_dense(rows, network, numbers, squares) -> None:
    """Launch `dense` on the rows' device and its current stream.

    Parameters
    ----------
    rows : (n, dim) float16 tensor
    network : dense_network.Dense
    numbers, squares : (n,) float32 tensors, to fill
    """
    n, dim = rows.shape
    h1, h2, h3 = network.sizes
    with torch.cuda.device_of(rows):
        dense[(triton.cdiv(n, DENSE_ROWS),)](
            rows,
            *network.tensors,
            numbers,
            squares,
            n,
            network.scale,
            DIM=dim,
            H1=h1,
            H2=h2,
            H3=h3,
            L=network.n_looked_up,
            BLOCK=DENSE_ROWS,
            STEP=DENSE_STEP,
            CHUNK=DENSE_CHUNK,
            num_warps=8,
            num_stages=_stages(rows.device),
            enable_fp_fusion=False,
        )


def _stages(device) -> int:
    if device.type != "cuda":
        return 1
    if torch.cuda.get_device_capability(device) < (8, 0):
        raise NotImplementedError("compute capability 8.0 or above multiplies bfloat16")
    room = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    return 3 if room >= THREE_STAGES else 2
