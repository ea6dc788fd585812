"""Plots in a notebook without the network: BokehJS is put into the page, nothing is fetched."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass

import numpy as np

from laion_dask.stats.plots import holoviews as _holoviews


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
    hv = _holoviews()
    values = np.asarray(values, dtype="float64")
    counts, edges = np.histogram(values[np.isfinite(values)], bins=bins)
    plot = hv.Histogram((edges, counts), kdims=label, vdims="rows").opts(
        width=760,
        height=300,
        color="#3b7dd8",
        line_color="white",
        tools=["hover"],
        logy=True,
        ylim=(0.8, None),
        title=title,
    )
    if threshold is None:
        return plot
    return plot * hv.VLine(threshold).opts(color="#d9822b", line_dash="dashed")


@dataclass(frozen=True)
class Page:
    """A plot as a page of its own, for a notebook to frame."""

    html: str
    height: int

    def _repr_html_(self) -> str:
        return (
            f"<iframe srcdoc='{html.escape(self.html)}' width='100%' height='{self.height}' "
            "sandbox='allow-scripts' style='border:0'></iframe>"
        )


def show(plot) -> Page:
    """A HoloViews plot for a notebook, with all that it needs inside the page. Eager.

    HoloViews by itself shows plots through Panel, whose style sheets come from the web. Here
    BokehJS is in the page, and the page is in a frame that can neither reach the notebook nor be
    disturbed by what else it loads.

    Raises
    ------
    MissingExtraError
        When HoloViews is not installed.
    """
    hv = _holoviews()
    from bokeh.embed import json_item
    from bokeh.resources import Resources

    figure = hv.render(plot, backend="bokeh")
    scripts = "".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    item = json.dumps(json_item(figure, "plot")).replace("</", "<\\/")
    page = (
        "<!doctype html><meta charset='utf-8'><body style='margin:0'><div id='plot'></div>"
        f"<script>{scripts}</script><script>Bokeh.embed.embed_item({item})</script>"
    )
    return Page(page, _height(figure) + 20)


def _height(figure) -> int:
    """Of a figure, or of all that are under each other in a layout."""
    if not hasattr(figure, "children"):
        return getattr(figure, "height", None) or 300
    rows: dict[int, int] = {}
    for number, child in enumerate(figure.children):
        child, row = (child[0], child[1]) if isinstance(child, tuple) else (child, number)
        rows[row] = max(rows.get(row, 0), _height(child))
    return sum(rows.values())
