"""How well the demo CLIP does, chance beside it: ``python -m laion_dask.demo.evaluate``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F

from laion_dask.demo.concepts import CONCEPTS, Picture, concept_prompts, draw_pictures
from laion_dask.demo.render import render

ARCHITECTURE = "laion-dask-demo"
FOLDER = Path(__file__).resolve().parent.parent / "models" / "demo"
CONFIG = FOLDER / f"{ARCHITECTURE}.json"
WEIGHTS = FOLDER / f"{ARCHITECTURE}.safetensors"
_TEST_SEED = 2_000_000


@lru_cache(maxsize=1)
def _preprocess_and_tokenizer() -> tuple:
    open_clip.add_model_config(CONFIG)
    size = open_clip.get_model_config(ARCHITECTURE)["vision_cfg"]["image_size"]
    transform = open_clip.image_transform(
        size, is_train=False, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD,
        resize_mode="shortest", interpolation="bicubic",
    )  # fmt: skip
    return transform, open_clip.get_tokenizer(ARCHITECTURE)


@torch.inference_mode()
def embed_pictures(
    model: torch.nn.Module, pictures: Iterable[Picture], *, size: int = 128, batch: int = 256
) -> torch.Tensor:
    """Unit-norm image embeddings, float32 (n, dim), of pictures drawn at ``size``. Eager."""
    transform, _ = _preprocess_and_tokenizer()
    pending, parts = [], []
    for picture in pictures:
        pending.append(transform(render(picture, size)))
        if len(pending) == batch:
            parts.append(model.encode_image(torch.stack(pending)))
            pending = []
    if pending:
        parts.append(model.encode_image(torch.stack(pending)))
    return F.normalize(torch.cat(parts).float(), dim=-1)


@torch.inference_mode()
def embed_texts(model: torch.nn.Module, texts: list[str]) -> torch.Tensor:
    """Unit-norm text embeddings, float32 (n, dim). Eager."""
    _, tokenizer = _preprocess_and_tokenizer()
    return F.normalize(model.encode_text(tokenizer(texts)).float(), dim=-1)


def zero_shot_top1(model: torch.nn.Module, pairs: str, n: int, *, seed: int) -> float:
    """Share of images of ``pairs`` whose best prompt, of all 240, is their own. Eager.

    The pictures vary in count, scene, watermark and hazard disc as those of the demo corpus do.

    Parameters
    ----------
    model : torch.nn.Module
        An open_clip model in eval mode.
    pairs : {"all", "seen", "held_out"}
        Which (colour, object) pairs the images show.
    n : int
        How many images.
    seed : int
        Of the images; no image of the training is among them, whatever the seed.
    """
    pictures = list(draw_pictures([_TEST_SEED, seed], n, pairs=pairs, p_watermarked=0.061,
                                  p_unsafe=0.029))  # fmt: skip
    scores = embed_pictures(model, pictures) @ embed_texts(model, concept_prompts()).T
    truth = torch.tensor([CONCEPTS.index((p.colour, p.object)) for p in pictures])
    return float((scores.argmax(1) == truth).float().mean())
