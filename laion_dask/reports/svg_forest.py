"""Points with their intervals, one line each, as a picture in SVG that a page holds itself."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, isnan, log10

from laion_dask.formatting import printable
from laion_dask.reports.html import percent, text
from laion_dask.reports.style import BLUE, FAINT, GREY, INK, ORANGE, size

#: Pixels: of a line, of the axis' length, beneath the lines, of the widest label.
_LINE, _AXIS, _BENEATH, _WIDEST = 22, 260, 44, 215
#: Pixels of a character at 12 pixels, in the widest of the usual fonts.
_PIXELS = dict.fromkeys("mwMW@%", 11.8) | dict.fromkeys(" fijlrtI.,:;'|!()[]/-", 5.0)


@dataclass(frozen=True)
class Point:
    """One line of the picture.

    Attributes
    ----------
    label : str
        Of the data: it is escaped, and cut where it is long.
    value, lo, hi : float
        NaN is no point; an infinite end runs out of the picture.
    marked : bool
        Drawn in the colour of what stands out.
    """

    label: str
    value: float
    lo: float
    hi: float
    marked: bool = False


def forest(
    points: Sequence[Point],
    *,
    title: str,
    line: float | None = None,
    line_label: str = "",
    ratio: bool = False,
    tell: Callable[[float], str] | None = None,
    most: int = 40,
) -> str:
    """Points with intervals under each other, on one axis, as SVG; nothing where there are none.

    Parameters
    ----------
    points : sequence of Point
        From top to bottom.
    title : str
        What the axis measures, with its unit.
    line : float, optional
        Where a line crosses all of them, such as the rate of all rows, or 1 of ratios.
    line_label : str
        What the line is.
    ratio : bool
        A logarithmic axis; otherwise linear.
    tell : callable, optional
        A value as text; by default in percent, ratios to three digits.
    most : int
        Points that are drawn; how many are not is said beneath.
    """
    drawn = list(points[:most])
    if not drawn:
        return ""
    tell = tell or (_ratio if ratio else percent)
    axis = _Axis.of(drawn, line, ratio)
    left = 16 + max(_width(_cut(point.label)) for point in drawn)
    texts = [_told(point, tell) for point in drawn]
    wide = left + max(_AXIS + 24 + max(map(_width, texts)), 1.1 * _width(title))
    top = 40 if line_label else 22
    bottom = top + _LINE * len(drawn)
    parts = [_text(left, 13, title, weight=600)]
    parts += _ticks(axis, left, top, bottom, tell)
    if line is not None and axis.holds(line):
        parts += _crossing(left + axis.at(line), top, bottom, line_label, left)
    for number, (point, told) in enumerate(zip(drawn, texts, strict=True)):
        y = top + _LINE * (number + 0.5)
        parts.append(_text(left - 10, y + 4, _cut(point.label), anchor="end", full=point.label))
        parts.append(_drawn(point, axis, left, y))
        parts.append(_text(left + _AXIS + 14, y + 4, told, fill=GREY))
    rest = len(points) - len(drawn)
    if rest:
        parts.append(_text(left, bottom + 36, f"{rest:,} more are in the table", fill=GREY))
    fits = size(wide, bottom + _BENEATH)
    return f"<svg {fits} font-size='12' fill='{INK}' role='img'>{''.join(parts)}</svg>"


@dataclass(frozen=True)
class _Axis:
    """Values between two ends, on a line of `_AXIS` pixels."""

    lo: float
    hi: float
    ratio: bool

    @classmethod
    def of(cls, points: Sequence[Point], line: float | None, ratio: bool) -> _Axis:
        ends = [end for p in points if not isnan(p.value) for end in (p.value, p.lo, p.hi)]
        some = [v for v in (*ends, *(() if line is None else (line,))) if isfinite(v)]
        if ratio:
            some = [log10(v) for v in some if v > 0]
            some = [max(-3.0, min(3.0, v)) for v in some]  # a thousandfold is as good as any more
            some += [-0.05, 0.05]
        lo, hi = min(some, default=0.0), max(some, default=1.0)
        edge = 0.04 * (hi - lo) or 0.05 * abs(hi) or 0.5
        return cls(lo - edge if ratio or lo < 0 else max(0.0, lo - edge), hi + edge, ratio)

    def holds(self, value: float) -> bool:
        value = self._of(value)
        return self.lo <= value <= self.hi

    def at(self, value: float) -> float:
        """Where a value lies, in pixels; what is beyond an end lies on it."""
        share = (self._of(value) - self.lo) / (self.hi - self.lo)
        return _AXIS * max(0.0, min(1.0, share))

    def _of(self, value: float) -> float:
        if not self.ratio:
            return value
        return log10(value) if value > 0 else -float("inf")

    def ticks(self) -> list[float]:
        """Round values within the axis, three to about eight."""
        if not self.ratio:
            return round_values(self.lo, self.hi)
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            found = [m * 10.0**e for e in range(-4, 4) for m in steps]
            found = [value for value in found if self.holds(value)]
            if len(found) >= 3:
                return found
        return round_values(10**self.lo, 10**self.hi)


def round_values(lo: float, hi: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two ends, three to six or so."""
    rough = (hi - lo) / 5
    power = 10.0 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return [round(i * step, 12) for i in range(ceil(lo / step - 1e-9), floor(hi / step + 1e-9) + 1)]


