"""Points with intervals, in HoloViews."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laion_dask.plots.description import Axis, Point, PointPanel
from laion_dask.plots.interactive_axes import (
    axis_options,
    legend_options,
    tip_columns,
    tip_options,
)
from laion_dask.plots.palette import GREY
from laion_dask.plots.plain_text import in_lines

#: Height of a line in pixels.
_LINE = 20
#: Points beyond the axis are drawn inside of its end by this share of the axis.
_INSIDE = 0.015


def points(hv, panel: PointPanel):
    """One line per label, the first on top; the series of a label are stacked on its line."""
    labels, series = panel.labels, panel.series
    has_series = len(series) > 1
    max_shift = min(0.32, 0.09 * len(series))
    shift = np.linspace(max_shift, -max_shift, len(series)) if has_series else np.zeros(1)
    heights = {(label, name): up - i for i, label in enumerate(labels)
               for name, up in zip(series, shift, strict=True)}  # fmt: skip
    parts = []
    if panel.line is not None:
        line = hv.VLine(panel.line.value)
        parts.append(line.opts(color=GREY, line_dash="dashed", line_width=1.5))
    for name in series:
        of_series = [point for point in panel.points if point.series == name]
        for is_marked in (False, True):
            drawn = [point for point in of_series if point.is_marked == is_marked]
            if drawn:
                y = np.array([heights[point.label, name] for point in drawn])
                legend = in_lines(name, 24) if has_series else panel.marked_names[not is_marked]
                parts += _points(hv, panel, drawn, y, legend)
        parts += _expected(hv, of_series, heights)
    ticks = [(-float(i), in_lines(label)) for i, label in enumerate(labels)]
    extra_lines = max(label.count("\n") for _, label in ticks)
    step = max(_LINE, 9 * len(series) + 4 if has_series else 0) + 13 * extra_lines
    has_legend = has_series or any(panel.marked_names) or panel.has_expected
    return hv.Overlay(parts).opts(
        yticks=ticks,
        ylabel="",
        ylim=(-len(labels) + 0.4, 0.6),
        height=90 + step * len(labels) + (20 if has_legend else 0),
        show_grid=True,
        **axis_options("x", panel.axis),
        **legend_options("right" if has_legend else ""),
    )


def _points(
    hv, panel: PointPanel, points_drawn: Sequence[Point], y: np.ndarray, legend: str
) -> list:
    """Points of one color with their intervals; points outside the axis are drawn at its end."""
    color = panel.color(points_drawn[0])
    tips = {
        name: [dict(point.tips)[name] for point in points_drawn] for name, _ in points_drawn[0].tips
    }
    columns = tip_columns(tips)
    values, lo, hi = (
        np.array([getattr(p, end) for p in points_drawn]) for end in ("value", "lo", "hi")
    )
    has_interval = ~(np.isnan(lo) | np.isnan(hi))
    ends = panel.axis.ends or (-np.inf, np.inf)
    lo, hi = lo[has_interval].clip(*ends), hi[has_interval].clip(*ends)
    shown = values.clip(*_inner_ends(panel.axis))
    inside = shown == values
    bars = hv.Segments((lo, y[has_interval], hi, y[has_interval]), ["from", "y", "to", "y2"])
    drawn = [bars.opts(color=color, line_width=2)]
    for mask, marker, size in ((inside, "circle", 8), (~inside, "x", 9)):
        if mask.any():
            data = {"x": shown[mask], "y": y[mask]}
            data |= {name: texts[mask] for name, texts in columns.items()}
            dots = hv.Points(data, ["x", "y"], list(columns), label=legend)
            edge = "white" if marker == "circle" else color
            style = {"color": color, "marker": marker, "size": size, "line_color": edge}
            drawn.append(dots.opts(**style, **tip_options(tips)))
    return drawn


def _expected(hv, points_drawn: Sequence[Point], heights: dict) -> list:
    """The value expected by chance for each point, if known."""
    expected = [point for point in points_drawn if np.isfinite(point.expected)]
    if not expected:
        return []
    x = [point.expected for point in expected]
    y = [heights[point.label, point.series] for point in expected]
    diamonds = hv.Points((x, y), label="expected by chance")
    return [diamonds.opts(color=None, line_color=GREY, marker="diamond", size=9)]


def _inner_ends(axis: Axis) -> tuple[float, float]:
    """The range of values within which points are drawn at their true position."""
    if axis.ends is None:
        return -np.inf, np.inf
    low, high = np.log(axis.ends) if axis.is_logarithmic else axis.ends
    inside = _INSIDE * (high - low)
    low, high = low + inside, high - inside
    return (float(np.exp(low)), float(np.exp(high))) if axis.is_logarithmic else (low, high)
