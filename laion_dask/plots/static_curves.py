"""Curves with bands, and histograms, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isfinite, log10

from laion_dask.plots.description import Axis, BarPanel, Curve, CurvePanel, Mark
from laion_dask.plots.palette import BLUE, DARK_ORANGE, FAINT, GREY
from laion_dask.plots.svg import Picture, value_text
from laion_dask.plots.ticks import round_values

#: In pixels: size of the plot area; margins left, above, below and right of it.
_WIDTH, _HEIGHT, _LEFT, _TOP, _BELOW, _RIGHT = 560, 240, 64, 24, 44, 170
_DASHES = {"solid": "", "dashed": "6 4", "dotted": "2 3"}
#: Maximum characters of the name beside a curve.
_NAME = 22

#: x, y, and the ends of the band.
_Row = tuple[float, float, float, float]


def curves(panel: CurvePanel) -> str:
    """Curves on one pair of axes as SVG; an empty string without curves."""
    drawn = [(curve, _rows(curve, panel)) for curve in panel.curves]
    drawn = [(curve, points) for curve, points in drawn if points]
    if not drawn:
        return ""
    x_values = [row[0] for _, points in drawn for row in points]
    y_values = [value for _, points in drawn for row in points for value in row[1:]]
    scales = _Scales(_Scale.of(panel.x, x_values, 0.0), _Scale.of(panel.y, y_values, 0.05))
    picture = Picture()
    _axes(picture, panel, scales)
    for curve, points in drawn:
        _curve(picture, curve, points, scales)
    _marks(picture, panel.marks, scales)
    bands = {curve.band_name for curve, _ in drawn if curve.lo and curve.band_name}
    if bands:
        words = f"band: {', '.join(sorted(bands))}"
        picture.text(_LEFT + _WIDTH + 8.0, 13.0, words, color=GREY)
    ends = [(scales.y(points[-1][1]), curve) for curve, points in drawn]
    _names(picture, ends)
    return picture.finish(_LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BELOW)


def bars(panel: BarPanel) -> str:
    """Counts between edges as SVG; an empty string without counts."""
    if not any(panel.counts):
        return ""
    y_axis = Axis(panel.y.label, panel.y.form, True, (0.8, 1.5 * max(panel.counts)))
    scales = _Scales(_Scale.of(panel.x, panel.edges, 0.0), _Scale.of(y_axis, (), 0.0))
    picture = Picture()
    _axes(picture, panel, scales)
    bottom = _TOP + _HEIGHT
    for (lo, hi), n in zip(pairwise(panel.edges), panel.counts, strict=True):
        if n:
            x, y = scales.x(lo), scales.y(n)
            width = max(1.0, scales.x(hi) - x - 0.5)
            picture.add("rect", BLUE, x=x, y=y, width=width, height=bottom - y)
    _marks(picture, panel.marks, scales)
    return picture.finish(_LEFT + _WIDTH + 24, bottom + _BELOW)


def _rows(curve: Curve, panel: CurvePanel) -> list[_Row]:
    """The points of a curve that can be drawn, with the ends of the band."""
    lo, hi = (curve.lo, curve.hi) if curve.lo else (curve.y, curve.y)
    points = zip(curve.x, curve.y, lo, hi, strict=True)
    rows = [row for row in points if all(map(isfinite, row))]
    if panel.y.is_logarithmic:
        rows = [row for row in rows if min(row[1:]) > 0]
    return [row for row in rows if row[0] > 0] if panel.x.is_logarithmic else rows


@dataclass(frozen=True)
class _Scale:
    """Maps values to shares of an axis."""

    lo: float
    hi: float
    axis: Axis

    @classmethod
    def of(cls, axis: Axis, values: Sequence[float], edge: float) -> _Scale:
        """A scale that fits the values, with a margin given as a share of its length."""
        scaled = [log10(value) for value in values] if axis.is_logarithmic else list(values)
        if axis.ends is not None:
            lo, hi = map(log10, axis.ends) if axis.is_logarithmic else axis.ends
            return cls(lo, hi, axis)
        lo, hi = min(scaled), max(scaled)
        if not edge:
            return cls(lo, hi if hi > lo else lo + 1, axis)
        edge = edge * (hi - lo) or 0.05 * abs(hi) or 0.5
        low = lo - edge if axis.is_logarithmic or lo < 0 else max(0.0, lo - edge)
        return cls(low, hi + edge, axis)

    def share(self, value: float) -> float:
        value = log10(value) if self.axis.is_logarithmic else value
        return (value - self.lo) / (self.hi - self.lo)

    def ticks(self) -> list[tuple[float, str]]:
        tell = value_text(self.axis.form)
        if self.axis.ticks:
            ticks = list(self.axis.ticks)
        elif not self.axis.is_logarithmic:
            return [(value, tell(value)) for value in round_values(self.lo, self.hi)]
        else:
            decades = range(floor(self.lo), ceil(self.hi) + 1)
            steps = (1, 2, 5) if len(decades) <= 6 else (1,)
            ticks = [(m * 10.0**e, tell(m * 10.0**e)) for e in decades for m in steps]
        return [tick for tick in ticks if 0 <= self.share(tick[0]) <= 1]


@dataclass(frozen=True)
class _Scales:
    """Both axes of a panel; maps values to pixels."""

    horizontal: _Scale
    vertical: _Scale

    def x(self, value: float) -> float:
        return _LEFT + _WIDTH * self.horizontal.share(value)

    def y(self, value: float) -> float:
        return _TOP + _HEIGHT * (1 - self.vertical.share(value))


def _axes(picture: Picture, panel: CurvePanel | BarPanel, scales: _Scales) -> None:
    right, bottom = _LEFT + _WIDTH, _TOP + _HEIGHT
    picture.text(float(_LEFT), 13.0, panel.title or panel.y.label, weight=600)
    if panel.title and panel.y.label:
        picture.text(float(right), 13.0, panel.y.label, anchor="end", color=GREY)
    for value, label in scales.vertical.ticks():
        y = scales.y(value)
        picture.line(float(_LEFT), y, float(right), y, FAINT)
        picture.text(_LEFT - 8.0, y + 4, label, anchor="end", color=GREY)
    for value, label in scales.horizontal.ticks():
        picture.text(scales.x(value), bottom + 16.0, label, anchor="middle", color=GREY)
    middle = _LEFT + _WIDTH / 2
    picture.text(middle, bottom + 36.0, panel.x.label, anchor="middle", color=GREY)


def _curve(picture: Picture, curve: Curve, rows: Sequence[_Row], scales: _Scales) -> None:
    def path(column: int, order: Sequence[_Row]) -> list[str]:
        return [f"{scales.x(row[0]):.1f},{scales.y(row[column]):.1f}" for row in order]

    if curve.lo:
        band = " ".join([*path(2, rows), *path(3, rows[::-1])])
        picture.add("polygon", curve.color, points=band, opacity=0.2)
    if not curve.has_line:
        for at in rows:
            picture.add("circle", curve.color, cx=scales.x(at[0]), cy=scales.y(at[1]), r=4)
        return
    dash = {"stroke_dasharray": _DASHES[curve.dash]} if curve.dash != "solid" else {}
    points = " ".join(path(1, rows))
    line = picture.add("polyline", curve.color, points=points, stroke_width=2, **dash)
    line.set("fill", "none")


def _marks(picture: Picture, marks: Sequence[Mark], scales: _Scales) -> None:
    for number, mark in enumerate(marks):
        if 0 <= scales.horizontal.share(mark.value) <= 1:
            x = scales.x(mark.value)
            picture.line(
                x, float(_TOP), x, float(_TOP + _HEIGHT), DARK_ORANGE, stroke_dasharray="4 3"
            )
            picture.text(x + 4, _TOP + 12.0 + 15 * number, mark.label, color=DARK_ORANGE)


def _names(picture: Picture, ends: Sequence[tuple[float, Curve]]) -> None:
    """Write the names of curves beside their ends, spaced to be legible."""
    ordered = sorted(ends, key=lambda end: end[0])
    heights, last = [], -1e9
    for y, _ in ordered:
        last = max(y, last + 15)
        heights.append(last)
    limit = _TOP + _HEIGHT + _BELOW - 8.0
    for number in reversed(range(len(heights))):
        heights[number] = min(heights[number], limit)
        limit = heights[number] - 15
    for y, (_, curve) in zip(heights, ordered, strict=True):
        short = curve.name if len(curve.name) <= _NAME else curve.name[: _NAME - 1] + "…"
        x = _LEFT + _WIDTH + 8.0
        picture.text(x, y + 4, short, color=curve.color, full=curve.name)
