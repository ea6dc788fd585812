"""A dense network's weights as the one-pass kernel reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: The widest first and last hidden layer whose sums fit into the registers of a block of rows.
MOST_FIRST, MOST_LAST = 64, 256
#: Columns of a step: ``dim`` has to be a multiple. Units of the second layer are taken by as many.
_STEP = 64
#: The narrowest that the tensor cores multiply.
_LEAST = 16
#: As in ``products``: what the second half of a split weight is scaled by.
_LOW = 2.0**11


def fits(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether a network can be run in one pass: two or three hidden layers, narrow enough.

    Parameters
    ----------
    layers : sequence of (weight, bias)
        Arrays of shapes (out, in) and (out,); the last with one number.
    """
    if len(layers) not in (3, 4):
        return False
    dim, first = layers[0][0].shape[1], len(layers[0][1])
    last = len(layers[-2][1])
    return dim % _STEP == 0 and first <= MOST_FIRST and last <= MOST_LAST


class Dense:
    """A network with ReLU behind all layers but the last, which makes one number, on a device.

    Layers are filled up with zeros to powers of two.

    Parameters
    ----------
    layers : sequence of (weight, bias)
        float32 arrays that fit, of shapes (out, in) and (out,).
    lookup : tuple of arrays, optional
        Inputs that are looked up, as of ``models.heads.dense``: dimensions (L,), the numbers before
        the lowest slots, the numbers of slots and where they start, (L,) float64 each, the table of
        float32, and the first layer's weights of what is looked up, (L, first) float32.
    device : torch.device

    Attributes
    ----------
    sizes : tuple of three int
        Of the hidden layers as they are filled up; the second is 0 where there are two.
    scale : float
        Of the first layer: its largest weight.
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
        dims, *spans, table, ours = lookup or _no_lookup()
        self.sizes, self.n_looked_up = (h1, h2, h3), len(dims)
        self.tensors = [
            _tensor(part, dtype, device)
            for part, dtype in [
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
                (_filled(ours, len(dims), h1), "float32"),
            ]
        ]


def _tensor(array: np.ndarray, dtype: str, device):
    """A tensor that is there for every stream: what is copied from pageable memory is waited for,
    and it is converted before.
    """
    import torch

    return torch.from_numpy(np.array(array)).to(getattr(torch, dtype)).to(device)


def _padded(n: int) -> int:
    """The power of two that a layer is filled up to."""
    return max(_LEAST, 1 << (n - 1).bit_length())


def _filled(array: np.ndarray, *shape: int) -> np.ndarray:
    """An array with zeros behind it along every axis."""
    out = np.zeros(shape, array.dtype)
    out[tuple(map(slice, array.shape))] = array
    return out


def _halves(weight: np.ndarray) -> tuple[np.ndarray, float]:
    """A weight (in, out) as two float16 halves side by side, (in, out, 2), and their scale.

    ``weight = scale * (halves[..., 0] + halves[..., 1] * 2**-11)``, to 22 bits of the largest.
    """
    scale = float(np.abs(weight).max(initial=0.0)) or 1.0
    whole = weight.astype(np.float64) / scale
    high = whole.astype(np.float16)
    return np.stack([high, ((whole - high) * _LOW).astype(np.float16)], axis=-1), scale


def _no_lookup() -> tuple[np.ndarray, ...]:
    return np.zeros(0), *np.zeros((3, 0)), np.zeros(0), np.zeros((0, 0))
