"""SVG documents of `laion_dask.plots.document` as PNG, drawn by Pillow: no browser is needed.

Only the elements that our plots consist of are drawn. Text is in the first font found of DejaVu
Sans, Liberation Sans and Arial, else in Pillow's own; characters that the font lacks are boxes.
"""

from __future__ import annotations

import io
import re
from functools import cache
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

#: Pixels of the image per pixel of the document; it is drawn twice as large for smooth edges.
SCALE = 2
_OVERSAMPLING = 2
#: Colors of the image: those of a plot, and shades at their edges.
_COLORS = 128
_FONTS = {
    "400": ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "arial.ttf"),
    "600": ("DejaVuSans-Bold.ttf", "LiberationSans-Bold.ttf", "arialbd.ttf"),
}
_SIZE = 12
#: Pillow's names of the horizontal anchors of a baseline.
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png(document: str) -> bytes:
    """The document as a PNG image at twice its size. Eager.

    Parameters
    ----------
    document : str
        From `laion_dask.plots.document.svg_document`.
    """
    from PIL import Image, ImageDraw

    root = ElementTree.fromstring(document)
    factor = SCALE * _OVERSAMPLING
    width, height = (int(float(root.attrib[name])) for name in ("width", "height"))
    image = Image.new("RGB", (width * factor, height * factor), "#ffffff")
    _Drawing(ImageDraw.Draw(image, "RGBA"), factor).children(root, 0.0, 0.0)
    small = image.reduce(_OVERSAMPLING)
    sink = io.BytesIO()
    small.quantize(_COLORS, dither=Image.Dither.NONE).save(sink, "PNG")
    return sink.getvalue()


_Point = tuple[float, float]


class _Drawing:
    def __init__(self, draw: Any, factor: int) -> None:
        self.draw, self.factor = draw, factor

    def children(self, parent: ElementTree.Element, x: float, y: float) -> None:
        for element in parent:
            tag = element.tag.rpartition("}")[2]
            if tag == "g":
                dx, dy = map(float, re.findall(r"[-\d.]+", element.attrib["transform"]))
                self.children(element, x + dx, y + dy)
            else:
                getattr(self, f"_{tag}")(element, x, y)

    def _points(self, text: str, x: float, y: float) -> list[_Point]:
        numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        return [((px + x) * self.factor, (py + y) * self.factor) for px, py in pairs]

    def _width(self, element: ElementTree.Element) -> int:
        return round(float(element.get("stroke-width", 1)) * self.factor)

    def _stroke(self, element, points: list[_Point]) -> None:
        dash = [float(n) * self.factor for n in element.get("stroke-dasharray", "").split()]
        lines = _dashes(points, dash) if dash else [points]
        for line in lines:
            self.draw.line(line, element.get("stroke"), self._width(element), joint="curve")

    def _rect(self, element, x: float, y: float) -> None:
        left, top = float(element.get("x", 0)) + x, float(element.get("y", 0)) + y
        right = left + float(element.attrib["width"])
        bottom = top + float(element.attrib["height"])
        box = [n * self.factor for n in (left, top, right, bottom)]
        self.draw.rectangle(box, _fill(element))

    def _line(self, element, x: float, y: float) -> None:
        ends = " ".join(element.attrib[name] for name in ("x1", "y1", "x2", "y2"))
        self._stroke(element, self._points(ends, x, y))

    def _polyline(self, element, x: float, y: float) -> None:
        points = self._points(element.attrib["points"], x, y)
        if len(points) > 1:
            self._stroke(element, points)

    def _polygon(self, element, x: float, y: float) -> None:
        points = self._points(element.get("points", element.get("d", "")), x, y)
        fill = _fill(element)
        if fill is not None and len(points) > 1:
            self.draw.polygon(points, fill)
        if element.get("stroke"):
            self._stroke(element, [*points, points[0]])

    _path = _polygon  # ours consist of straight lines, and are closed

    def _circle(self, element, x: float, y: float) -> None:
        center = self._points(f"{element.attrib['cx']} {element.attrib['cy']}", x, y)[0]
        self.draw.circle(center, float(element.attrib["r"]) * self.factor, _fill(element))

    def _text(self, element, x: float, y: float) -> None:
        at = self._points(f"{element.attrib['x']} {element.attrib['y']}", x, y)[0]
        font = _font(element.get("font-weight", "400"), _SIZE * self.factor)
        anchor = _ANCHORS[element.get("text-anchor", "start")]
        self.draw.text(at, element.text or "", element.get("fill", "#000000"), font, anchor)


def _fill(element: ElementTree.Element) -> str | None:
    """The color of an area, with its opacity; None for an area that is not filled."""
    color = element.get("fill", "#000000")
    if color == "none":
        return None
    return f"{color}{round(255 * float(element.get('opacity', 1))):02x}"


def _dashes(points: list[_Point], dash: list[float]) -> list[list[_Point]]:
    """The drawn parts of a line, each as points."""
    lines, number, left = [], 0, dash[0]
    current = [points[0]]
    for (x1, y1), (x2, y2) in pairwise(points):
        length, done = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 0.0
        while length - done > left:
            done += left
            at = (x1 + (x2 - x1) * done / length, y1 + (y2 - y1) * done / length)
            if number % 2 == 0:
                lines.append([*current, at])
            current, number = [at], number + 1
            left = dash[number % len(dash)]
        left -= length - done
        current.append((x2, y2))
    return [*lines, current] if number % 2 == 0 and len(current) > 1 else lines


@cache
def _font(weight: str, size: int) -> Any:
    from PIL import ImageFont

    for name in _FONTS.get(weight, _FONTS["400"]):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
