"""Points with intervals as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan, log10

from laion_dask.plots.description import Point, PointPanel, series_color
from laion_dask.plots.palette import BLUE, FAINT, GREY, ORANGE
from laion_dask.plots.svg import (
    Picture,
    cut_to,
    text_width,
    value_text,
)
from laion_dask.plots.ticks import round_ratios, round_values

#: In pixels: height of a line, offset of each further series, length of the axis, space below the
#: lines, width of a label, height of a note.
_LINE, _SERIES, _AXIS, _BELOW, _LABEL, _NOTE = 22, 9, 260, 26, 215, 16
#: Ratios are drawn up to this power of ten below or above 1.
_FARTHEST = 3.0


def points(panel: PointPanel) -> str:
    """Points with intervals, one below the other, as SVG; an empty string without points."""
    if not panel.points:
        return ""
    return _PointPicture(panel).drawn()


class _PointPicture:
    def __init__(self, panel: PointPanel):
        self.panel = panel
        self.picture = Picture()
        self.scale = _Scale.of(panel)
        self.tell = value_text(panel.axis.form)
        self.has_series = len(panel.series) > 1
        self.labels = {label: cut_to(label, _LABEL) for label in panel.labels}
        self.numbers = {label: number for number, label in enumerate(self.labels)}
        self.left = 16 + max(map(text_width, self.labels.values()))
        self.top = 40 if panel.line is not None and panel.line.label else 22
        self.step = _LINE + (_SERIES * (len(panel.series) - 1) if self.has_series else 0)
        self.bottom = self.top + self.step * len(self.labels)

    def drawn(self) -> str:
        panel, picture, left = self.panel, self.picture, self.left
        picture.text(left, 13.0, panel.title, weight=600)
        self._ticks()
        self._line()
        texts = [self._text(point) for point in panel.points]
        written = set()
        for point, text in zip(panel.points, texts, strict=True):
            if point.label not in written:
                written.add(point.label)
                y = self._middle(point.label) + 4
                picture.text(left - 10, y, self.labels[point.label], anchor="end", full=point.label)
            y = self._height(point)
            self._point(point, y)
            if not self.has_series:
                picture.text(left + _AXIS + 14, y + 4, text, color=GREY)
        notes = self._notes()
        for number, (text, color) in enumerate(notes):
            picture.text(left, self.bottom + 36.0 + _NOTE * number, text, color=color)
        text_space = 24 + (0 if self.has_series else max(map(text_width, texts)))
        words = [1.1 * text_width(panel.title), *(text_width(note) for note, _ in notes)]
        width = left + max(_AXIS + text_space, *words)
        return picture.finish(width, self.bottom + _BELOW + _NOTE * len(notes))

    def _middle(self, label: str) -> float:
        """The vertical center of a line, from the top."""
        return self.top + self.step * (self.numbers[label] + 0.5)

    def _height(self, point: Point) -> float:
        """The vertical position of a point, from the top."""
        number = self.panel.series.index(point.series) - (len(self.panel.series) - 1) / 2
        return self._middle(point.label) + _SERIES * number

    def _ticks(self) -> None:
        for value in self.scale.ticks():
            x = self.left + self.scale.pixels(value)
            self.picture.line(x, self.top, x, self.bottom, FAINT)
            label = self.tell(value)
            self.picture.text(x, self.bottom + 16.0, label, anchor="middle", color=GREY)

    def _line(self) -> None:
        line = self.panel.line
        if line is None or not self.scale.contains(line.value):
            return
        x = self.left + self.scale.pixels(line.value)
        self.picture.line(x, self.top - 4, x, self.bottom, GREY, stroke_dasharray="4 3")
        near_end = x > self.left + 0.6 * _AXIS
        anchor, offset = ("end", 4) if near_end else ("start", -4)
        self.picture.text(x + offset, self.top - 9.0, line.label, anchor=anchor, color=GREY)

    def _point(self, point: Point, y: float) -> None:
        if isnan(point.value):
            return
        color, scale, picture = self.panel.color(point), self.scale, self.picture
        if not isnan(point.lo) and not isnan(point.hi):
            start, end = self.left + scale.pixels(point.lo), self.left + scale.pixels(point.hi)
            picture.line(start, y, end, y, color, stroke_width=2)
            for value, x, towards in ((point.lo, start, -1), (point.hi, end, 1)):
                if scale.contains(value):
                    picture.line(x, y - 4, x, y + 4, color, stroke_width=2)
                else:  # the interval continues beyond the axis
                    tip, base = x + 5 * towards, x - 2 * towards
                    path = f"M{tip:.1f},{y}L{base:.1f},{y - 4}L{base:.1f},{y + 4}Z"
                    picture.add("path", color, d=path)
        if scale.contains(point.value):
            picture.add("circle", color, cx=self.left + scale.pixels(point.value), cy=y, r=4.5)
        if isfinite(point.expected) and scale.contains(point.expected):
            x = self.left + scale.pixels(point.expected)
            path = f"M{x - 5:.1f},{y}L{x:.1f},{y - 5}L{x + 5:.1f},{y}L{x:.1f},{y + 5}Z"
            diamond = picture.add("path", d=path, stroke_width=1.5)
            diamond.attrib |= {"fill": "none", "stroke": GREY}

    def _text(self, point: Point) -> str:
        if isnan(point.value):
            return "no value"
        if isnan(point.lo) or isnan(point.hi):
            return self.tell(point.value)
        return f"{self.tell(point.value)}  [{self.tell(point.lo)}, {self.tell(point.hi)}]"

    def _notes(self) -> list[tuple[str, str]]:
        """The quantity, the meaning of the colors, and the number of points not drawn."""
        notes = [(self.panel.axis.label, GREY)] if self.panel.axis.label else []
        notes += [("◇ expected by chance", GREY)] if self.panel.has_expected else []
        if self.has_series:
            for number, name in enumerate(self.panel.series):
                notes.append((f"● {cut_to(name, _LABEL)}", series_color(number)))
        for name, color in zip(self.panel.marked_names, (ORANGE, BLUE), strict=True):
            notes += [(f"● {name}", color)] if name and not self.has_series else []
        if self.panel.n_more:
            verb = "is" if self.panel.n_more == 1 else "are"
            notes.append((f"{self.panel.n_more:,} more {verb} in the table", GREY))
        return notes


@dataclass(frozen=True)
class _Scale:
    """Maps values to pixels on a line of `_AXIS` pixels; logarithmic if the axis is."""

    lo: float
    hi: float
    is_logarithmic: bool

    @classmethod
    def of(cls, panel: PointPanel) -> _Scale:
        is_logarithmic = panel.axis.is_logarithmic
        if panel.axis.ends is not None:
            lo, hi = map(log10, panel.axis.ends) if is_logarithmic else panel.axis.ends
            return cls(lo, hi, is_logarithmic)
        drawn = [point for point in panel.points if not isnan(point.value)]
        values = [v for p in drawn for v in (p.value, p.lo, p.hi, p.expected) if isfinite(v)]
        if panel.line is not None:
            values.append(panel.line.value)
        if is_logarithmic:
            values = [max(-_FARTHEST, min(_FARTHEST, log10(v))) for v in values if v > 0]
            values += [-0.05, 0.05]
        lo, hi = min(values, default=0.0), max(values, default=1.0)
        edge = 0.04 * (hi - lo) or 0.05 * abs(hi) or 0.5
        low = lo - edge if is_logarithmic or lo < 0 else max(0.0, lo - edge)
        return cls(low, hi + edge, is_logarithmic)

    def contains(self, value: float) -> bool:
        return self.lo <= self._scaled(value) <= self.hi

    def pixels(self, value: float) -> float:
        """The position of a value in pixels, clipped to the axis."""
        share = (self._scaled(value) - self.lo) / (self.hi - self.lo)
        return _AXIS * max(0.0, min(1.0, share))

    def _scaled(self, value: float) -> float:
        if not self.is_logarithmic:
            return value
        return log10(value) if value > 0 else -inf

    def ticks(self) -> list[float]:
        """Round values within the axis, three to about eight of them."""
        if self.is_logarithmic:
            return round_ratios(10**self.lo, 10**self.hi)
        return round_values(self.lo, self.hi)
