"""The content of the demo's pictures: objects, colors, counts, scenes, people at work.

A `Picture` fully describes an image before it is drawn: equal pictures render to equal bytes.
`draw_pictures` samples them, with or without the combinations of color and object that the demo
model never saw in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from laion_dask.errors import one_of

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 32, 40),
    "orange": (250, 140, 20),
    "yellow": (250, 222, 40),
    "green": (40, 160, 60),
    "blue": (35, 90, 215),
    "purple": (125, 45, 175),
    "pink": (250, 145, 190),
    "brown": (125, 75, 40),
    "black": (30, 30, 34),
    "white": (248, 248, 248),
}
"""RGB values by color word, each 0 to 255, before the small jitter of the renderer."""

OBJECTS: tuple[str, ...] = (
    "circle", "square", "triangle", "star", "heart", "house", "tree", "car",
    "boat", "fish", "flower", "key", "cup", "umbrella", "mushroom", "cloud",
    "moon", "sun", "bird", "cat", "arrow", "ring", "cross", "leaf",
)  # fmt: skip
SCENES: tuple[str, ...] = ("plain", "meadow", "night", "sea", "desert", "room", "snow", "city")
OCCUPATIONS: tuple[str, ...] = (
    "doctor", "nurse", "teacher", "cook", "farmer", "builder",
    "firefighter", "painter", "pilot", "scientist", "mechanic", "gardener",
)  # fmt: skip
MAX_COUNT = 4

CONCEPTS: tuple[tuple[str, str], ...] = tuple((c, o) for o in OBJECTS for c in COLORS)
"""All 240 pairs of (color, object), object by object."""


def _held_out() -> frozenset[tuple[str, str]]:
    # 40 pairs: each color four times, each object once or twice.
    colors = tuple(COLORS)
    return frozenset((colors[7 * k % len(colors)], OBJECTS[k % len(OBJECTS)]) for k in range(40))


HELD_OUT: frozenset[tuple[str, str]] = _held_out()
"""The 40 pairs that do not occur in any training image or training caption."""

SEEN: tuple[tuple[str, str], ...] = tuple(pair for pair in CONCEPTS if pair not in HELD_OUT)
_POOLS = {"all": CONCEPTS, "seen": SEEN, "held_out": tuple(p for p in CONCEPTS if p in HELD_OUT)}


@dataclass(frozen=True)
class Picture:
    """The description of an image: ``count`` objects of one color, or one person at work.

    Parameters
    ----------
    color, object : str or None
        A key of `COLORS` and one of `OBJECTS`; None for a person.
    occupation : str or None
        One of `OCCUPATIONS`; None for objects.
    count : int
        The number of objects, 1 to `MAX_COUNT`.
    scene : str
        One of `SCENES`.
    watermarked, unsafe : bool
        Whether the image has a watermark, and whether it shows the hazard disc, the harmless
        stand-in for unsafe content.
    seed : int
        Seed of the layout: positions, sizes, rotations, shades.
    """

    color: str | None
    object: str | None
    occupation: str | None = None
    count: int = 1
    scene: str = "plain"
    watermarked: bool = False
    unsafe: bool = False
    seed: int = 0


def draw_pictures(
    seed: int | list[int],
    n: int,
    *,
    pairs: str = "all",
    p_person: float = 0.0,
    p_watermarked: float = 0.0,
    p_unsafe: float = 0.0,
    p_several: float = 0.25,
    p_plain: float = 0.4,
) -> Iterator[Picture]:
    """Sample pictures one by one; equal arguments give equal pictures. Lazy.

    Parameters
    ----------
    seed : int or list of int
        One or more integers of at least 0, as for `numpy.random.default_rng`.
    n : int
        Number of pictures.
    pairs : {"all", "seen", "held_out"}
        The (color, object) pairs that may occur.
    p_person, p_watermarked, p_unsafe, p_several, p_plain : float
        The independent probabilities of a person, a watermark, the hazard disc, more than one
        object, and the plain scene; other counts and scenes are equally likely.

    Raises
    ------
    OptionError
        When the first picture is drawn, if ``pairs`` is invalid.
    """
    if pairs not in _POOLS:
        raise one_of("pairs", pairs, _POOLS)
    pool = _POOLS[pairs]
    rng = np.random.default_rng(seed)
    for _ in range(n):
        person, several, plain, watermarked, unsafe = rng.random(5) < (
            p_person, p_several, p_plain, p_watermarked, p_unsafe,
        )  # fmt: skip
        pair_index, count, scene, job = rng.integers(
            0, (len(pool), MAX_COUNT - 1, len(SCENES) - 1, 12)
        )
        color, object_name = (None, None) if person else pool[pair_index]
        yield Picture(
            color,
            object_name,
            OCCUPATIONS[job] if person else None,
            int(count) + 2 if several and not person else 1,
            "plain" if plain else SCENES[scene + 1],
            bool(watermarked),
            bool(unsafe),
            int(rng.integers(2**62)),
        )


def concept_prompts() -> list[str]:
    """The 240 zero-shot prompts, such as "a photo of a red circle", in the order of `CONCEPTS`."""
    return [f"a photo of {'an' if c[0] == 'o' else 'a'} {c} {o}" for c, o in CONCEPTS]
