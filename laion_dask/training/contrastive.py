"""Train the two towers of a filter network by contrastive loss; works only on arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from laion_dask.models.heads.filter_towers import mapped

#: Cosine above which two captions, or two images, count as the same, and are no negatives.
SAME = 1 - 1e-5
#: Learning rate at its peak, weight decay, and the share of steps in which the rate rises.
_RATE, _DECAY, _WARM_UP = 3e-3, 0.5, 0.05
#: The inverse temperature at the start, and its maximum (Radford et al. 2021, section 2.5).
_START_SCALE, _MAX_SCALE = 10.0, 100.0


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    hidden : int
        The width of the hidden layer of each tower.
    steps, batch : int
        Number of steps, and pairs per step.
    seed : int
    """

    hidden: int
    steps: int
    batch: int
    seed: int


def fit_towers(
    images: np.ndarray,
    texts: np.ndarray,
    settings: Settings,
    advance: Callable[[int], None] = lambda n: None,
) -> tuple[dict[str, np.ndarray], list[float]]:
    """The weights of both towers, and the loss of every step.

    Each tower maps a unit vector x to ``x + up @ relu(down @ x + bias)``, scaled to length one, and
    starts as the identity. The loss is that of CLIP (Radford et al. 2021, figure 3): the mean cross
    entropy of each image among the captions of its batch and of each caption among the images, with
    a learned temperature. Equal captions or images in a batch are no negatives of each other.
    Optimized by AdamW with a cosine schedule. Runs on the calling thread.

    Parameters
    ----------
    images : (n, dim) float32 array
        Unit norm, n at least 2.
    texts : (n, dim of texts) float32 array
        Unit norm; row i is the caption of image i.
    settings : Settings
    advance : callable
        Called with 1 after every step; an error that it raises ends the training.

    Returns
    -------
    weights : dict
        float32 arrays ``image.down`` (hidden, dim), ``image.bias`` (hidden,), ``image.up`` (dim,
        hidden), and the same for ``text``.
    losses : list of float
    """
    import torch

    generator = torch.Generator().manual_seed(settings.seed)
    towers = {
        name: _tower(x.shape[1], settings.hidden, generator)
        for name, x in (("image", images), ("text", texts))
    }
    scale = torch.tensor(math.log(_START_SCALE), requires_grad=True)
    parameters = [p for tower in towers.values() for p in tower.values()]
    groups = [
        {"params": parameters, "weight_decay": _DECAY},
        {"params": [scale], "weight_decay": 0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=_RATE, betas=(0.9, 0.98))
    order = _Batches(len(images), settings.batch, generator)
    losses = []
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * _schedule(step, settings.steps)
        chosen = order.next()
        x, y = torch.from_numpy(images[chosen]), torch.from_numpy(texts[chosen])
        loss = _loss(x, y, towers, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            scale.clamp_(max=math.log(_MAX_SCALE))
        losses.append(float(loss.detach()))
        advance(1)
    weights = {
        f"{name}.{part}": tensor.detach().numpy()
        for name, tower in towers.items()
        for part, tensor in tower.items()
    }
    return weights, losses


def _tower(dim: int, hidden: int, generator) -> dict:
    import torch

    down = torch.randn((hidden, dim), generator=generator) / math.sqrt(dim)
    parts = {"down": down, "bias": torch.zeros(hidden), "up": torch.zeros((dim, hidden))}
    return {name: tensor.requires_grad_() for name, tensor in parts.items()}


def _schedule(step: int, steps: int) -> float:
    """The learning rate as a share of its peak: a linear rise, then a cosine to zero."""
    rise = max(1, round(_WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _loss(x, y, towers: dict, scale):
    import torch
    import torch.nn.functional as F

    unit_x = F.normalize(mapped(x, **towers["image"]), dim=1)
    unit_y = F.normalize(mapped(y, **towers["text"]), dim=1)
    logits = scale.exp() * unit_x @ unit_y.T
    same = ((x @ x.T > SAME) | (y @ y.T > SAME)).fill_diagonal_(False)
    logits = logits.masked_fill(same, -math.inf)
    truth = torch.arange(len(x))
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


class _Batches:
    """Positions of pairs for one step after another: every pair once, in a new order each time."""

    def __init__(self, n: int, batch: int, generator) -> None:
        self._n, self._batch, self._generator = n, min(n, batch), generator
        self._order = np.empty(0, np.int64)

    def next(self) -> np.ndarray:
        """The positions of the next batch; a rest that is too short is left out."""
        import torch

        if len(self._order) < self._batch:
            self._order = torch.randperm(self._n, generator=self._generator).numpy()
        chosen, self._order = self._order[: self._batch], self._order[self._batch :]
        return chosen
