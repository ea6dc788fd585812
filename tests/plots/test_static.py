"""SVG plots: well formed, inside their frame, and hostile text stays text."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from laion_dask.plots.description import (
    Axis,
    BarPanel,
    Curve,
    CurvePanel,
    Form,
    Mark,
    Point,
    PointPanel,
)
from laion_dask.plots.palette import BLUE, ORANGE, SERIES
from laion_dask.plots.static import render
from laion_dask.plots.svg import INK_OF_PAGE

inf, nan = math.inf, math.nan
HOSTILE = "<script>alert('1')</script>\u202e\0 \"&'"


def forest(points, *, ratio=False, line=None, n_more=0, title="what") -> str:
    form = Form.RATIO if ratio else Form.SHARE
    axis = Axis(form=form, is_logarithmic=ratio)
    return render(PointPanel(title, tuple(points), axis, line, n_more))


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize(
    "points",
    [
        [(0.5, 0.4, 0.6), (0.1, 0.0, 0.2)],
        [(0.0, 0.0, 0.0)],
        [(1.0, 1.0, 1.0), (1.0, 1.0, 1.0)],
        [(nan, nan, nan), (nan, 0.0, inf)],
        [(2.0, 1.0, inf), (inf, 3.0, inf), (0.0, 0.0, 1.2)],
        [(1e-30, 0.0, 1e30)],
        [(0.5, nan, nan)],
        [(-3.0, -4.0, -2.0), (1e6, 1e5, 1e7)],
    ],
)
def test_points_are_well_formed(points, ratio):
    drawn = forest(
        [Point(f"group {i}", *point) for i, point in enumerate(points)],
        line=Mark(1.0 if ratio else 0.3, "all"),
        ratio=ratio,
    )
    root = ET.fromstring(drawn)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for node in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(node.attrib.get(name, 0)) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(node.attrib.get(name, 0)) <= height
    assert "nan" not in drawn and "inf" not in drawn
    shown = sum(math.isfinite(v) and (v > 0 or not ratio) for v, _, _ in points)
    assert drawn.count("<circle") <= shown


def test_no_points_and_points_that_are_left_out():
    assert forest([]) == ""
    many = [Point(f"g{i}", 0.1, 0.0, 0.2, is_marked=i == 3) for i in range(40)]
    drawn = forest(many, n_more=20)
    assert drawn.count("<circle") == 40 and "20 more are in the table" in drawn
    circles = [n.attrib["fill"] for n in ET.fromstring(drawn).iter("circle")]
    assert circles.count(ORANGE) == 1 and circles.count(BLUE) == 39
    long = forest([Point("\u5c71" * 90, 0.1, 0.0, 0.2)])
    assert "\u5c71" * 14 + "\u2026" in long and "\u5c71" * 90 in long  # complete in its title


def test_series_and_what_chance_makes_of_a_value():
    points = [
        Point("a", 0.1, series="x", expected=0.2),
        Point("a", 0.2, series="y"),
        Point("b", 0.3, series=HOSTILE),
    ]
    drawn = forest(points)
    assert [color in drawn for color in SERIES[:4]] == [True, True, True, False]
    assert "expected by chance" in drawn and "● x" in drawn and "&lt;script&gt;" in drawn
    heights = [float(n.attrib["cy"]) for n in ET.fromstring(drawn).iter("circle")]
    assert heights == sorted(set(heights))


@pytest.mark.parametrize("label", ["woman", "MMMWWW", "mammogram", "日本語のラベル", "<&>"])
def test_a_label_has_room(label):
    drawn = forest([Point(label, 0.5, 0.4, 0.6)])
    (text,) = (n for n in ET.fromstring(drawn).iter("text") if n.get("text-anchor") == "end")
    widest = {"m": 11.7, "M": 10.4, "w": 9.8, "W": 11.9}  # DejaVu Sans at 12 pixels
    needed = sum(widest.get(c, 12.0 if ord(c) > 0x3000 else 7.4) for c in label)
    assert float(text.attrib["x"]) >= needed and text.text == label


def test_a_picture_follows_the_readers_scheme_and_shrinks_little():
    drawn = forest([Point("woman", 0.5, 0.4, 0.6)])
    root = ET.fromstring(drawn)
    assert root.attrib["fill"] == INK_OF_PAGE
    assert {n.attrib["fill"] for n in root.iter("text")} == {INK_OF_PAGE, "var(--grey,#52606d)"}
    width = float(root.attrib["width"])
    assert root.attrib["style"] == f"min-width:{0.75 * width:.0f}px"


def test_curves_of_nothing_and_of_odd_values():
    assert render(CurvePanel("", ())) == ""
    assert render(CurvePanel("", (Curve("a", (1, 2), (nan, nan)),))) == ""
    curve = Curve(HOSTILE, (0, 1, 2), (0.0, 0.5, 0.5), (0, 0.4, 0.4), (0.1, 0.6, 0.6))
    for is_logarithmic in (False, True):
        axis = Axis(HOSTILE, Form.SHARE, is_logarithmic)
        panel = CurvePanel(HOSTILE, (curve,), x=Axis(HOSTILE), y=axis, marks=(Mark(1, HOSTILE),))
        drawn = render(panel)
        assert drawn.count("&lt;script&gt;") >= 5 and "nan" not in drawn
        assert "<script" not in drawn and "\u202e" not in drawn and "\0" not in drawn
        ET.fromstring(drawn)
    one = render(CurvePanel("t", (Curve("a", (3,), (3,)),)))
    ET.fromstring(one)
    logarithmic = replace(panel, x=Axis(is_logarithmic=True, ticks=((1, "one"), (9, "beyond"))))
    assert "one" in render(logarithmic) and "beyond" not in render(logarithmic)


def test_bars_stand_on_a_logarithmic_axis():
    assert render(BarPanel("t", (0.0, 1.0), (0,))) == ""
    panel = BarPanel("t", (0.0, 1.0, 2.0, 3.0), (1, 0, 100), marks=(Mark(1.5, HOSTILE),))
    root = ET.fromstring(render(panel))
    low, high = (float(bar.attrib["height"]) for bar in root.iter("rect"))
    assert 0 < low < high / 5 and any("script" in (n.text or "") for n in root.iter("text"))


#: Linear RGB as seen without red, green or blue cones: Machado, Oliveira and Fernandes (2009).
SEEN = (
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
     [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
     [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
     [0.004733, 0.691367, 0.303900]],
)  # fmt: skip


def lab(color: str, seen) -> np.ndarray:
    """A color in CIE L*a*b*, as seen."""
    srgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(seen) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("colors", [SERIES, (BLUE, ORANGE)], ids=["series", "marked"])
def test_colors_are_told_apart_without_color_vision(colors):
    for seen in SEEN:
        pairs = itertools.combinations([lab(color, seen) for color in colors], 2)
        assert min(np.linalg.norm(a - b) for a, b in pairs) > 15


def test_dots_without_a_line():
    curve = Curve("", (0.0, 1.0, 2.0), (0.1, 0.5, 0.2), has_dots=True, has_line=False)
    drawn = render(CurvePanel("dots", (curve,)))
    assert drawn.count("<circle") == 3 and "<polyline" not in drawn
