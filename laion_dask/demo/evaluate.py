"""Evaluate the demo CLIP against chance: ``python -m laion_dask.demo.evaluate``."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from laion_dask.demo.concepts import CONCEPTS, Picture, concept_prompts, draw_pictures
from laion_dask.demo.corpus import image_bytes
from laion_dask.demo.picture_captions import caption, claims_of
from laion_dask.demo.planting import Row, plan_rows

_log = logging.getLogger(__name__)
ARCHITECTURE = "laion-dask-demo"
FOLDER = Path(__file__).resolve().parent.parent / "models" / "demo"
CONFIG = FOLDER / f"{ARCHITECTURE}.json"
WEIGHTS = FOLDER / f"{ARCHITECTURE}.safetensors"
HEAD = FOLDER / "safety_head.safetensors"
CORPUS_SIZE = 128
_TEST_SEED = 2_000_000


def load_demo_clip() -> torch.nn.Module:
    """Load the shipped model with open_clip, in eval mode and float32. Eager."""
    open_clip.add_model_config(CONFIG)
    return open_clip.create_model(ARCHITECTURE, pretrained=str(WEIGHTS)).eval()


@lru_cache(maxsize=1)
def _preprocess_and_tokenizer() -> tuple:
    open_clip.add_model_config(CONFIG)
    size = open_clip.get_model_config(ARCHITECTURE)["vision_cfg"]["image_size"]
    transform = open_clip.image_transform(size, is_train=False)
    return transform, open_clip.get_tokenizer(ARCHITECTURE)


def as_files(pictures: Iterable[Picture]) -> Iterator[Image.Image]:
    """Render images as the corpus stores them: 128 pixels per side, JPEG-compressed. Lazy."""
    for picture in pictures:
        yield Image.open(io.BytesIO(image_bytes(Row(picture, ""), CORPUS_SIZE)))


@torch.inference_mode()
def embed_images(
    model: open_clip.CLIP, images: Iterable[Image.Image], *, batch: int = 200
) -> torch.Tensor:
    """Unit-norm image embeddings, float32 (n, dim), with open_clip's preprocessing. Eager."""
    transform, _ = _preprocess_and_tokenizer()
    pending, parts = [], []
    for image in images:
        pending.append(transform(image))
        if len(pending) == batch:
            parts.append(model.encode_image(torch.stack(pending)))
            pending = []
    if pending:
        parts.append(model.encode_image(torch.stack(pending)))
    return F.normalize(torch.cat(parts).float(), dim=-1)


@torch.inference_mode()
def embed_texts(model: open_clip.CLIP, texts: list[str]) -> torch.Tensor:
    """Unit-norm text embeddings, float32 (n, dim). Eager."""
    _, tokenizer = _preprocess_and_tokenizer()
    parts = [model.encode_text(tokenizer(texts[i : i + 500])) for i in range(0, len(texts), 500)]
    return F.normalize(torch.cat(parts).float(), dim=-1)


def zero_shot_top1(model: torch.nn.Module, pairs: str, n: int, *, seed: int) -> float:
    """Share of images whose best of all 240 prompts is the correct one. Eager.

    The pictures vary in count, scene, watermark and hazard disc, as in the demo corpus.

    Parameters
    ----------
    model : torch.nn.Module
        An open_clip model in eval mode.
    pairs : {"all", "seen", "held_out"}
        The (color, object) pairs that the images show.
    n : int
        Number of images.
    seed : int
        Seed of the images; no seed produces images of the training set.
    """
    pictures = list(draw_pictures([_TEST_SEED, seed], n, pairs=pairs, p_watermarked=0.061,
                                  p_unsafe=0.029))  # fmt: skip
    scores = embed_images(model, as_files(pictures)) @ embed_texts(model, concept_prompts()).T
    truth = torch.tensor([CONCEPTS.index((p.color, p.object)) for p in pictures])
    return float((scores.argmax(1) == truth).float().mean())


def recall_at_1(model: torch.nn.Module, n: int, *, seed: int) -> dict[str, tuple[float, float]]:
    """Retrieval among ``n`` pictures with full captions: (value, chance) by name. Eager.

    A hit is any caption that is true of the image. "own" accepts only the image's own caption, so
    it is lower if captions fit several images.
    """
    pictures = list(draw_pictures([_TEST_SEED, seed, 1], n, p_person=0.2))
    rng = np.random.default_rng([_TEST_SEED, seed, 2])
    captions = [caption(p, rng, p_detail=1.0, p_overlay=1.0) for p in pictures]
    claims = torch.tensor([c.claims for c in captions])[:, None, :]
    facts = torch.tensor([claims_of(p) for p in pictures])[None, :, :]
    fits = ((claims == -1) | (claims == facts)).all(-1)
    texts = embed_texts(model, [c.text for c in captions])
    scores = texts @ embed_images(model, as_files(pictures)).T
    everyone, chance = torch.arange(n), float(fits.float().mean())
    image, text = scores.argmax(1), scores.argmax(0)
    return {
        "text to image": (float(fits[everyone, image].float().mean()), chance),
        "image to text": (float(fits[text, everyone].float().mean()), chance),
        "text to image, own": (float((image == everyone).float().mean()), 1 / n),
        "image to text, own": (float((text == everyone).float().mean()), 1 / n),
    }


