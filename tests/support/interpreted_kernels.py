"""Run the Triton kernels on the CPU in Triton's interpreter, against float64; for test_fused.py.

This needs its own process: Triton decides on import whether kernels are interpreted.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

import sys
from itertools import pairwise

import numpy as np
import torch
from triton.runtime import interpreter

from laion_dask.models import heads
from laion_dask.numerics.gpu import fused, triton_kernels


def patch_bfloat16() -> None:
    """Patch the interpreter, which multiplies bfloat16 bits and truncates where GPUs round."""
    builder, tl = interpreter.InterpreterBuilder, interpreter.tl
    plain_dot, plain_cast = builder.create_dot, builder.cast_impl

    def create_dot(self, a, b, d, *rest):
        if a.dtype == b.dtype == tl.bfloat16:
            a, b = (self.create_fp_ext(part, tl.float32) for part in (a, b))
        return plain_dot(self, a, b, d, *rest)

    def cast_impl(self, source, kind):
        if (source.dtype.scalar, kind.scalar) != (tl.float32, tl.bfloat16):
            return plain_cast(self, source, kind)
        bits = torch.from_numpy(source.data).to(torch.bfloat16).view(torch.uint16).numpy()
        return interpreter.TensorHandle(bits, tl.bfloat16)

    builder.create_dot, builder.cast_impl = create_dot, cast_impl


def rows(n: int, dim: int, dtype: torch.dtype) -> torch.Tensor:
    x = np.random.default_rng(dim).normal(size=(n, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x[0], x[1, 3], x[2, 4], x[3, 5] = 0, np.nan, np.inf, -np.inf
    x[4], x[5, 1:], x[6] = 6e-8, 0, 2.0**-14  # smallest float16, single nonzero, subnormal
    return torch.from_numpy(x).to(dtype)


def dots() -> None:
    for n, dim, m, dtype in [
        (5, 512, 1, torch.float16),
        (41, 768, 2, torch.bfloat16),
        (17, 640, 3, torch.float32),
        (9, 1024, 4, torch.float16),
        (33, 72, 4, torch.float32),
    ]:
        x, w = rows(max(n, 7), dim, dtype)[:n], torch.randn(m, dim)
        dot_products, squares = torch.full((n, m), 7.0), torch.full((n,), 7.0)
        triton_kernels.run_dots_and_squares(x, w, dot_products, squares)
        wide = x.double()
        with np.errstate(invalid="ignore"):
            true, lengths = wide @ w.double().T, wide.square().sum(1)
        finite = torch.isfinite(lengths)
        assert (
            not torch.isfinite(dot_products[~finite]).any()
            and not torch.isfinite(squares[~finite]).any()
        )
        bound = dim * 2.0**-24 * lengths.sqrt()[:, None] * w.double().norm(dim=1)
        assert ((dot_products - true).abs() <= bound)[finite].all()
        assert ((squares - lengths).abs() <= dim * 2.0**-24 * lengths)[finite].all()
        for at in range(n):  # results depend on the row alone
            one, square = torch.empty(1, m), torch.empty(1)
            triton_kernels.run_dots_and_squares(x[at : at + 1], w, one, square)
            torch.testing.assert_close(one[0], dot_products[at], rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(square[0], squares[at], rtol=0, atol=0, equal_nan=True)


def rounded(x: np.ndarray) -> np.ndarray:
    return torch.from_numpy(np.asarray(x, np.float32)).to(torch.bfloat16).double().numpy()


def reference_network(x: np.ndarray, layers, indices: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Evaluate the network in float64, rounded to bfloat16 where the kernel rounds."""
    (weight, bias), *middle, (last, shift) = layers
    hidden = np.maximum(x @ weight.T.astype(np.float64) + indices @ ours + bias, 0)
    for weight, bias in middle:
        hidden = np.maximum(rounded(hidden) @ rounded(weight).T + bias, 0)
    return hidden @ last[0] + shift


