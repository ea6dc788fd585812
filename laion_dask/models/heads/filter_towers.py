"""The towers of a filter network, as functions of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

#: Rows per block. The last block is padded with zeros, so that the products of a row do not depend
#: on the other rows.
BLOCK = 512
#: The weights of a tower, in the order of the arguments of `mapped`.
PARTS = ("down", "bias", "up")


def weights_of(data: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file of a filter network, in float64.

    Raises
    ------
    ValueError
        When the file has other tensors.
    """
    from safetensors.torch import load

    tensors = load(data)
    expected = {f"{tower}.{part}" for tower in ("image", "text") for part in PARTS}
    if set(tensors) != expected:
        raise ValueError(f"its tensors are {sorted(tensors)}, not {sorted(expected)}")
    return {name: tensor.double() for name, tensor in tensors.items()}


def block_cosines(x: np.ndarray, y: np.ndarray, state: dict[str, torch.Tensor]) -> np.ndarray:
    """The cosines of at most `BLOCK` pairs of unit rows."""
    import torch

    towers = []
    for name, rows in (("image", x), ("text", y)):
        # In float64, so that the last digit of the float32 result depends only on the row.
        block = torch.zeros((BLOCK, rows.shape[1]), dtype=torch.float64)
        block[: len(rows)] = torch.from_numpy(rows)
        towers.append(mapped(block, *(state[f"{name}.{part}"] for part in PARTS)))
    dot = (towers[0] * towers[1]).sum(dim=1)
    lengths = [(tower * tower).sum(dim=1).sqrt() for tower in towers]
    cosine = dot / (lengths[0] * lengths[1])
    return cosine[: len(x)].clamp(-1, 1).float().numpy()


def mapped(x, down, bias, up):
    """A tower's output, not yet scaled to length one; tensors of any dtype."""
    return x + (x @ down.T + bias).relu() @ up.T