def roc_auc(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """The probability that a positive scores above a negative, ties counting one half.

    Computed from rank sums (Mann and Whitney 1947). NaN if either class is empty.
    """
    _, position, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[position]
    n_positive = int(is_positive.sum())
    n_pairs = n_positive * (len(scores) - n_positive)
    if not n_pairs:
        return float("nan")
    return float((ranks[is_positive].sum() - n_positive * (n_positive + 1) / 2) / n_pairs)


def head_probability(embeddings: torch.Tensor) -> np.ndarray:
    """Apply the shipped safety head to unit-norm embeddings (n, dim): float32 (n,). Eager."""
    head = load_file(HEAD)
    return torch.sigmoid(embeddings @ head["weight"].T + head["bias"])[:, 0].numpy()


def corpus_scores(model: torch.nn.Module, n: int, *, seed: int) -> dict[str, np.ndarray]:
    """Scores and labels of the corpus ``write_corpus(n_images=n, seed=seed)``. Eager.

    Arrays over its valid rows: ``p_unsafe`` of the head, ``is_unsafe``, ``clip_score`` (the cosine
    of image and caption, -1 to 1) and ``is_mismatched``.
    """
    rows = [row for row in plan_rows(n, seed) if row.broken_kind is None]
    files = (Image.open(io.BytesIO(image_bytes(row, CORPUS_SIZE))) for row in rows)
    images = embed_images(model, files)
    texts = embed_texts(model, [row.text for row in rows])
    return {
        "p_unsafe": head_probability(images),
        "is_unsafe": np.array([row.picture.unsafe for row in rows]),
        "clip_score": (images * texts).sum(1).numpy(),
        "is_mismatched": np.array([row.mismatched for row in rows]),
    }


def measure(model: torch.nn.Module, scale: float = 1.0) -> list[tuple[str, float, float, int]]:
    """Every metric of the model card: (metric, value, chance, n). Eager.

    Parameters
    ----------
    model : torch.nn.Module
        The demo CLIP in eval mode.
    scale : float
        The fraction of the full number of images to use, for a quick look.
    """
    n_seen, n_held_out, n_pairs, n_rows = (
        max(1, round(scale * n)) for n in (4800, 2400, 1000, 4000)
    )
    table = [
        ("zero-shot top-1 of 240, seen pairs", zero_shot_top1(model, "seen", n_seen, seed=1),
         1 / 240, n_seen),
        ("zero-shot top-1 of 240, held-out pairs",
         zero_shot_top1(model, "held_out", n_held_out, seed=2), 1 / 240, n_held_out),
    ]  # fmt: skip
    for name, (value, chance) in recall_at_1(model, n_pairs, seed=3).items():
        table.append((f"recall@1 in {n_pairs:,}, {name}", value, chance, n_pairs))
    scores = corpus_scores(model, n_rows, seed=4)
    n = len(scores["is_unsafe"])
    unsafe = roc_auc(scores["p_unsafe"], scores["is_unsafe"])
    fit = roc_auc(scores["clip_score"], ~scores["is_mismatched"])
    table.append(("safety head, ROC-AUC on a corpus", unsafe, 0.5, n))
    table.append(("fitting or mismatched caption, ROC-AUC", fit, 0.5, n))
    return table


def as_text(table: list[tuple[str, float, float, int]]) -> str:
    """The table of `measure` as lines of text."""
    lines = [f"{'metric':48}{'value':>8}{'chance':>9}{'n':>7}"]
    for metric, value, chance, n in table:
        lines.append(f"{metric:48}{value:8.4f}{chance:9.4f}{n:7,}")
    return "\n".join(lines)


def main() -> None:
    """Log the table of `measure` on standard output."""
    parser = argparse.ArgumentParser(description="Measure the demo CLIP on unseen pictures.")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images to use")
    scale = parser.parse_args().scale
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    _log.setLevel(logging.INFO)
    _log.info(as_text(measure(load_demo_clip(), scale)))


if __name__ == "__main__":
    main()