def dense() -> None:
    draw = np.random.default_rng(0)
    for n, sizes, n_looked_up in [
        (130, (768, 64, 512, 256, 1), 2),
        (20, (512, 32, 32, 1), 0),
        (20, (128, 20, 100, 40, 1), 1),
        (7, (64, 16, 5, 1), 3),
    ]:
        layers = [
            (draw.normal(size=(o, i)) * (2 / i) ** 0.5, draw.normal(size=o) / 8)
            for i, o in pairwise(sizes)
        ]
        layers[0] = layers[0][0] * sizes[0] ** 0.5, layers[0][1]  # because rows have unit length
        layers = [(w.astype(np.float32), b.astype(np.float32)) for w, b in layers]
        assert fused.fits(layers)
        x = rows(n, sizes[0], torch.float16)
        dims = np.arange(n_looked_up) * 7 + 1
        layers[0][0][:, dims] = 0
        words = np.rint(x.double().numpy()[:, dims] * 1e6)  # rounds as on the CPU
        table, start = [], np.zeros(n_looked_up)
        indices, before = np.zeros((n, n_looked_up)), np.zeros(n_looked_up)
        size = np.full(n_looked_up, 2001.0)
        for i in range(n_looked_up):
            start[i], before[i] = sum(map(len, table)), -1001 + 300 * i
            table.append(np.concatenate([[0], draw.integers(1, 900, 2000)]).astype(np.float32))
            slot = words[:, i] - before[i]
            known = (slot > 0) & (slot < 2001)
            assert n < 100 or known.any()
            indices[known, i] = table[i][slot[known].astype(int)]
        ours = draw.normal(size=(n_looked_up, sizes[1])).astype(np.float32) * 1e-3
        flat = np.concatenate(table) if table else None
        lookup = (dims, before, size, start, flat, ours) if n_looked_up else None
        network = fused.Dense(layers, lookup, torch.device("cpu"))
        numbers, squares = torch.full((n,), 7.0), torch.full((n,), 7.0)
        triton_kernels.run_dense(x, network, numbers, squares)
        wide = x.double().numpy()
        finite = np.isfinite(wide).all(axis=1)
        assert not np.isfinite(squares.numpy()[~finite]).any()
        np.testing.assert_allclose(squares[finite], (wide[finite] ** 2).sum(1), rtol=1e-5)
        wanted = reference_network(wide[finite], layers, indices[finite], ours)
        # A sum in another order that crosses a bfloat16 rounding boundary changes by 2**-8.
        np.testing.assert_allclose(numbers[finite], wanted, atol=2e-3, rtol=2e-3)
        assert np.std(wanted) > 0.05


def published(file: str, model: str, answers: str) -> None:
    """Check a complete LAION head through the fused kernel against TensorFlow's answers."""

    def launched(name, rows, *others):
        getattr(triton_kernels, name)(rows, *others)
        return True

    fused._launched = launched
    head = heads.nsfw(model, weights=file, precision="bfloat16")
    with np.load(answers, allow_pickle=False) as known:
        x, wanted = known["embedding_f16"][:300].copy(), known["p_from_f16"][:300]
    x[7], x[8, 9], x[9] = 0, np.nan, x[9] * 3
    scores = head.on_device(torch.from_numpy(x)).numpy()
    assert np.flatnonzero(np.isnan(scores)).tolist() == [7, 8, 9]
    rest = np.delete(np.arange(300), [7, 8, 9])
    np.testing.assert_allclose(scores[rest], wanted[rest], atol=5e-3)
    np.testing.assert_allclose(np.median(np.abs(scores - wanted)[rest]), 0, atol=2e-4)
    np.testing.assert_allclose(scores[rest], head.predict(x)[rest], atol=2e-3)


if __name__ == "__main__":
    patch_bfloat16()
    with np.errstate(all="ignore"):
        {"dots": dots, "dense": dense, "published": published}[sys.argv[1]](*sys.argv[2:])
