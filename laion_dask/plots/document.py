"""A plot description as an SVG document for a file: all panels, on white, with its own colors."""

from __future__ import annotations

import textwrap
from xml.etree import ElementTree

from laion_dask.plots.description import Plot
from laion_dask.plots.palette import FAINT, GREY, INK
from laion_dask.plots.static import render
from laion_dask.plots.svg import FAINT_OF_PAGE, GREY_OF_PAGE, INK_OF_PAGE, Picture

#: Pixels: the margin, the space between panels, the height of a line of text.
_MARGIN, _GAP, _LINE = 16, 14, 18
#: Programs other than browsers do not know colors of a page.
_CONCRETE = {INK_OF_PAGE: INK, GREY_OF_PAGE: GREY, FAINT_OF_PAGE: FAINT}
_NAMESPACE = "http://www.w3.org/2000/svg"


def svg_document(plot: Plot) -> str:
    """All panels, one below the other, with the title above and the notes below. Eager.

    Text from the data is escaped, including control and bidirectional characters. The document has
    no script, and refers to nothing outside.
    """
    drawn = [text for text in map(render, plot.panels) if text]
    panels = [ElementTree.fromstring(text) for text in drawn]
    sizes = [tuple(map(float, one.attrib["viewBox"].split()[2:])) for one in panels]
    width = max([width for width, _ in sizes], default=400.0)
    words, y = Picture(), float(_MARGIN)
    y = _written(words, plot.title, width, y, weight=600)
    places = []
    for _, height in sizes:
        places.append(y)
        y += height + _GAP
    for note in plot.notes or (() if panels else ("No results to draw",)):
        y = _written(words, note, width, y, color=GREY)
    return _joined(panels, places, words, width + 2 * _MARGIN, y + _MARGIN)


def _written(words: Picture, text: str, width: float, y: float, **style) -> float:
    """Write text in lines; return where the next text starts."""
    for line in textwrap.wrap(text, max(20, int(width / 6.6))):
        words.text(float(_MARGIN), y + 12, line, **style)
        y += _LINE
    return y


def _joined(panels, places, words: Picture, width: float, height: float) -> str:
    root = ElementTree.fromstring(words.finish(width, height))
    root.attrib |= {
        "xmlns": _NAMESPACE,
        "height": f"{height:.0f}",
        "font-family": "DejaVu Sans, Verdana, Arial, sans-serif",
    }
    del root.attrib["style"]
    paper = {"width": f"{width:.0f}", "height": f"{height:.0f}", "fill": "#ffffff"}
    root.insert(0, ElementTree.Element("rect", paper))
    for panel, y in zip(panels, places, strict=True):
        group = ElementTree.SubElement(root, "g", {"transform": f"translate({_MARGIN},{y:.0f})"})
        group.extend(panel)
    for element in root.iter():
        for name in ("fill", "stroke"):
            if element.get(name) in _CONCRETE:
                element.set(name, _CONCRETE[element.attrib[name]])
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
