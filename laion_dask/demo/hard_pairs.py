"""Pictures with captions that differ from them in one detail, stored as damaged thumbnails.

The captions of the demo corpus that do not match describe quite another picture, and the demo CLIP
recognizes all of them. Here, a wrong caption differs from its picture in one detail, and the image
has become small, noisy or cropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from laion_dask.demo.concepts import (
    COLORS,
    MAX_COUNT,
    OBJECTS,
    OCCUPATIONS,
    SCENES,
    Picture,
    draw_pictures,
)
from laion_dask.demo.picture_captions import caption
from laion_dask.demo.render import render

#: The details that a wrong caption of a picture of objects may get wrong; for a person, it is the
#: occupation.
DETAILS = ("color", "count", "object", "scene", "watermark", "hazard")
DAMAGES = ("small", "noisy", "cropped")
_SIDE = 128


@dataclass(frozen=True)
class HardPairs:
    """Images with captions, of which some are wrong in one detail.

    Attributes
    ----------
    images : list of PIL.Image.Image
        RGB.
    captions : list of str
    matches : (n,) bool array
    wrong : list of str
        The detail that a caption gets wrong, empty if it matches.
    """

    images: list[Image.Image]
    captions: list[str]
    matches: np.ndarray
    wrong: list[str]


def hard_pairs(n: int, seed: int, p_wrong: float) -> HardPairs:
    """Draw pairs; equal arguments give equal pairs. Eager.

    Parameters
    ----------
    n : int
        Number of pairs.
    seed : int
        No seed produces images of the demo CLIP's training set.
    p_wrong : float
        The probability of a wrong caption.
    """
    rng = np.random.default_rng([seed, 6])
    pictures = draw_pictures(
        [3_000_000, seed], n, p_several=0.4, p_person=0.2, p_watermarked=0.3, p_unsafe=0.3
    )
    images, captions, wrong = [], [], []
    for picture in pictures:
        detail, described = "", picture
        if rng.random() < p_wrong:
            detail, described = _altered(picture, rng)
        words = caption(described, rng, p_detail=1.0, p_overlay=1.0)
        images.append(_damaged(render(picture, _SIDE), rng))
        captions.append(words.text)
        wrong.append(detail)
    return HardPairs(images, captions, np.array([not detail for detail in wrong], bool), wrong)


def _altered(picture: Picture, rng: np.random.Generator) -> tuple[str, Picture]:
    """A picture that differs in one detail, which its captions state, and the name of it."""
    if picture.object is None:
        job = _other(OCCUPATIONS, picture.occupation, rng)
        return "occupation", replace(picture, occupation=job)
    usable = [
        detail
        for detail, possible in zip(
            DETAILS, (True,) * 4 + (not picture.watermarked, not picture.unsafe), strict=True
        )
        if possible
    ]
    detail = usable[int(rng.integers(len(usable)))]
    change: dict[str, Callable[[], Picture]] = {
        "color": lambda: replace(picture, color=_other(tuple(COLORS), picture.color, rng)),
        "object": lambda: replace(picture, object=_other(OBJECTS, picture.object, rng)),
        "scene": lambda: replace(picture, scene=_other(SCENES, picture.scene, rng)),
        "watermark": lambda: replace(picture, watermarked=True),
        "hazard": lambda: replace(picture, unsafe=True),
        # One object is not altered from several: its caption would often name no number.
        "count": lambda: replace(
            picture, count=int(_other(tuple(range(2, MAX_COUNT + 1)), picture.count, rng))
        ),
    }
    return detail, change[detail]()


def _other(values: tuple, value: object, rng: np.random.Generator):
    others = [other for other in values if other != value]
    return others[int(rng.integers(len(others)))]


def _damaged(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
    if damage == "small":
        return image.resize((36, 36), Image.Resampling.BILINEAR)
    if damage == "cropped":
        side = int(0.75 * image.width)
        left, top = rng.integers(0, image.width - side + 1, 2).tolist()
        return image.crop((left, top, left + side, top + side))
    pixels = np.asarray(image) + rng.normal(0, 50, (image.height, image.width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
