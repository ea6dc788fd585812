"""Plots as files: the same numbers as on the screen, well formed, and hostile text stays text."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import laion_dask as ld
from laion_dask.errors import OptionError
from laion_dask.plots.palette import BLUE
from laion_dask.stats.table import table

HOSTILE = "<script>alert(1)</script>\u202e\0\uffff \"&' javascript:x"
NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}
WORDS = [HOSTILE, "b"]


def rates() -> list[dict]:
    return [
        {"statistic": "rates", "term": HOSTILE, "axis": HOSTILE, "group": g, "n": 9, "rate": 0.5,
         "lo": 0.4, "hi": 0.6}
        for g in WORDS
    ]  # fmt: skip


def curves() -> list[dict]:
    return [
        {"statistic": "c", "term": "t", "axis": "a", "group": g, "threshold": t, "n": 9, "rate": t}
        for g in WORDS
        for t in (0.1, 0.2, 0.3)
    ]


PLOTS = {
    "histogram": lambda: ld.histogram(
        [0.1, 0.2, 0.2], threshold=0.15, title=HOSTILE, label=HOSTILE
    ),
    "points": lambda: table(rates()).plot(title=HOSTILE),
    "curves": lambda: table(curves()).plot(),
    "several": lambda: table([*rates(), *curves()]).plot(title=HOSTILE),
    "composed": lambda: ld.histogram([0.1], title=HOSTILE) + table(rates()).plot(),
    "nothing": lambda: table([]).plot(),
}


@pytest.mark.parametrize("name", PLOTS)
def test_svg_is_a_document_without_script_or_reference(name, tmp_path):
    ld.save_plot(PLOTS[name](), tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text("utf-8")
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "rect", "line", "circle", "polygon", "polyline", "path", "text",
                    "title"}  # fmt: skip
    names = {name for element in root.iter() for name in element.attrib}
    assert not {one for one in names if one.startswith("on") or "href" in one}
    assert "var(" not in text and "\u202e" not in text and "\0" not in text
    if name not in ("nothing", "curves"):
        shown = "".join(element.text or "" for element in root.iter())
        assert "<script>alert(1)</script>\\u202e\\u0000\\uffff" in shown.replace("\n", "")


@pytest.mark.parametrize("name", PLOTS)
def test_png_shows_the_document_at_twice_its_size(name, tmp_path):
    for suffix in ("svg", "png"):
        ld.save_plot(PLOTS[name](), tmp_path / f"plot.{suffix}")
    root = ET.fromstring((tmp_path / "plot.svg").read_text("utf-8"))
    image = Image.open(tmp_path / "plot.png")
    assert image.size == (2 * int(root.attrib["width"]), 2 * int(root.attrib["height"]))
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_bars_have_the_pixels_of_their_counts(tmp_path):
    """Each bar of the image starts and ends where the SVG says it does."""
    plot = ld.histogram([0.0, 0.1, 0.1, 0.1, 0.9], bins=3)
    for suffix in ("svg", "png"):
        ld.save_plot(plot, tmp_path / f"plot.{suffix}")
    root = ET.fromstring((tmp_path / "plot.svg").read_text("utf-8"))
    pixels = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB")).astype(int)
    is_blue = np.abs(pixels - [int(BLUE[i : i + 2], 16) for i in (1, 3, 5)]).max(axis=2) < 8
    group = root.find("svg:g", NAMESPACE)
    dx, dy = map(float, re.findall(r"[\d.]+", group.attrib["transform"]))
    bars = [b for b in group.findall("svg:rect", NAMESPACE) if b.attrib["fill"] == BLUE]
    assert len(bars) == 2, "an empty bin has no bar"
    for bar in bars:
        x, y, width, height = (float(bar.attrib[n]) for n in ("x", "y", "width", "height"))
        column = is_blue[:, int(2 * (x + dx + width / 2))]
        assert abs(np.flatnonzero(column).min() - 2 * (y + dy)) <= 1
        assert abs(column.sum() - 2 * height) <= 2


def test_other_plots_and_endings_are_refused(tmp_path):
    plot = ld.histogram([0.1])
    with pytest.raises(OptionError, match=r"\.svg"):
        ld.save_plot(plot, tmp_path / "plot.pdf")
    for other in (hv.Curve([1, 2]), hv.Curve([1]) + plot, "plot", None):
        with pytest.raises(OptionError, match="not drawn by this package"):
            ld.save_plot(other, tmp_path / "plot.svg")
    assert list(tmp_path.iterdir()) == []
    ld.save_plot(hv.Curve([1, 2]), tmp_path / "plot.html")
    assert (tmp_path / "plot.html").read_text().startswith("<!doctype html>")


def test_options_of_holoviews_keep_the_description(tmp_path):
    ld.save_plot(ld.histogram([0.1]).opts(width=300), tmp_path / "plot.svg")


def test_a_plot_in_a_notebook_has_links_to_its_files():
    page = ld.show(ld.histogram([0.1, 0.2], title=HOSTILE))._repr_html_()
    found = re.findall(r'<a download="plot\.(\w+)" href="data:([\w/+]+);base64,([^"]*)">', page)
    files = {suffix: base64.b64decode(content) for suffix, _, content in found}
    assert [kind for _, kind, _ in found] == ["image/svg+xml", "image/png"]
    assert files["svg"].startswith(b"<svg") and Image.open(io.BytesIO(files["png"])).width > 600
    assert "plot.svg" not in ld.show(hv.Curve([1, 2]))._repr_html_()


def test_points_say_what_they_are(tmp_path):
    result = pd.DataFrame(rates()).assign(term="t", verdict=["amplified", "excluded less"])
    ld.save_plot(table(result).plot(), tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    assert "share of rows" in text and "● amplified" in text and "● not amplified" in text
