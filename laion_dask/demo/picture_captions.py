"""Captions of pictures, and the claims that each of them makes.

A `Caption` carries its claims as one small integer per attribute, or -1 if it says nothing about
it. Training uses them to decide which captions of a batch are true of which images: all of those
are positives, not only the caption that was generated for the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laion_dask.demo.concepts import COLORS, OBJECTS, OCCUPATIONS, SCENES, Picture
from laion_dask.demo.languages import phrase

_NUMBERS = ("one", "two", "three", "four")
_PLURALS = {"fish": "fish", "box": "boxes", "cross": "crosses", "leaf": "leaves"}
_FRAMES = (
    "a photo of {}", "a photo of {}", "{}", "a picture of {}", "an image of {}", "a drawing of {}",
    "{}, illustration", "clip art of {}", "a sticker with {}", "icon: {}", "look at {}",
    "a photograph showing {}", "buy {} online", "{} - free download", "{}, vector graphic",
    "my favourite: {}", "poster with {}",
)  # fmt: skip
_WHERE = {
    "plain": ("on a plain background", "on paper", "isolated"),
    "meadow": ("in a meadow", "on green grass", "on a summer meadow"),
    "night": ("at night", "under the stars", "in the dark night"),
    "sea": ("at sea", "on the water", "by the ocean"),
    "desert": ("in the desert", "on the sand", "among dunes"),
    "room": ("in a room", "by the window", "at home"),
    "snow": ("in the snow", "on snow", "in winter"),
    "city": ("in the city", "on a street", "in front of buildings"),
}
_WORK = (
    "a {job} at work", "a photo of a {job}", "portrait of a {job}", "{job} at work",
    "meet our {job}", "a picture of a {job} on duty", "the {job} of the year",
)  # fmt: skip
_GENDERED = (
    "a {job} and {poss} tools", "the {job} loves {poss} work", "{they} works as a {job}",
    "a {job} at {poss} workplace", "{they} is a {job}",
)  # fmt: skip
_PRONOUNS = {"she": ("she", "her"), "he": ("he", "his")}


@dataclass(frozen=True)
class Caption:
    """A sentence and its claims, in the order of `claims_of`; -1 claims nothing."""

    text: str
    claims: tuple[int, ...]


def claims_of(picture: Picture) -> tuple[int, ...]:
    """All true attributes of a picture: color, object, occupation, count, scene, mark, hazard.

    Each is an index into the corresponding tuple of `concepts` (0 or 1 for the last two), or -1 if
    the picture has no such attribute.
    """
    return (
        list(COLORS).index(picture.color) if picture.color else -1,
        OBJECTS.index(picture.object) if picture.object else -1,
        OCCUPATIONS.index(picture.occupation) if picture.occupation else -1,
        picture.count,
        SCENES.index(picture.scene),
        int(picture.watermarked),
        int(picture.unsafe),
    )


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _noun_phrase(picture: Picture, mention: str, has_count: bool) -> str:
    assert picture.object is not None
    one = picture.count == 1
    noun = picture.object if one else _PLURALS.get(picture.object, f"{picture.object}s")
    if mention == "color":
        noun = "thing" if one else "things"
    words = noun if mention == "object" else f"{picture.color} {noun}"
    if one:
        return f"one {words}" if has_count else _with_article(words)
    return f"{_NUMBERS[picture.count - 1]} {words}"


def _object_caption(
    picture: Picture, rng: np.random.Generator, p_partial: float, p_detail: float
) -> tuple[str, set[int]]:
    partial_draw, detail_draw = rng.random(2)
    mention = (
        "both"
        if partial_draw >= p_partial
        else ("color" if partial_draw < p_partial / 3 else "object")
    )
    has_count = picture.count > 1 or rng.random() < 0.05
    stated = {"both": {0, 1}, "color": {0}, "object": {1}}[mention] | ({3} if has_count else set())
    words = _noun_phrase(picture, mention, has_count)
    if detail_draw < p_detail:
        words += " " + _pick(rng, _WHERE[picture.scene])
        stated.add(4)
    return _pick(rng, _FRAMES).format(words), stated


def _person_caption(
    picture: Picture, rng: np.random.Generator, gender_word: str | None, p_detail: float
) -> tuple[str, set[int]]:
    frame = _pick(rng, _GENDERED if gender_word else _WORK)
    they, poss = _PRONOUNS.get(gender_word or "", ("", ""))
    text, stated = frame.format(job=picture.occupation, they=they, poss=poss), {2}
    if rng.random() < p_detail:
        text += " " + _pick(rng, _WHERE[picture.scene])
        stated.add(4)
    return text, stated


def caption(
    picture: Picture,
    rng: np.random.Generator,
    *,
    language: str = "en",
    gender_word: str | None = None,
    p_partial: float = 0.0,
    p_detail: float = 0.3,
    p_overlay: float = 0.3,
) -> Caption:
    """A true caption of a picture, with random wording. Eager.

    Parameters
    ----------
    picture : Picture
        The picture to describe.
    rng : numpy.random.Generator
        Decides the wording and which attributes are omitted.
    language : str
        "en" or, for pictures of objects, one of `languages.LANGUAGES`.
    gender_word : {"she", "he"}, optional
        The pronoun used for a person.
    p_partial, p_detail, p_overlay : float
        The probability of naming only the color or only the object; of naming the scene; and of
        naming a watermark or hazard disc if there is one.
    """
    if language != "en" and picture.object is not None:
        assert picture.color is not None
        text = phrase(language, picture.color, picture.object, int(rng.integers(12)))
        stated = {0, 1}
    elif picture.occupation is not None:
        text, stated = _person_caption(picture, rng, gender_word, p_detail)
    else:
        text, stated = _object_caption(picture, rng, p_partial, p_detail)
    overlay = rng.random(2) < p_overlay
    if language == "en" and picture.watermarked and overlay[0]:
        text, stated = text + ", stock photo with watermark", stated | {5}
    if language == "en" and picture.unsafe and overlay[1]:
        text, stated = text + ", with a hazard sign", stated | {6}
    facts = claims_of(picture)
    return Caption(text, tuple(f if i in stated else -1 for i, f in enumerate(facts)))
