"""Prepare embeddings for a head: tensors of one size, and row lengths."""

from __future__ import annotations

import numpy as np

from laion_dask.numerics.dot_products import squares


def as_array(x) -> np.ndarray:
    """Convert to an array; a tensor is copied to main memory, as NumPy has no bfloat16."""
    import torch

    if not isinstance(x, torch.Tensor):
        return np.asarray(x)
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def rows_of(x) -> tuple:
    """The rows as a NumPy array, or as a tensor if they are one on a GPU; whether they are floats.

    Floats are of at most eight bytes. A tensor that does not hold floats is returned as it is.
    """
    import torch

    if not isinstance(x, torch.Tensor):
        x = np.asarray(x)
        return x, x.dtype.kind == "f" and x.dtype.itemsize <= 8
    is_float = x.is_floating_point()
    return (x.detach() if x.device.type != "cpu" or not is_float else as_array(x)), is_float


def first_scaled(x, block: int, tolerance: float) -> tuple[int, float] | None:
    """The first row whose length is not 1, and its length; rows without direction are skipped.

    None if there is no such row. Reads ``block`` rows at a time.
    """
    for at in range(0, len(x), block):
        rows = x[at : at + block]
        length = lengths(filled(rows, len(rows))).cpu().numpy()
        is_scaled = np.isfinite(length) & (length > 0) & (np.abs(length - 1) > tolerance)
        if is_scaled.any():
            first = int(np.argmax(is_scaled))
            return at + first, float(length[first])
    return None


def filled(rows, n: int):
    """Rows as an (n, dim) float32 tensor, padded with zeros."""
    import torch

    if isinstance(rows, np.ndarray):
        native = np.require(rows, rows.dtype.newbyteorder("="), ["C", "A"])
        filled = torch.empty((n, rows.shape[1]))
        filled[: len(rows)].copy_(torch.from_dlpack(native))  # NumPy converts float16 slowly
        filled[len(rows) :] = 0
        return filled
    rows = rows.float()
    return torch.cat([rows, rows.new_zeros((n - len(rows), rows.shape[1]))])


def padded(rows, n: int):
    """A tensor's rows as (n, dim) float32 on its device, padded with zeros.

    May return the given rows themselves, which must not be written to.
    """
    import torch

    missing = n - len(rows)
    rows = rows.float()
    return torch.cat([rows, rows.new_zeros((missing, rows.shape[1]))]) if missing else rows


def moved(state, device):
    """Copy tensors in lists and tuples to a device; other values are kept.

    The copy is synchronous, so the tensors are ready for every stream.
    """
    import torch

    if isinstance(state, torch.Tensor):
        return state.to(device)
    if isinstance(state, (list, tuple)):
        return type(state)(moved(part, device) for part in state)
    return state


def stored_lengths(x: np.ndarray, n: int):
    """Lengths of rows of an array as stored, padded with zeros, (n,) float64 tensor."""
    import torch

    length = np.zeros(n)
    np.sqrt(squares(x), out=length[: len(x)])
    return torch.from_numpy(length)


def lengths(rows):
    """Lengths of float32 rows, (n,) float64; NaN or infinite if the row is."""
    import torch

    length = torch.linalg.vector_norm(rows, dim=1).double()
    imprecise = ~(length > 1e-18) | torch.isinf(length)  # squares under- or overflow, NaN, zero
    length[imprecise] = torch.linalg.vector_norm(rows[imprecise].double(), dim=1)
    return length


def scale_extreme_rows(rows, length) -> None:
    """Scale, in place, rows whose lengths would make float32 products overflow or underflow."""
    extreme = ((length > 1e15) & (length < float("inf"))) | ((length > 0) & (length < 1e-15))
    rows[extreme] = (rows[extreme].double() / length[extreme, None]).float()
    length[extreme] = 1.0
