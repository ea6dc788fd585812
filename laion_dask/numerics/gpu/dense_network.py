"""A dense network's weights in the layout of the one-pass kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: The widest first and last hidden layer whose sums fit in the registers of a block of rows.
MOST_FIRST, MOST_LAST = 64, 256
#: Columns per step; ``dim`` must be a multiple. Also the units of the second layer per step.
_STEP = 64
#: The narrowest matrix that the tensor cores multiply.
_LEAST = 16
#: As in ``dot_products``: the scale of the second half of a split weight.
_LOW = 2.0**11


def fits(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether a network can run in one pass: two or three hidden layers, narrow enough.

    Parameters
    ----------
    layers : sequence of (weight, bias)
        Arrays of shapes (out, in) and (out,); the last layer has one output.
    """
    if len(layers) not in (3, 4):
        return False
    dim, first = layers[0][0].shape[1], len(layers[0][1])
    last = len(layers[-2][1])
    return dim % _STEP == 0 and first <= MOST_FIRST and last <= MOST_LAST


class Dense:
    """A network on a device, with one output and ReLU after all layers except the last.

    Layers are padded with zeros to powers of two.

    Parameters
    ----------
    layers : sequence of (weight, bias)
        float32 arrays of shapes (out, in) and (out,), accepted by `fits`.
    lookup : tuple of arrays, optional
        Inputs that are looked up, as in ``models.heads.dense``: dimensions (L,); the numbers before
        the lowest slots, the numbers of slots and their starts, (L,) float64 each; the float32
        table; and the first layer's weights of the looked-up values, (L, first) float32.
    device : torch.device

    Attributes
    ----------
    sizes : tuple of three int
        The padded widths of the hidden layers; the second is 0 if there are two.
    scale : float
        The largest weight of the first layer.
    n_looked_up : int
    tensors : list of tensor
        In the kernel's order.
    """

    def __init__(self, layers, lookup, device) -> None:
        (first, bias1), *second, (third, bias3), (last, shift) = layers
        h1, h3 = _padded(len(bias1)), _padded(len(bias3))
        weight2, bias2 = second[0] if second else (np.zeros((0, h1)), np.zeros(0))
        h2 = -(-len(bias2) // _STEP) * _STEP
        halves, self.scale = _halves(_filled(first.T, first.shape[1], h1))
        dims, *spans, table, lookup_weights = lookup or _no_lookup()
        self.sizes, self.n_looked_up = (h1, h2, h3), len(dims)
        self.tensors = [
            _tensor(array, dtype, device)
            for array, dtype in [
                (halves, "float16"),
                (_filled(bias1, h1), "float32"),
                (_filled(weight2.T, h1, h2), "bfloat16"),
                (_filled(bias2, h2), "float32"),
                (_filled(third.T, h2 or h1, h3), "bfloat16"),
                (_filled(bias3, h3), "float32"),
                (_filled(last[0], h3), "float32"),
                (shift, "float32"),
                (dims, "int64"),
                (np.stack(spans), "float64"),
                (table, "float32"),
                (_filled(lookup_weights, len(dims), h1), "float32"),
            ]
        ]


def _tensor(array: np.ndarray, dtype: str, device):
    """Copy an array to a device, converted, so that any stream may use the tensor (the copy from
    pageable memory is synchronous).
    """
    import torch

    return torch.from_numpy(np.array(array)).to(getattr(torch, dtype)).to(device)


def _padded(n: int) -> int:
    """The power of two that a layer is padded to."""
    return max(_LEAST, 1 << (n - 1).bit_length())


def _filled(array: np.ndarray, *shape: int) -> np.ndarray:
    """An array padded with zeros at the end of every axis."""
    out = np.zeros(shape, array.dtype)
    out[tuple(map(slice, array.shape))] = array
    return out


def _halves(weight: np.ndarray) -> tuple[np.ndarray, float]:
    """A weight (in, out) as two interleaved float16 halves, (in, out, 2), and their scale.

    ``weight = scale * (halves[..., 0] + halves[..., 1] * 2**-11)``, to 22 bits of the largest.
    """
    scale = float(np.abs(weight).max(initial=0.0)) or 1.0
    scaled = weight.astype(np.float64) / scale
    high = scaled.astype(np.float16)
    return np.stack([high, ((scaled - high) * _LOW).astype(np.float16)], axis=-1), scale


def _no_lookup() -> tuple[np.ndarray, ...]:
    return np.zeros(0), *np.zeros((3, 0)), np.zeros(0), np.zeros((0, 0))
