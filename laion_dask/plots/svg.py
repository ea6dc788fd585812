"""Elements of an SVG image, built as a tree so that text from the data is always escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from math import isfinite
from xml.etree import ElementTree

from laion_dask.formatting import printable, share_text
from laion_dask.plots.description import Form
from laion_dask.plots.palette import FAINT, GREY, INK

#: Colors that follow the light or dark scheme of the page; light outside of a page.
INK_OF_PAGE, GREY_OF_PAGE, FAINT_OF_PAGE = (
    f"var(--{name},{color})" for name, color in (("ink", INK), ("grey", GREY), ("faint", FAINT))
)
_OF_PAGE = {INK: INK_OF_PAGE, GREY: GREY_OF_PAGE, FAINT: FAINT_OF_PAGE}
#: Width of a character at a font size of 12 pixels, in the widest common font.
_CHARACTER = dict.fromkeys("mwMW@%", 11.8) | dict.fromkeys(" fijlrtI.,:;'|!()[]/-", 5.0)
_TEXT: dict[Form | None, Callable[[float], str]] = {
    None: "{:,.3g}".format,
    Form.NUMBER: "{:,.3g}".format,
    Form.SHARE: share_text,
    Form.RATIO: lambda value: f"{value:.3g}" if isfinite(value) else "∞",
    Form.WHOLE: "{:,.0f}".format,
    Form.HUNDREDTHS: "{:.2f}".format,
}


class Picture:
    """An SVG image under construction."""

    def __init__(self) -> None:
        self._root = ElementTree.Element("svg")

    def finish(self, width: float, height: float) -> str:
        """The SVG markup. On a narrow page it shrinks by at most a quarter, to stay legible.

        Parameters
        ----------
        width, height : float
            Pixels.
        """
        self._root.attrib = {
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "width": f"{width:.0f}",
            "style": f"min-width:{0.75 * width:.0f}px",
            "font-size": "12",
            "fill": INK_OF_PAGE,
            "role": "img",
        }
        return ElementTree.tostring(self._root, encoding="unicode")

    def add(self, tag: str, color: str = "", **attributes: object) -> ElementTree.Element:
        """Add an element; ``_`` in attribute names becomes ``-``."""
        named = {name.replace("_", "-"): _number(value) for name, value in attributes.items()}
        if color:
            named["stroke" if tag in ("line", "polyline") else "fill"] = of_page(color)
        return ElementTree.SubElement(self._root, tag, named)

    def line(self, x1: float, y1: float, x2: float, y2: float, color: str, **more) -> None:
        """Add a straight line."""
        self.add("line", color, x1=x1, y1=y1, x2=x2, y2=y2, **more)

    def text(
        self,
        x: float,
        y: float,
        shown: str,
        *,
        anchor: str = "start",
        color: str = INK,
        weight: int = 400,
        full: str = "",
    ) -> None:
        """Add text; if it is cut, the full text is shown on hover."""
        style = {"text_anchor": anchor, "font_weight": weight, "direction": "ltr"}
        element = self.add("text", color, x=x, y=y, **style)
        element.text = printable(shown)
        if full and full != shown:
            ElementTree.SubElement(element, "title").text = printable(full)


def _number(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def of_page(color: str) -> str:
    """A color, with ink and grays replaced by those of the page's scheme."""
    return _OF_PAGE.get(color, color)


def value_text(form: Form | None) -> Callable[[float], str]:
    """The function that formats the values of an axis."""
    return _TEXT[form]


def text_width(label: str) -> float:
    """An upper bound on the width of a text in pixels; Chinese characters are the widest."""
    return sum(_CHARACTER.get(c) or _character_width(c) for c in printable(label))


def _character_width(c: str) -> float:
    if unicodedata.east_asian_width(c) in "WF":
        return 13.2
    return 9.0 if c.isupper() else 7.7


def cut_to(label: str, widest: float) -> str:
    """Cut a label to at most this many pixels."""
    width = 0.0
    for number, c in enumerate(label):
        width += text_width(c)
        if width > widest:
            return label[:number] + "…"
    return label
