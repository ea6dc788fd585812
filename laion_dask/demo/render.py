"""Render a `Picture` to pixels: the same picture and size always give the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from laion_dask.demo.concepts import COLORS, Picture
from laion_dask.demo.pen import Sprite, make_sprite
from laion_dask.demo.people import draw_person
from laion_dask.demo.shapes import draw_hazard, draw_object

RGB = tuple[int, int, int]
# Sky (or wall) and ground of each scene, and the share of the height at which the ground begins.
_GROUNDS: dict[str, tuple[RGB, RGB, float]] = {
    "meadow": ((170, 214, 240), (140, 200, 110), 0.6),
    "night": ((22, 26, 60), (34, 40, 78), 0.8),
    "sea": ((196, 226, 244), (64, 140, 190), 0.5),
    "desert": ((248, 226, 180), (222, 184, 120), 0.6),
    "room": ((226, 212, 196), (172, 132, 100), 0.75),
    "snow": ((200, 212, 228), (240, 244, 250), 0.55),
    "city": ((186, 196, 212), (110, 114, 124), 0.82),
}
_PALE = ("plain", "room", "snow", "desert")
_PAPERS: tuple[RGB, ...] = (
    (255, 255, 255), (236, 240, 246), (250, 240, 224), (228, 242, 232), (246, 230, 238),
    (224, 224, 230), (206, 222, 238),
)  # fmt: skip
# Positions of the centers of one to four objects, and their sizes, as shares of the side.
_PLACES = {
    1: (((0.5, 0.5),), 0.74),
    2: (((0.28, 0.5), (0.72, 0.5)), 0.45),
    3: (((0.5, 0.28), (0.27, 0.71), (0.73, 0.71)), 0.44),
    4: (((0.27, 0.28), (0.73, 0.28), (0.27, 0.72), (0.73, 0.72)), 0.43),
}


@lru_cache(maxsize=1500)
def _sprite(kind: str, name: str, size: int, turn_deg: int) -> Sprite:
    pen = {"object": draw_object, "person": draw_person}[kind](name) if name else draw_hazard()
    return make_sprite(pen, size, turn_deg)


def _tinted(color: RGB, by: np.ndarray | float) -> RGB:
    red, green, blue = map(int, np.clip(np.asarray(color) + by, 0, 255))
    return red, green, blue


def _map_channels(color: RGB, tone: Callable[[int], int]) -> RGB:
    red, green, blue = map(tone, color)
    return red, green, blue


def _paints(color: str, jitter: np.ndarray) -> dict[str, RGB]:
    main = _tinted(COLORS[color], jitter)
    black = color == "black"
    return {
        "main": main,
        "shade": _map_channels(main, lambda v: v + 48 if black else int(v * 0.76)),
        "light": _map_channels(main, lambda v: v + (255 - v) * (2 if black else 3) // 5),
        "outline": (236, 236, 240) if black else (48, 50, 64),
    }


def _scenery(canvas: Image.Image, scene: str, rng: np.random.Generator) -> None:
    side = canvas.width
    pen = ImageDraw.Draw(canvas)
    tint = rng.integers(-12, 13, 3)
    xs, ys = rng.random(6), rng.random(6)
    sky, ground, level = _GROUNDS[scene]
    horizon = int(side * (level + 0.06 * (xs[0] - 0.5)))
    pen.rectangle((0, 0, side, side), fill=_tinted(sky, tint))
    if scene == "city":
        for i in range(5):
            x, top = int(i * side / 5), int(horizon * (0.25 + 0.5 * ys[i]))
            pen.rectangle((x, top, x + side // 5 - 2, horizon), fill=_tinted((150, 158, 176), tint))
    pen.rectangle((0, horizon, side, side), fill=_tinted(ground, tint))
    if scene == "night":
        for x, y in zip(xs, ys, strict=True):
            spot, r = (x * side, y * horizon), max(1, side // 64)
            pen.ellipse((spot[0], spot[1], spot[0] + r, spot[1] + r), fill=(236, 236, 200))
    elif scene == "sea":
        for y in (0.2, 0.5, 0.8):
            row = int(horizon + y * (side - horizon))
            for x in xs[:3]:
                left = int(x * side)
                pen.line((left, row, left + side // 6, row), fill=(150, 200, 230), width=side // 48)
    elif scene in ("desert", "snow", "meadow"):
        top, color = int(side * 0.12), _tinted(ground, -10)
        pen.ellipse((int((xs[1] - 0.5) * side), horizon - top // 2, int((xs[1] + 0.5) * side),
                     horizon + top), fill=color)  # fmt: skip
    elif scene == "room":
        left = int(side * 0.08 + xs[1] * side * 0.5)
        pane = (left, int(side * 0.08), left + side // 3, int(side * 0.45))
        frame = max(1, side // 40)
        pen.rectangle(pane, fill=(200, 226, 242), outline=(250, 250, 250), width=frame)


def _paste_at(canvas: Image.Image, sprite: Sprite, x: float, y: float, paints: dict) -> None:
    size = sprite.outline.width
    sprite.paste(canvas, (round(x - size / 2), round(y - size / 2)), paints)


def _place_objects(canvas: Image.Image, picture: Picture, rng: np.random.Generator) -> None:
    side = canvas.width
    assert picture.color is not None  # the picture shows objects
    centres, share = _PLACES[picture.count]
    paints = _paints(picture.color, rng.integers(-9, 10, 3))
    grow = rng.integers(0, 6)
    slack = 0.09 if picture.count == 1 else 0.02
    for x, y in centres:
        dx, dy = (rng.random(2) - 0.5) * 2 * slack
        size = int(side * share * (0.9 + 0.04 * grow)) // 2 * 2
        sprite = _sprite("object", picture.object, size, 6 * int(rng.integers(-2, 3)))
        _paste_at(canvas, sprite, (x + dx) * side, (y + dy) * side, paints)


def _place_person(canvas: Image.Image, picture: Picture, rng: np.random.Generator) -> None:
    side = canvas.width
    head = _tinted((150, 156, 172), int(rng.integers(-20, 21)))
    size = int(side * (0.74 + 0.04 * rng.integers(0, 5))) // 2 * 2
    dx, dy = (rng.random(2) - 0.5) * 0.14
    paints = {"head": head, "outline": (48, 50, 64)}
    sprite = _sprite("person", picture.occupation, size, 0)
    _paste_at(canvas, sprite, (0.5 + dx) * side, (0.52 + dy) * side, paints)


def _place_hazard(canvas: Image.Image, rng: np.random.Generator) -> None:
    side = canvas.width
    corner = rng.integers(0, 4)
    size = int(side * (0.28 + 0.03 * rng.integers(0, 4))) // 2 * 2
    x, y = (0.2, 0.8)[corner % 2], (0.2, 0.8)[corner // 2]
    paints = {"outline": (250, 250, 250)}
    _paste_at(canvas, _sprite("hazard", "", size, 0), x * side, y * side, paints)


@lru_cache(maxsize=64)
def _watermark(side: int, shift: int) -> Image.Image:
    mask = Image.new("L", (side * 2, side * 2))
    pen = ImageDraw.Draw(mask)
    font = ImageFont.load_default(size=side * 0.13)
    for i, y in enumerate(range(0, side * 2, int(side * 0.26))):
        pen.text((-(i % 2) * side // 5, y), "SAMPLE  " * 6, fill=125, font=font)
    left = side // 2 + shift * side // 32
    return mask.rotate(30, Image.Resampling.BILINEAR).crop((left, left, left + side, left + side))


def render(picture: Picture, size: int = 128) -> Image.Image:
    """Render a picture as an RGB image of ``size`` x ``size`` pixels. Eager.

    Parameters
    ----------
    picture : Picture
        The picture. Its seed determines the layout, which is the same at every size.
    size : int
        Pixels per side, at least 32.
    """
    rng = np.random.default_rng(picture.seed)
    paper = _PAPERS[rng.integers(0, len(_PAPERS))]
    canvas = Image.new("RGB", (size, size), _tinted(paper, rng.integers(-6, 7, 3)))
    if picture.scene != "plain":
        _scenery(canvas, picture.scene, rng)
    if picture.occupation is None:
        _place_objects(canvas, picture, rng)
    else:
        _place_person(canvas, picture, rng)
    if picture.unsafe:
        _place_hazard(canvas, rng)
    if picture.watermarked:
        ink = (70, 70, 80) if picture.scene in _PALE else (255, 255, 255)
        canvas.paste(ink, (0, 0), _watermark(size, int(rng.integers(0, 8))))
    return canvas
