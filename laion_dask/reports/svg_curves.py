"""Curves with their bands as a picture in SVG that a page holds itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from laion_dask.reports.html import text
from laion_dask.reports.style import BLUE, FAINT, GREY, INK, ORANGE, size
from laion_dask.reports.svg_forest import round_values

_COLOURS = (BLUE, ORANGE, "#2f9e6e", "#9b59b6", "#c0392b", "#16808a", "#8f7a2d", GREY)
#: Pixels: of the axes, and of what stands left of them and beneath.
_WIDE, _HIGH, _LEFT, _TOP, _BENEATH, _RIGHT = 560, 240, 64, 24, 44, 170


@dataclass(frozen=True)
class Curve:
    """One line of the picture.

    Attributes
    ----------
    label : str
        Of the data: it is escaped.
    x, y : sequence of float
        NaN in y is left out.
    lo, hi : sequence of float, optional
        A band around it.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    lo: Sequence[float] = ()
    hi: Sequence[float] = ()


def lines(
    curves: Sequence[Curve],
    *,
    title: str,
    x_title: str,
    tell: Callable[[float], str] = "{:,.3g}".format,
    log: bool = False,
) -> str:
    """Curves over one pair of axes, as SVG; nothing where there are none to draw.

    Parameters
    ----------
    curves : sequence of Curve
        Eight at most are drawn.
    title, x_title : str
        What the axes measure, with units.
    tell : callable
        A value of y as text.
    log : bool
        Whether the axis of y is logarithmic; values at or below 0 are left out then.
    """
    shown = [_points(curve, log) for curve in curves[: len(_COLOURS)]]
    shown = [(curve, points) for curve, points in shown if points]
    if not shown:
        return ""
    scale = _Scale.of([point for _, points in shown for point in points], log)
    parts = [*_axes(scale, tell, title, x_title)]
    ends = []
    for (curve, points), colour in zip(shown, _COLOURS, strict=False):
        parts += _drawn(points, scale, colour)
        ends.append((scale.y(points[-1][1]), curve.label, colour))
    parts += _labels(ends)
    wide, high = _LEFT + _WIDE + _RIGHT, _TOP + _HIGH + _BENEATH
    return f"<svg {size(wide, high)} font-size='12' fill='{GREY}' role='img'>{''.join(parts)}</svg>"


def size_lines(curves: Sequence[Curve]) -> str:
    """Quantiles of width, height and caption length as one plot."""
    return lines(
        curves,
        title="Size (pixels) and caption length (characters)",
        x_title="share of rows at or below",
        tell="{:,.0f}".format,
        log=True,
    )


def _points(curve: Curve, log: bool) -> tuple[Curve, list[tuple[float, ...]]]:
    """Where the curve is: x, y, and the ends of its band."""
    lo, hi = (curve.lo, curve.hi) if len(curve.lo) else (curve.y, curve.y)
    found = zip(curve.x, curve.y, lo, hi, strict=True)
    return curve, [p for p in found if all(map(isfinite, p)) and not (log and min(p[1:]) <= 0)]


@dataclass(frozen=True)
class _Scale:
    """Values as pixels."""

    x_lo: float
    x_hi: float
    y_lo: float
    y_hi: float
    log: bool

    @classmethod
    def of(cls, points: Sequence[tuple[float, ...]], log: bool) -> _Scale:
        xs, ys = [p[0] for p in points], [v for p in points for v in p[1:]]
        if log:
            ys = [log10(v) for v in ys]
        lo, hi = min(ys), max(ys)
        edge = 0.05 * (hi - lo) or 0.05 * abs(hi) or 0.5
        floor_at = lo - edge if log or lo < 0 else max(0.0, lo - edge)
        x_hi = max(xs) if max(xs) > min(xs) else min(xs) + 1
        return cls(min(xs), x_hi, floor_at, hi + edge, log)

    def x(self, value: float) -> float:
        return _LEFT + _WIDE * (value - self.x_lo) / (self.x_hi - self.x_lo)

    def y(self, value: float) -> float:
        value = log10(value) if self.log else value
        return _TOP + _HIGH * (self.y_hi - value) / (self.y_hi - self.y_lo)

    def x_ticks(self) -> list[float]:
        return round_values(self.x_lo, self.x_hi)

    def y_ticks(self) -> list[float]:
        if not self.log:
            return round_values(self.y_lo, self.y_hi)
        decades = range(floor(self.y_lo), ceil(self.y_hi) + 1)
        found = [m * 10.0**e for e in decades for m in (1, 2, 5)]
        return [v for v in found if self.y_lo <= log10(v) <= self.y_hi]


def _axes(scale: _Scale, tell: Callable[[float], str], title: str, x_title: str) -> list[str]:
    parts = [f"<text x='{_LEFT}' y='13' fill='{INK}' font-weight='600'>{text(title)}</text>"]
    right, bottom = _LEFT + _WIDE, _TOP + _HIGH
    for value in scale.y_ticks():
        y = scale.y(value)
        parts.append(
            f"<line x1='{_LEFT}' x2='{right}' y1='{y:.1f}' y2='{y:.1f}' stroke='{FAINT}'/>"
        )
        parts.append(
            f"<text x='{_LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{tell(value)}</text>"
        )
    for value in scale.x_ticks():
        x = scale.x(value)
        parts.append(f"<text x='{x:.1f}' y='{bottom + 16}' text-anchor='middle'>{value:g}</text>")
    middle = _LEFT + _WIDE / 2
    said = f"<text x='{middle}' y='{bottom + 36}' text-anchor='middle'>{text(x_title)}</text>"
    return [*parts, said]


def _drawn(points: Sequence[tuple[float, ...]], scale: _Scale, colour: str) -> list[str]:
    def path(which: int, order: Sequence[tuple[float, ...]]) -> list[str]:
        return [f"{scale.x(p[0]):.1f},{scale.y(p[which]):.1f}" for p in order]

    band = " ".join([*path(2, points), *path(3, points[::-1])])
    line = " ".join(path(1, points))
    return [
        f"<polygon points='{band}' fill='{colour}' opacity='0.18'/>",
        f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='2'/>",
    ]


def _labels(ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """The curves' names beside their ends, far enough apart to be read."""
    parts, last = [], -1e9
    for y, label, colour in sorted(ends):
        last = max(y, last + 15)
        short = label if len(label) <= 22 else label[:21] + "…"
        where = f"x='{_LEFT + _WIDE + 8}' y='{last + 4:.1f}'"
        parts.append(
            f"<text {where} fill='{colour}'><title>{text(label)}</title>{text(short)}</text>"
        )
    return parts
