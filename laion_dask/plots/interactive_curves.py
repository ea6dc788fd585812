"""Curves with bands, histograms, and marks across them, in HoloViews."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laion_dask.plots.description import BarPanel, Curve, CurvePanel, Mark
from laion_dask.plots.interactive_axes import (
    axis_options,
    legend_options,
    tip_columns,
    tip_options,
)
from laion_dask.plots.offline_page import TOOLS
from laion_dask.plots.palette import BLUE, DARK_ORANGE
from laion_dask.plots.plain_text import in_lines, plain_text


def curves(hv, panel: CurvePanel):
    """Curves on one pair of axes, each with its band."""
    parts = []
    n_hovered = sum(bool(curve.tips) for curve in panel.curves)
    for curve in panel.curves:
        parts += _curve(hv, panel, curve, "vline" if n_hovered == 1 else "mouse")
    overlay = hv.Overlay(parts)
    if panel.marks:
        overlay *= _marks(hv, panel.marks, 2, align="left")
    x, y = axis_options("x", panel.x), axis_options("y", panel.y)
    hooks = [*x.pop("hooks", ()), *y.pop("hooks", ())]
    return overlay.opts(
        height=panel.height,
        show_grid=True,
        hooks=hooks,
        **x,
        **y,
        **legend_options(panel.legend),
    )


def _curve(hv, panel: CurvePanel, curve: Curve, hover_mode: str) -> list:
    kdim, vdim = plain_text(panel.x.label, None) or "x", plain_text(panel.y.label, None) or "y"
    columns = tip_columns(curve.tips)
    parts = []
    if curve.lo:
        has_band = np.isfinite(curve.lo) & np.isfinite(curve.hi)
        x, lo, hi = (np.array(values)[has_band] for values in (curve.x, curve.lo, curve.hi))
        named = {"label": plain_text(curve.band_name)} if curve.band_name else {}
        band = hv.Area((x, lo, hi), kdim, [vdim, "hi"], **named)
        parts.append(band.opts(color=curve.color, alpha=0.2, line_alpha=0, **TOOLS))
    width = 24 if panel.legend == "right" else 60
    named = {"label": in_lines(curve.name, width)} if curve.name else {}
    data = (np.array(curve.x), np.array(curve.y))
    hovering = tip_options(curve.tips)
    if curve.has_dots:
        line = hv.Curve(data, kdim, vdim, **named)
        dots = hv.Points((*data, *columns.values()), [kdim, vdim], list(columns))
        dots = [dots.opts(color=curve.color, size=5 if curve.has_line else 8, **hovering)]
    else:
        line, dots = hv.Curve((*data, *columns.values()), kdim, [vdim, *columns], **named), []
        line = line.opts(hover_mode=hover_mode, **hovering) if hovering else line
    line = line.opts(color=curve.color, line_width=2, line_dash=curve.dash, **TOOLS)
    return [*parts, *([line] if curve.has_line else []), *dots]


def bars(hv, panel: BarPanel):
    """Counts between edges, on a logarithmic axis."""
    columns = tip_columns(panel.tips)
    counts = np.array(panel.counts)
    kdim = plain_text(panel.x.label, None) or "x"
    drawn = hv.Histogram(
        (np.array(panel.edges), counts, *columns.values()), kdims=kdim, vdims=["rows", *columns]
    )
    top = 100 * max(1, counts.max(initial=1))  # room for the labels along the marks
    drawn = drawn.opts(
        color=BLUE,
        line_color="white",
        line_width=0.5,
        logy=True,
        ylim=(0.8, top if panel.marks else None),
        **tip_options(panel.tips),
    )
    return (drawn * _marks(hv, panel.marks, top / 1.2, align="right")).opts(
        height=panel.height, **axis_options("x", panel.x), **axis_options("y", panel.y)
    )


def _marks(hv, marks: Sequence[Mark], y: float, *, align: str):
    """Dashed lines labeled along their length, upwards from y or (right-aligned) up to y."""
    at = np.array([mark.value for mark in marks], dtype=float)
    labels = [plain_text(mark.label, None) for mark in marks]
    lines = hv.VLines(at).opts(color=DARK_ORANGE, line_dash="dashed", **TOOLS)
    words = hv.Labels((at, [y] * len(labels), labels))
    return lines * words.opts(
        angle=90,
        text_align=align,
        text_baseline="bottom",
        text_color=DARK_ORANGE,
        text_font_size="9pt",
        **TOOLS,
        hooks=[_shift_label],
    )


def _shift_label(plot, element) -> None:
    plot.handles["glyph"].x_offset = -4  # pixels; keeps the text off the dashes
