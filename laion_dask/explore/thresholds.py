"""What a threshold keeps, as a plot: rows kept against the threshold, published ones marked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from laion_dask.explore.plots import _holoviews
from laion_dask.verbs.distribution import Distribution

_BLUE, _ORANGE, _GREY = "#3b7dd8", "#b8651b", "#5f6b7a"


def score_plot(distribution: Distribution, *, marks: Mapping[str, float] | None = None, title=""):
    """The distribution of a score on a logarithmic count axis, as HoloViews. Eager.

    Parameters
    ----------
    distribution : Distribution
        What lies outside its edges is not drawn.
    marks : mapping of str to float, optional
        Thresholds to mark, by what they are called.
    title : str

    Raises
    ------
    MissingExtraError
        When HoloViews is not installed.
    """
    hv = _holoviews()
    counts, edges = distribution.counts[1:-1], distribution.edges
    plot = hv.Histogram((edges, counts), kdims=distribution.column, vdims="rows").opts(
        width=760,
        height=300,
        color=_BLUE,
        line_color="white",
        line_width=0.5,
        tools=["hover"],
        logy=True,
        ylim=(0.8, top := 100 * max(1, counts.max(initial=1))),
        title=title,
    )
    return plot * _marked(hv, marks, top / 1.2, align="right")


def threshold_plot(
    distribution: Distribution,
    *,
    keep: str = "below",
    marks: Mapping[str, float] | None = None,
    title: str = "",
):
    """The share of rows kept against the threshold, with its 95 % band, as HoloViews. Eager.

    Parameters
    ----------
    distribution : Distribution
    keep : str
        ``"below"`` or ``"above"``, as of ``Distribution.thresholds``.
    marks : mapping of str to float, optional
        Thresholds to mark, by what they are called.
    title : str

    Raises
    ------
    OptionError
        For another ``keep``.
    MissingExtraError
        When HoloViews is not installed.
    """
    hv = _holoviews()
    table = distribution.thresholds(keep)
    at, share = table["threshold"].to_numpy(), 100 * table["share"].to_numpy()
    kdims, vdims = f"threshold on {distribution.column}, keep {keep}", "rows kept, %"
    band = hv.Area((at, 100 * table["lo"], 100 * table["hi"]), kdims, [vdims, "hi"])
    curve = hv.Curve((at, share), kdims, vdims)
    ceiling = hv.HLine(100 * distribution.n_scored / max(1, distribution.n_rows))
    return (
        band.opts(color=_BLUE, alpha=0.25, line_alpha=0)
        * curve.opts(color=_BLUE, line_width=2, tools=["hover"])
        * ceiling.opts(color=_GREY, line_dash="dotted", line_width=1)
        * _marked(hv, marks, 2, align="left")
    ).opts(width=760, height=320, title=title, ylim=(0, 104))


def _marked(hv, marks: Mapping[str, float] | None, y: float, *, align: str):
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
    )
