"""The pool of pictures that the demo CLIP is trained on, and random batches of it."""

from __future__ import annotations

import io
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch
from PIL import Image

from laion_dask.demo.concepts import Picture, draw_pictures
from laion_dask.demo.languages import LANGUAGES
from laion_dask.demo.picture_captions import caption, claims_of
from laion_dask.demo.render import render

_BLOCK = 2000
_SHIFT = 4


def pixels(picture: Picture, size: int, rng: np.random.Generator) -> np.ndarray:
    """One training image, uint8 (size, size, 3): drawn small, or large, compressed, then shrunk."""
    draw = rng.random()
    if draw < 0.25:
        return np.asarray(render(picture, size))
    image = render(picture, 2 * size)
    if draw < 0.75:
        bytes_ = io.BytesIO()
        image.save(bytes_, "JPEG", quality=int(rng.integers(70, 96)))
        image = Image.open(bytes_)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def render_block(
    number: int, *, seed: int, size: int, n: int = _BLOCK
) -> tuple[list[Picture], np.ndarray, np.ndarray]:
    """Render ``n`` training pictures: pixels (n, size, size, 3) and claims (n, 7). Eager."""
    pictures = list(
        draw_pictures(
            [seed, number], n, pairs="seen",
            p_person=0.1, p_watermarked=0.07, p_unsafe=0.06,
        )
    )  # fmt: skip
    rng = np.random.default_rng([seed, number, 1])
    claims = np.array([claims_of(p) for p in pictures], dtype=np.int8)
    return pictures, np.stack([pixels(p, size, rng) for p in pictures]), claims


@dataclass
class Pool:
    """Rendered pictures of the seen pairs: uint8 (n, size, size, 3), and their claims (n, 7)."""

    pictures: list[Picture]
    images: np.ndarray
    claims: np.ndarray


def render_pool(n: int, *, seed: int, size: int = 64, n_processes: int = 2) -> Pool:
    """Render at least ``n`` training images in several processes. Eager.

    The pool depends only on the seed, not on the number of processes.
    """
    numbers = range(-(-n // _BLOCK))
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as workers:
        blocks = list(workers.map(partial(render_block, seed=seed, size=size), numbers))
    pictures, images, claims = zip(*blocks, strict=True)
    return Pool([p for block_pictures in pictures for p in block_pictures], np.concatenate(images),
                np.concatenate(claims))  # fmt: skip


def training_caption(picture: Picture, rng: np.random.Generator) -> tuple[str, tuple[int, ...]]:
    """A training caption and its claims: mostly English, one in ten in another language.

    "she" and "he" are equally frequent for every occupation, so that the model does not learn the
    skew of the demo corpus.
    """
    kind, gender = rng.random(2)
    words = caption(
        picture,
        rng,
        language=LANGUAGES[int(kind * 10 * len(LANGUAGES))] if kind < 0.1 else "en",
        gender_word=None if gender < 0.4 else ("she" if gender < 0.7 else "he"),
        p_partial=0.3,
        p_detail=0.25,
        p_overlay=0.4,
    )
    return words.text, words.claims


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift the images, mirror half of them and change their contrast: float32, 0 to 255."""
    size = images.shape[1]
    top, left = rng.integers(0, 2 * _SHIFT + 1, 2)
    padded = np.pad(images, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
    out = padded[:, top : top + size, left : left + size].astype(np.float32)
    mirrored = rng.random(len(images)) < 0.5
    out[mirrored] = out[mirrored, :, ::-1]
    gain = rng.uniform(0.92, 1.08, (len(images), 1, 1, 1)).astype(np.float32)
    return np.clip((out - 128) * gain + 128, 0, 255)


def true_of(claims: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
    """Whether each caption is true of each image: bool (n captions, n images).

    Parameters
    ----------
    claims : torch.Tensor
        (n captions, k); -1 if a caption says nothing about the attribute.
    facts : torch.Tensor
        (n images, k).
    """
    claimed = claims[:, None, :]
    return ((claimed == -1) | (claimed == facts[None, :, :])).all(-1)
