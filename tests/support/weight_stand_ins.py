"""Weight files under their published names and in their published layouts, with other numbers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np


def write_weight_stand_ins(folder: Path) -> None:
    """Write the weight files that docstring examples name."""
    import torch

    torch.save({"weight": torch.ones(1, 768), "bias": torch.zeros(1)},
               folder / "sa_0_4_vit_l_14_linear.pth")  # fmt: skip
    torch.save(_h14(), folder / "h14_nsfw.pth")
    torch.save(_watermark(), folder / "watermark_model_v1.pt")
    np.save(folder / "violence_detection_vit_l_14.npy", np.eye(2, 768, dtype="float16"))


def _h14() -> dict:
    """The tensors of ViT-H-14's NSFW detector."""
    import torch

    sizes, tensors = (1024, 1024, 2048, 1024, 256, 128, 16, 1), {}
    for number, (before, after) in enumerate(pairwise(sizes)):
        at = 3 * min(number, 5) + max(0, number - 5)  # ReLU and dropout follow the first five
        tensors[f"layers.{at}.weight"] = torch.zeros(after, before)
        tensors[f"layers.{at}.bias"] = torch.zeros(after)
    return tensors


def _watermark() -> dict:
    """The tensors of the watermark detector."""
    import timm
    import torch
    from torch import nn

    with torch.device("meta"):
        net = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
        net.classifier = nn.Sequential(
            nn.Linear(1536, 625), nn.ReLU(), nn.Dropout(), nn.Linear(625, 256), nn.ReLU(),
            nn.Linear(256, 2),
        )  # fmt: skip
    return {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in net.state_dict().items()}
