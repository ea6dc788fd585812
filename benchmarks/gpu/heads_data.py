"""Networks and rows for the heads benchmark, and the same heads in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import vectors
from vectors import DIM

DETECTOR, LINEAR = "clip_autokeras_binary_nsfw.zip", "linear-768.safetensors"
SIZES = (DIM, 64, 512, 256, 1)
#: Rows per block for torch.
BLOCK = 1 << 17


@dataclass(frozen=True)
class Network:
    """The detector's parameters, published or random.

    Attributes
    ----------
    layers : list of (kernel (in, out), bias (out,))
    mean, variance : (768,) float32 arrays
    vocabularies : dict
        Look-ups by dimension; empty if the weights are random.
    """

    layers: list
    mean: object
    variance: object
    vocabularies: dict


def flops(sizes: tuple[int, ...]) -> int:
    """Operations per row of a dense network; a multiply-add counts as two."""
    return 2 * sum(a * b for a, b in pairwise(sizes))


def is_published() -> bool:
    """Whether the published detector is available locally."""
    from laion_dask.errors import WeightsError
    from laion_dask.models import weights

    try:
        return bool(weights.find(DETECTOR))
    except WeightsError:
        return False


@cache
def network() -> Network:
    """The detector for ViT-L-14, or random layers of the same sizes."""
    import numpy as np

    if is_published():
        from laion_dask.models import weights
        from laion_dask.models.tf_saved_model import read_detector

        detector = read_detector(weights.find(DETECTOR))
        return Network(detector.layers, detector.mean, detector.variance, detector.vocabularies)
    draw = np.random.default_rng(0)
    layers = [
        (draw.normal(0, (2 / a) ** 0.5, (a, b)).astype("f4"), draw.normal(0, 0.1, b).astype("f4"))
        for a, b in pairwise(SIZES)
    ]
    return Network(layers, np.zeros(DIM, "f4"), np.full(DIM, 1 / DIM, "f4"), {})


class Rows:
    """Draws unit rows with the detector's means and deviations, whose look-ups succeed."""

    def __init__(self, device) -> None:
        import torch

        detector = network()
        self._device, self._draw = device, torch.Generator(device).manual_seed(0)
        self._mean = torch.as_tensor(detector.mean, dtype=torch.float32).to(device)
        self._deviation = torch.as_tensor(detector.variance, dtype=torch.float32).sqrt().to(device)
        self._keys = {
            dim: torch.as_tensor(keys).to(device)
            for dim, (keys, _) in detector.vocabularies.items()
        }

    def __call__(self, n: int):
        """The next n rows, (n, 768) float16."""
        import torch

        x = torch.randn((n, DIM), generator=self._draw, device=self._device)
        x = x * self._deviation + self._mean
        kept = torch.zeros(DIM, dtype=torch.bool, device=self._device)
        for dim, keys in self._keys.items():
            which = torch.randint(len(keys), (n,), generator=self._draw, device=self._device)
            x[:, dim], kept[dim] = keys[which].float() * 1e-6, True
        rest = 1 - (x[:, kept] ** 2).sum(dim=1)
        x *= torch.where(kept, 1, (rest / (x[:, ~kept] ** 2).sum(dim=1)).sqrt()[:, None])
        return x.half()


def sequential(device):
    """The detector in straightforward torch: look-ups by bisection, then the layers."""
    import torch

    detector = network()
    words = {
        dim: tuple(torch.as_tensor(part).to(device) for part in pair)
        for dim, pair in detector.vocabularies.items()
    }
    mean = torch.as_tensor(detector.mean, dtype=torch.float32).to(device)
    deviation = torch.as_tensor(detector.variance, dtype=torch.float32).sqrt().clamp(min=1e-7)
    deviation, layers = deviation.to(device), torch.nn.Sequential()
    for kernel, bias in detector.layers:
        layer = torch.nn.Linear(*kernel.shape)
        layer.weight.data, layer.bias.data = torch.tensor(kernel.T), torch.tensor(bias)
        layers.extend([layer, torch.nn.ReLU()])
    layers[-1] = torch.nn.Sigmoid()
    layers = layers.to(device)

    def score(x):
        x = x.float()
        for dim, (keys, values) in words.items():
            wanted = (x[:, dim].double() * 1e6).round().long()
            at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
            x[:, dim] = torch.where(keys[at] == wanted, values[at], 0).float()
        return layers((x - mean) / deviation)[:, 0]

    return score


def in_blocks(score: Callable, x):
    """Scores of all rows, (n,) float32, computed block by block without gradients."""
    import torch

    with torch.inference_mode():
        parts = [score(x[at : at + BLOCK]).float() for at in range(0, len(x), BLOCK)]
        return torch.cat(parts)


def write_linear(folder: Path) -> Path:
    """Write a linear head with random weights and return its path."""
    import torch
    from safetensors.torch import save_file

    path = folder / LINEAR
    weight = torch.randn(1, DIM, generator=torch.Generator().manual_seed(0))
    save_file({"weight": weight, "bias": torch.ones(1)}, path)
    return path


def nsfw_head(precision: str):
    """``ld.heads.nsfw``, or the same head with the random network."""
    import laion_dask as ld
    from laion_dask.models.heads.dense import DenseNetwork
    from laion_dask.models.heads.nsfw import NsfwHead

    if is_published():
        return ld.heads.nsfw("ViT-L-14", precision=precision)
    detector = network()
    layers = [(kernel.T, bias) for kernel, bias in detector.layers]
    dense = DenseNetwork(layers, len(layers) - 1, mean=detector.mean, variance=detector.variance)

    class Drawn(NsfwHead):
        def load(self):
            return dense, True

        def __reduce__(self):
            return nsfw_head, (self.precision,)

    return Drawn("nsfw", ld.ClipModel("ViT-L-14", "openai"), "", "", precision=precision)


def linear_head(folder: Path):
    """``ld.heads.aesthetic`` with the random weights."""
    import laion_dask as ld

    return ld.heads.aesthetic("ViT-L-14", weights=folder / LINEAR)


def affine(folder: Path, device) -> tuple:
    """The linear head's weight (768,) and bias on a device, and a torch function of them."""
    from safetensors.torch import load_file

    weights_ = load_file(folder / LINEAR, device=str(device))
    weight, bias = weights_["weight"][0], weights_["bias"]
    return weight, bias, lambda rows: vectors.unit(rows.float()) @ weight + bias
