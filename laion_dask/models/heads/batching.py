"""Embeddings on their way into a head: as tensors of one size, and their lengths."""

from __future__ import annotations

import numpy as np


def as_array(x) -> np.ndarray:
    """Anything as an array: a tensor by way of main memory; NumPy has no bfloat16."""
    import torch

    if not isinstance(x, torch.Tensor):
        return np.asarray(x)
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def filled(rows, n: int):
    """Rows as an (n, dim) float32 tensor, with zeros behind the last of them."""
    import torch

    if isinstance(rows, np.ndarray):
        # Through a tensor of the same kind: NumPy's own conversion of float16 is twenty times
        # slower than torch's, and torch does not take read-only memory.
        filled = torch.empty((n, rows.shape[1]), dtype=getattr(torch, rows.dtype.name))
        filled.numpy()[: len(rows)] = rows
        filled[len(rows) :] = 0
        return filled.float()
    rows = rows.float()
    return torch.cat([rows, rows.new_zeros((n - len(rows), rows.shape[1]))])


def padded(rows, n: int):
    """A tensor's rows as (n, dim) float32 on its device, with zeros behind the last of them.

    Where nothing is to be done they are the rows given, which are not to be written to.
    """
    import torch

    missing = n - len(rows)
    rows = rows.float()
    return torch.cat([rows, rows.new_zeros((missing, rows.shape[1]))]) if missing else rows


def moved(state, device):
    """Tensors in lists and tuples on a device; what is no tensor stays as it is.

    The copy from pageable memory is waited for, so the tensors are there for every stream.
    """
    import torch

    if isinstance(state, torch.Tensor):
        return state.to(device)
    if isinstance(state, (list, tuple)):
        return type(state)(moved(part, device) for part in state)
    return state


def lengths(rows):
    """Lengths of float32 rows, (n,) float64; NaN or infinite where the row is."""
    import torch

    length = torch.linalg.vector_norm(rows, dim=1).double()
    odd = ~(length > 1e-18) | torch.isinf(length)  # squares that under- or overflow, NaN, zero
    length[odd] = torch.linalg.vector_norm(rows[odd].double(), dim=1)
    return length


def tame(rows, length) -> None:
    """Scale in place the rows that are so long or short that float32 products of them fail."""
    odd = ((length > 1e15) & (length < float("inf"))) | ((length > 0) & (length < 1e-15))
    rows[odd] = (rows[odd].double() / length[odd, None]).float()
    length[odd] = 1.0
