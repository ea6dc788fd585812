"""Histograms of scores, with thresholds marked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from laion_dask.plots.offline_page import TOOLS, holoviews
from laion_dask.plots.offline_page import show as show

_BLUE, _ORANGE = "#3b7dd8", "#b8651b"


def histogram(
    values, *, threshold: float | None = None, bins: int = 60, title: str = "", label: str = "score"
):
    """A distribution on a logarithmic count axis, with a threshold marked, as HoloViews. Eager.

    Parameters
    ----------
    values : array or Series of float, (n,)
        NaN and null are left out.
    threshold : float, optional
        Where a dashed line is drawn.
    bins : int
    title, label : str
        Of the plot and its horizontal axis.

    Raises
    ------
    MissingExtraError
        When HoloViews is not installed.
    """
    hv = holoviews()
    values = np.asarray(values, dtype="float64")
    counts, edges = np.histogram(values[np.isfinite(values)], bins=bins)
    marks = {} if threshold is None else {f"threshold {threshold:g}": threshold}
    return bars(hv, counts, edges, label=label, marks=marks, title=title)


def bars(hv, counts, edges, *, label: str, marks: Mapping[str, float], title: str):
    """Counts between edges as bars, which tell their bin and number, with thresholds marked."""
    told = np.array([f"{lo:.6g} to {hi:.6g}" for lo, hi in itertools.pairwise(edges)], dtype=object)
    rows = np.array([f"{n:,}" for n in counts], dtype=object)
    top = 100 * max(1, counts.max(initial=1))
    plot = hv.Histogram((edges, counts, told, rows), kdims=label, vdims=["rows", "bin", "exactly"])
    plot = plot.opts(
        color=_BLUE,
        line_color="white",
        line_width=0.5,
        tools=["hover"],
        hover_tooltips=[(label, "@bin"), ("rows", "@exactly")],
        logy=True,
        ylim=(0.8, top if marks else None),
        **TOOLS,
    )
    return (plot * marked(hv, marks, top / 1.2, align="right")).opts(
        width=760,
        height=300,
        title=in_title(title),
        xlabel=label,
        ylabel="rows in a bin (logarithmic)",
        **TOOLS,
    )


def marked(hv, marks: Mapping[str, float] | None, y: float, *, align: str):
    """Dashed lines with what they are called written along them, from y up or (right) up to y."""
    marks = dict(marks or {})
    lines = hv.VLines(list(marks.values())).opts(color=_ORANGE, line_dash="dashed")
    words = hv.Labels((np.array(list(marks.values()), float), [y] * len(marks), list(marks)))
    return lines * words.opts(
        angle=90,
        text_align=align,
        text_baseline="bottom",
        text_color=_ORANGE,
        text_font_size="9pt",
        hooks=[_beside_the_line],
    )


def _beside_the_line(plot, element) -> None:
    plot.handles["glyph"].x_offset = -4  # pixels: no letter touches the dashes


def in_title(title: str) -> str:
    """A title as it was given: HoloViews takes braces for names of its own."""
    return title.replace("{", "{{").replace("}", "}}")
