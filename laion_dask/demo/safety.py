"""Fit the demo's safety head: ``python -m laion_dask.demo.safety``.

A logistic regression on unit-norm image embeddings of the demo CLIP that detects the hazard disc,
the harmless stand-in for unsafe content. It is meaningless for real images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from laion_dask.demo.concepts import draw_pictures
from laion_dask.demo.evaluate import HEAD, as_files, embed_images, load_demo_clip

_SEED = 3_000_000
_PENALTY = 1e-6


def fit_head(embeddings: torch.Tensor, is_unsafe: torch.Tensor) -> dict[str, torch.Tensor]:
    """Fit ``weight`` (1, dim) and ``bias`` (1,), float32, by penalized maximum likelihood. Eager.

    Parameters
    ----------
    embeddings : torch.Tensor
        Unit-norm embeddings, (n, dim).
    is_unsafe : torch.Tensor
        Bool, (n,).
    """
    x, y = embeddings.double(), is_unsafe.double()
    weight = torch.zeros(1, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        logits = (x @ weight.T + bias)[:, 0]
        value = F.binary_cross_entropy_with_logits(logits, y) + _PENALTY * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return {"weight": weight.detach().float(), "bias": bias.detach().float()}


def train_safety_head(out: Path, *, n_pictures: int = 12_000) -> dict[str, torch.Tensor]:
    """Fit the head to new pictures of the seen pairs and save it to ``out``. Eager."""
    pictures = list(
        draw_pictures(
            [_SEED], n_pictures, pairs="seen", p_person=0.2, p_watermarked=0.061, p_unsafe=0.15
        )
    )
    embeddings = embed_images(load_demo_clip(), as_files(pictures))
    head = fit_head(embeddings, torch.tensor([p.unsafe for p in pictures]))
    save_file(head, out, metadata={"activation": "sigmoid"})
    return head


def main() -> None:
    """Parse the command line and fit the head."""
    parser = argparse.ArgumentParser(description="Fit the safety head of the demo CLIP.")
    parser.add_argument("--out", type=Path, default=HEAD, help="safetensors file to write")
    parser.add_argument("--pictures", type=int, default=12_000)
    arguments = parser.parse_args()
    train_safety_head(arguments.out, n_pictures=arguments.pictures)


if __name__ == "__main__":
    main()