def _ticks(axis: _Axis, left: float, top: float, bottom: float, tell) -> list[str]:
    parts = []
    for value in axis.ticks():
        x = left + axis.at(value)
        parts.append(_line(x, top, x, bottom, FAINT))
        parts.append(_text(x, bottom + 16, tell(value), anchor="middle", fill=GREY))
    return parts


def _crossing(x: float, top: float, bottom: float, label: str, left: float) -> list[str]:
    near_end = x > left + 0.6 * _AXIS
    anchor, beside = ("end", 4) if near_end else ("start", -4)
    drawn = _line(x, top - 4, x, bottom, GREY, " stroke-dasharray='4 3'")
    return [drawn, _text(x + beside, top - 9, label, anchor=anchor, fill=GREY)]


def _drawn(point: Point, axis: _Axis, left: float, y: float) -> str:
    if isnan(point.value):
        return ""
    colour = ORANGE if point.marked else BLUE
    parts = []
    if not isnan(point.lo) and not isnan(point.hi):
        x, end = left + axis.at(point.lo), left + axis.at(point.hi)
        parts.append(_line(x, y, end, y, colour, " stroke-width='2'"))
        for value, at, towards in ((point.lo, x, -1), (point.hi, end, 1)):
            if axis.holds(value):
                parts.append(_line(at, y - 4, at, y + 4, colour, " stroke-width='2'"))
            else:
                parts.append(_arrow(at, y, towards, colour))
    if axis.holds(point.value):
        parts.append(f"<circle cx='{left + axis.at(point.value):.1f}' cy='{y}' r='4.5' "
                     f"fill='{colour}'/>")  # fmt: skip
    return "".join(parts)


def _arrow(x: float, y: float, towards: int, colour: str) -> str:
    """What says that an interval goes on."""
    tip, base = x + 5 * towards, x - 2 * towards
    return f"<path d='M{tip:.1f},{y}L{base:.1f},{y - 4}L{base:.1f},{y + 4}Z' fill='{colour}'/>"


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, more: str = "") -> str:
    where = f"x1='{x:.1f}' y1='{y:.1f}' x2='{to_x:.1f}' y2='{to_y:.1f}'"
    return f"<line {where} stroke='{colour}'{more}/>"


def _text(
    x: float,
    y: float,
    shown: str,
    *,
    anchor: str = "start",
    fill: str = INK,
    weight: int = 400,
    full: str = "",
) -> str:
    whole = f"<title>{text(full)}</title>" if full and full != shown else ""
    style = f"text-anchor='{anchor}' fill='{fill}' font-weight='{weight}' direction='ltr'"
    return f"<text x='{x:.1f}' y='{y:.1f}' {style}>{text(shown)}{whole}</text>"


def _told(point: Point, tell: Callable[[float], str]) -> str:
    if isnan(point.value):
        return "no value"
    if isnan(point.lo) or isnan(point.hi):
        return tell(point.value)
    return f"{tell(point.value)}  [{tell(point.lo)}, {tell(point.hi)}]"


def _ratio(value: float) -> str:
    return f"{value:.3g}" if isfinite(value) else "∞"


def _width(label: str) -> float:
    """How wide a text is at most, in pixels; Chinese characters are the widest."""
    return sum(_PIXELS.get(c) or _pixels(c) for c in printable(str(label)))


def _pixels(c: str) -> float:
    if unicodedata.east_asian_width(c) in "WF":
        return 13.2
    return 9.0 if c.isupper() else 7.7


def _cut(label: str) -> str:
    """A label that fits."""
    kept, wide = [], 0.0
    for c in str(label):
        wide += _width(c)
        if wide > _WIDEST:
            return "".join(kept) + "…"
        kept.append(c)
    return "".join(kept)
