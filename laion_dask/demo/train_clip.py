"""Train the demo CLIP on rendered pictures: ``python -m laion_dask.demo.train_clip --help``.

A caption counts as a positive of every image in the batch that it is true of, so equal captions are
positives of each other, and "a photo of a star" is not a negative of a red star. A third of the
captions name only the color or only the object, which teaches the model to separate the two. In
addition to the contrastive loss, one linear map predicts the attributes from image and text
embeddings alike; it speeds up training and is discarded afterwards.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from laion_dask.demo.concepts import COLORS, MAX_COUNT, OBJECTS, OCCUPATIONS, SCENES
from laion_dask.demo.evaluate import ARCHITECTURE, CONFIG, WEIGHTS, zero_shot_top1
from laion_dask.demo.training_data import Pool, augmented, render_pool, training_caption, true_of
from laion_dask.io.storage.atomic_file import committed

_log = logging.getLogger(__name__)
_MEAN = 255 * torch.tensor(open_clip.OPENAI_DATASET_MEAN)
_N_CLASSES = (len(COLORS), len(OBJECTS), len(OCCUPATIONS), MAX_COUNT + 1, len(SCENES), 2, 2)
_STD = 255 * torch.tensor(open_clip.OPENAI_DATASET_STD)


def encode_captions(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Unit-norm text embeddings (n, dim); like ``model.encode_text`` without shared padding."""
    length = int((tokens != 0).sum(1).max())
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    ends = tokens.argmax(-1)
    return F.normalize(x[torch.arange(len(x)), ends] @ model.text_projection, dim=-1)


def contrastive_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, matches: torch.Tensor
) -> torch.Tensor:
    """Mean cross entropy in both directions; the target is uniform over all matches.

    Parameters
    ----------
    image, text : torch.Tensor
        Unit-norm embeddings (n, dim), pair by pair.
    scale : torch.Tensor
        The inverse temperature.
    matches : torch.Tensor
        Bool (n, n); entry i, j is True if caption i is true of image j. The diagonal is True.
    """
    logits = scale * text @ image.T
    target = matches.float()
    by_text = F.cross_entropy(logits, target / target.sum(1, keepdim=True))
    by_image = F.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (by_text + by_image) / 2


class AttributeReader(torch.nn.Module):
    """A linear map from unit-norm embeddings to the attributes of `captions.claims_of`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(dim, sum(_N_CLASSES))

    def loss(self, embeddings: torch.Tensor, claims: torch.Tensor) -> torch.Tensor:
        """Cross entropy, summed over attributes; claims (n, k) of -1 are ignored."""
        total = embeddings.new_zeros(())
        logits = self.linear(16 * embeddings).split(_N_CLASSES, dim=1)
        for scores, truth in zip(logits, claims.T, strict=True):
            n_claimed = int((truth >= 0).sum())
            if n_claimed:
                total = total + F.cross_entropy(scores, truth, ignore_index=-1)
        return total


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Write the weights as float16 safetensors, atomically."""
    tensors = {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in model.state_dict().items()
    }
    with committed(path) as file:
        save_file(tensors, file.name, metadata={"format": "pt", "architecture": ARCHITECTURE})


def _optimizer(models: list[torch.nn.Module], rate: float) -> torch.optim.Optimizer:
    named = [pair for model in models for pair in model.named_parameters()]
    decayed = [p for n, p in named if p.ndim > 1 and "embedding" not in n]
    plain = [p for n, p in named if p.ndim <= 1 or "embedding" in n]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def _rate(done: float, peak: float) -> float:
    """Learning rate after the fraction ``done`` of training: warm-up over 4 %, then a cosine."""
    if done < 0.04:
        return peak * max(done, 1e-4) / 0.04
    return peak * (0.001 + 0.999 * (1 + math.cos(math.pi * (done - 0.04) / 0.96)) / 2)


