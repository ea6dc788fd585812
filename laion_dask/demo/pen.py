"""A pen that draws shapes in unit coordinates, and rasterized sprites of such drawings.

A drawing is a list of strokes: a polygon and the role of its paint. Every curve is a polygon, so a
drawing is rotated by rotating its points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Paint = str | tuple[int, int, int]
Point = tuple[float, float]
_OVERSAMPLE = 4


@dataclass
class Pen:
    """Strokes in a square from -1 to 1, y downwards; later strokes are drawn on top."""

    strokes: list[tuple[Paint, list[Point]]] = field(default_factory=list)

    def poly(self, paint: Paint, *points: Point) -> None:
        """A filled polygon."""
        self.strokes.append((paint, list(points)))

    def box(self, paint: Paint, x0: float, y0: float, x1: float, y1: float) -> None:
        """A filled rectangle."""
        self.poly(paint, (x0, y0), (x1, y0), (x1, y1), (x0, y1))

    def disc(
        self, paint: Paint, x: float, y: float, rx: float, ry: float | None = None,
        start: float = 0, stop: float = 360,
    ) -> None:  # fmt: skip
        """A filled ellipse, or its arc between two angles (degrees, clockwise from east)."""
        ry = rx if ry is None else ry
        angles = [math.radians(start + (stop - start) * i / 36) for i in range(37)]
        self.poly(paint, *((x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles))

    def line(self, paint: Paint, a: Point, b: Point, width: float) -> None:
        """A straight bar of the given width."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        scale = width / 2 / (math.hypot(dx, dy) or 1)
        nx, ny = -dy * scale, dx * scale
        self.poly(
            paint, (a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny),
            (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny),
        )  # fmt: skip


@dataclass(frozen=True)
class Sprite:
    """A drawing at one size and rotation: an outline mask, and one mask per run of equal paint."""

    outline: Image.Image
    layers: tuple[tuple[Paint, Image.Image], ...]

    def paste(
        self, canvas: Image.Image, at: tuple[int, int], paints: dict[str, tuple[int, int, int]]
    ) -> None:
        """Paint the sprite onto ``canvas`` with its upper left corner at ``at``."""
        canvas.paste(paints["outline"], at, self.outline)
        for paint, mask in self.layers:
            canvas.paste(paints[paint] if isinstance(paint, str) else paint, at, mask)


def make_sprite(pen: Pen, size: int, turn_deg: float = 0.0) -> Sprite:
    """Rasterize a drawing to ``size`` x ``size`` pixels, antialiased.

    The paint "cut" erases what is below it.
    """
    side = size * _OVERSAMPLE
    turn, scale = math.radians(turn_deg), side * 0.43
    cos, sin = math.cos(turn), math.sin(turn)
    layers: list[tuple[Paint, Image.Image]] = []
    for paint, points in pen.strokes:
        spots = [
            (side / 2 + scale * (x * cos - y * sin), side / 2 + scale * (x * sin + y * cos))
            for x, y in points
        ]
        if paint == "cut":
            for _, mask in layers:
                ImageDraw.Draw(mask).polygon(spots, fill=0)
            continue
        if not layers or layers[-1][0] != paint:
            layers.append((paint, Image.new("L", (side, side))))
        ImageDraw.Draw(layers[-1][1]).polygon(spots, fill=255)
    silhouette = layers[0][1]
    for _, mask in layers[1:]:
        silhouette = ImageChops.lighter(silhouette, mask)
    reduced = silhouette.reduce(_OVERSAMPLE // 2)
    blurred = reduced.filter(ImageFilter.GaussianBlur(max(1.0, size / 36)))
    outline = blurred.point(lambda v: min(255, v * 6)).reduce(2)
    return Sprite(outline, tuple((paint, mask.reduce(_OVERSAMPLE)) for paint, mask in layers))
