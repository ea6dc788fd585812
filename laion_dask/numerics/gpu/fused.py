"""Products and dense networks over embeddings on a GPU, each row read once.

The kernels are written in Triton (`triton_kernels`), which is imported at their first use. If they
cannot be compiled, plain torch computes the same on the same GPU, more slowly and within the same
bounds; a `BackendWarning` reports this once per process. No function here falls back to the CPU or
waits for the GPU.
"""

from __future__ import annotations

import importlib
import threading
import warnings

from laion_dask.cuda_errors import is_context_corrupted, is_out_of_memory
from laion_dask.errors import BackendWarning, EmbeddingsError
from laion_dask.numerics.gpu.dense_network import Dense, fits
from laion_dask.numerics.gpu.memory import run_with_oom_backoff

__all__ = ["MOST_VECTORS", "Dense", "dense", "dot_and_squares", "fits"]

#: Maximum number of vectors per pass; with more, threads run out of registers.
MOST_VECTORS = 4
#: Rows per block of plain torch, and the least when memory is short: 400 and 6 MB of float64 at
#: 768 dimensions.
_PLAIN_ROWS, _LEAST_ROWS = 1 << 16, 1 << 10

_guard = threading.Lock()
_failed: set[str] = set()


def dot_and_squares(rows, vectors):
    """The dot products of every row with a few vectors, and its squared length. Eager.

    A row's result does not depend on the other rows.

    Parameters
    ----------
    rows : (n, dim) tensor
        float16, bfloat16 or float32; n may be 0. On a GPU, contiguous, with an address and a row
        size that are multiples of 16 bytes; otherwise plain torch is used.
    vectors : (m, dim) float32 tensor
        On the same device; m from 1 to 4.

    Returns
    -------
    dots : (n, m) float32 tensor
        The error is at most ``dim * 2**-24 * |row| * |vector|``. NaN or infinite for a row with a
        NaN or an infinity.
    squares : (n,) float32 tensor
        The relative error is at most ``dim * 2**-24`` for squares between 1e-30 and 1e30. Beyond
        these, products of float32 or bfloat16 rows may over- or underflow. Squares of float16 rows
        are always within these limits, or zero, infinite or NaN.

    Raises
    ------
    EmbeddingsError
        When a shape, a dtype or a device is wrong.
    """
    import torch

    _check(rows, vectors)
    n = len(rows)
    dots = torch.empty((n, len(vectors)), dtype=torch.float32, device=rows.device)
    squares = torch.empty(n, dtype=torch.float32, device=rows.device)
    if _launched("run_dots_and_squares", rows, vectors.contiguous(), dots, squares):
        return dots, squares
    vectors_f64 = vectors.double().T

    def work(start: int, stop: int) -> None:
        # In float64, so that the last digit of the float32 result depends only on the row.
        x = rows[start:stop].double()
        dots[start:stop] = x @ vectors_f64
        squares[start:stop] = torch.linalg.vector_norm(x, dim=1).square_()

    run_with_oom_backoff(work, n, _PLAIN_ROWS, min_size=_LEAST_ROWS)
    return dots, squares


def dense(rows, network: Dense):
    """A network's output for every row, and the row's squared length, in one pass. Eager.

    The middle layers are computed in bfloat16 and accumulated in float32; the first is exact to 22
    bits of its largest weight, the last in float32. A row's result does not depend on other rows.

    Parameters
    ----------
    rows : (n, dim) float16 tensor
        Contiguous, with an address that is a multiple of 16 bytes.
    network : Dense
        On the same device.

    Returns
    -------
    (numbers, squares) : (n,) float32 tensors, or None
        None if one pass is not possible: an unsupported dtype, no GPU, or no kernel. The output for
        a row with a NaN or an infinity is arbitrary, and its square is NaN or infinite.
    """
    import torch

    if rows.dtype != torch.float16:
        return None
    numbers = torch.empty(len(rows), dtype=torch.float32, device=rows.device)
    squares = torch.empty_like(numbers)
    return (numbers, squares) if _launched("run_dense", rows, network, numbers, squares) else None


def _launched(name: str, rows, *arguments) -> bool:
    """Whether a kernel was launched over the rows; if not, another implementation must be used."""
    if not rows.is_cuda or not _is_aligned(rows) or name in _failed:
        return False
    if not len(rows):
        return True
    try:
        getattr(importlib.import_module("laion_dask.numerics.gpu.triton_kernels"), name)(
            rows, *arguments
        )
    except Exception as error:
        if is_out_of_memory(error) or is_context_corrupted(error):
            raise
        _warn_once(name, error)
        return False
    return True


def _is_aligned(rows) -> bool:
    # For addresses that are multiples of 16 bytes, Triton compiles a different order of summation.
    step = rows.shape[1] * rows.element_size()
    return rows.is_contiguous() and rows.data_ptr() % 16 == 0 and step % 16 == 0


def _warn_once(name: str, error: Exception) -> None:
    with _guard:
        first = not _failed
        _failed.add(name)
    if first:
        reason = (str(error).splitlines() or [""])[0][:200]
        warnings.warn(
            f"Triton's kernel {name.removeprefix('run_')!r} cannot be used here "
            f"({type(error).__name__}: {reason}). Heads are still computed on the GPU, by "
            "plain torch and more slowly. Triton comes with torch on Linux and needs a C compiler "
            "(gcc) on every worker.",
            BackendWarning,
            stacklevel=4,
        )


def _check(rows, vectors) -> None:
    import torch

    dtypes = (torch.float16, torch.bfloat16, torch.float32)
    if rows.ndim != 2 or rows.shape[1] == 0 or rows.dtype not in dtypes:
        raise EmbeddingsError(
            f"Rows were given as {rows.dtype} of shape {tuple(rows.shape)}. Expected (n, dim) of "
            "float16, bfloat16 or float32; convert them first."
        )
    fits = vectors.ndim == 2 and vectors.shape[1] == rows.shape[1]
    if not (fits and 1 <= len(vectors) <= MOST_VECTORS and vectors.dtype == torch.float32):
        raise EmbeddingsError(
            f"The vectors are {vectors.dtype} of shape {tuple(vectors.shape)}. Expected float32, "
            f"1 to {MOST_VECTORS} of {rows.shape[1]} dimensions."
        )
    if vectors.device != rows.device:
        raise EmbeddingsError(
            f"Rows are on {rows.device} and vectors on {vectors.device}. Move one to the device of "
            "the other."
        )