def _batch(
    pool: Pool,
    chosen: np.ndarray,
    rng: np.random.Generator,
    tokenizer: Callable[[list[str]], torch.Tensor],
    cache: dict[str, torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    images = torch.from_numpy(augmented(pool.images[chosen], rng))
    images = ((images - _MEAN) / _STD).permute(0, 3, 1, 2)  # channels last in memory
    texts, claims = zip(*(training_caption(pool.pictures[i], rng) for i in chosen), strict=True)
    fresh = [t for t in dict.fromkeys(texts) if t not in cache]
    if fresh:
        cache.update(zip(fresh, tokenizer(fresh), strict=True))
    caption_claims = torch.tensor(claims)
    facts = torch.from_numpy(pool.claims[chosen]).long()
    return images, torch.stack([cache[t] for t in texts]), caption_claims, facts


class Trainer:
    """The model and its optimizer; trains one step at a time."""

    def __init__(self, pool: Pool, *, rate: float, batch: int, seed: int) -> None:
        torch.manual_seed(seed)
        open_clip.add_model_config(CONFIG)
        self.model = open_clip.create_model(ARCHITECTURE).to(memory_format=torch.channels_last)
        self.reader = AttributeReader(self.model.text_projection.shape[1])
        self.optimizer = _optimizer([self.model, self.reader], rate)
        self.tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
        self.cache: dict[str, torch.Tensor] = {}
        self.pool, self.rate, self.batch = pool, rate, batch
        self.rng = np.random.default_rng([seed, 7])
        self.model.train()

    def step(self, done: float) -> float:
        """Train on one batch after the fraction ``done`` of training; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(done, self.rate)
        chosen = self.rng.choice(len(self.pool.pictures), self.batch, replace=False)
        images, tokens, caption_claims, facts = _batch(
            self.pool, chosen, self.rng, self.tokenizer, self.cache
        )
        with torch.autocast("cpu", torch.bfloat16):
            image = self.model.encode_image(images)
        image = F.normalize(image.float(), dim=-1)
        text = encode_captions(self.model, tokens)
        scale = self.model.logit_scale.exp().clamp(max=100)
        loss = contrastive_loss(image, text, scale, true_of(caption_claims, facts))
        read = self.reader.loss(image, facts) + self.reader.loss(text, caption_claims)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + 0.2 * read).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def report(self) -> str:
        """The current zero-shot accuracy, formatted."""
        self.model.eval()
        accuracy = {p: zero_shot_top1(self.model, p, 480, seed=77) for p in ("seen", "held_out")}
        self.model.train()
        return ", ".join(f"zero-shot top-1 {p} {v:.3f}" for p, v in accuracy.items())


def train(
    out: Path, *, n_samples: int, n_pool: int, minutes: float, rate: float, batch: int, seed: int
) -> torch.nn.Module:
    """Train the model; weights are saved to ``out`` every three minutes and at the end. Eager.

    Logs the speed and the loss every 50 steps, and the zero-shot accuracy with every save.

    Training ends after ``n_samples`` or ``minutes``, whichever comes first.
    """
    started = time.monotonic()
    pool = render_pool(n_pool, seed=seed + 1_000_000)
    _log.info(f"{len(pool.pictures):,} pictures, {time.monotonic() - started:.0f} s")
    trainer = Trainer(pool, rate=rate, batch=batch, seed=seed)
    started = saved = time.monotonic()
    n_steps, done = 0, 0.0
    while done < 1:
        loss = trainer.step(done)
        n_steps += 1
        now = time.monotonic()
        done = max(n_steps * batch / n_samples, (now - started) / 60 / minutes)
        if n_steps % 50 == 0:
            speed = n_steps * batch / (now - started)
            _log.info(f"{done:6.1%} step {n_steps} loss {loss:.3f} {speed:.0f} images/s")
        if now - saved > 180 or done >= 1:
            saved = now
            save_weights(trainer.model, out)
            _log.info(trainer.report())
    return trainer.model


def main() -> None:
    """Parse the command line and train the model, with its log on standard output."""
    parser = argparse.ArgumentParser(description="Train the demo CLIP on rendered pictures.")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="safetensors file to write")
    parser.add_argument("--samples", type=int, default=540_000, help="images to train on")
    parser.add_argument("--pool", type=int, default=60_000, help="distinct images to render")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="maximum duration in minutes"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    _log.setLevel(logging.INFO)
    train(args.out, n_samples=args.samples, n_pool=args.pool, minutes=args.minutes,
          rate=args.rate, batch=args.batch, seed=args.seed)  # fmt: skip


if __name__ == "__main__":
    main()
