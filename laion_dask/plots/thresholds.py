"""Plots of the rows that a threshold keeps, with published thresholds marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pandas as pd

from laion_dask.plots.histogram import bars, in_title, marked
from laion_dask.plots.offline_page import TOOLS, holoviews

_BLUE, _GREY = "#3b7dd8", "#5f6b7a"


class Distribution(Protocol):
    """The distribution of a score, as `laion_dask.Distribution` has it."""

    column: str
    counts: np.ndarray
    edges: np.ndarray
    n_rows: int
    n_scored: int

    def outside(self) -> str:
        """How many rows lie outside the edges, in words; empty where none do."""

    def thresholds(self, keep: str) -> pd.DataFrame:
        """The rows that each threshold keeps."""


def score_plot(distribution: Distribution, *, marks: Mapping[str, float] | None = None, title=""):
    """The distribution of a score on a logarithmic count axis, as HoloViews. Eager.

    Parameters
    ----------
    distribution : Distribution
        What lies outside its edges is not drawn; the axis says how many rows that are.
    marks : mapping of str to float, optional
        Thresholds to mark, by what they are called.
    title : str

    Raises
    ------
    MissingExtraError
        When HoloViews is not installed.
    """
    plot = bars(
        holoviews(),
        distribution.counts[1:-1],
        distribution.edges,
        label=distribution.column,
        marks=dict(marks or {}),
        title=title,
    )
    outside = distribution.outside()
    return plot.opts(xlabel=f"{distribution.column} (not drawn: {outside})") if outside else plot


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
    hv = holoviews()
    table = distribution.thresholds(keep)
    at, share = table["threshold"].to_numpy(), 100 * table["share"].to_numpy()
    kdims, vdims = f"threshold on {distribution.column}, keep {keep}", "rows kept, %"
    band = hv.Area(
        (at, 100 * table["lo"], 100 * table["hi"]), kdims, [vdims, "hi"], label="95 % interval"
    )
    told = {
        "at": [f"{value:.6g}" for value in at],
        "kept": [f"{n:,} ({value:.4g} %)" for n, value in zip(table["kept"], share, strict=True)],
        "interval": [
            f"{100 * lo:.4g} % to {100 * hi:.4g} %"
            for lo, hi in zip(table["lo"], table["hi"], strict=True)
        ],
    }
    columns = [np.array(texts, dtype=object) for texts in told.values()]
    curve = hv.Curve((at, share, *columns), kdims, [vdims, *told], label="rows kept")
    scored = 100 * distribution.n_scored / max(1, distribution.n_rows)
    ceiling = hv.Curve((at[[0, -1]], [scored] * 2), kdims, vdims, label="rows scored")
    tooltips = [("threshold", "@at"), ("rows kept", "@kept"), ("95 % interval", "@interval")]
    return (
        band.opts(color=_BLUE, alpha=0.25, line_alpha=0)
        * curve.opts(
            color=_BLUE, line_width=2, tools=["hover"], hover_tooltips=tooltips, hover_mode="vline"
        )
        * ceiling.opts(color=_GREY, line_dash="dotted", line_width=1)
        * marked(hv, marks, 2, align="left")
    ).opts(
        width=760,
        height=320,
        title=in_title(title),
        ylim=(0, 104),
        legend_position="right",
        show_grid=True,
        **TOOLS,
    )
