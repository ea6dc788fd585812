"""The map's component in the browser: a Bokeh figure in an accessible frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import param
from bokeh.models import (
    BoxSelectTool,
    ColumnDataSource,
    LassoSelectTool,
    PanTool,
    Plot,
    WheelZoomTool,
)
from bokeh.models.glyphs import ImageRGBA, Patches, Text
from bokeh.plotting import figure
from panel.custom import Child

from laion_dask.explorer.views.component import Component, source

_SCRIPTS = (
    "common.js",
    "map_drawing.js",
    "map_key.js",
    "map_hover.js",
    "map_viewport.js",
    "map_requests.js",
    "map_controls.js",
    "map_stage.js",
    "map.js",
)


class MapPane(Component):
    """What the browser shows of the map. Everything of the data in it is text."""

    figure = Child()
    picture = param.Dict(
        {"png": None, "view": [0, 1, 0, 1], "sequence": 0, "order": 0, "few": [[], []]}
    )
    extent = param.Dict({"x": [0, 1], "y": [0, 1], "smallest": 1e-6, "largest": 10})
    outline = param.List([[], []])
    labels = param.Dict({"x": [], "y": [], "text": []})
    key = param.Dict({"kind": "ramp", "title": ""})
    color = param.String("density")
    color_options = param.List([])
    projection = param.String("pca")
    projection_options = param.List([])
    card = param.Dict({"sequence": -1})
    go = param.List([])
    axes = param.List(["", ""])
    message = param.String("")
    description = param.String("")
    status = param.String("")
    dark = param.Boolean(False)

    _esm = source(*_SCRIPTS)
    _stylesheets = [source("map.css")]  # noqa: RUF012


def map_figure() -> Plot:
    """A figure with one picture, the outline of a region and texts; nothing in it is sent back."""
    options: dict[str, Any] = {  # the stubs of Bokeh do not know them
        "tools": [
            LassoSelectTool(name="lasso", renderers=[]),
            BoxSelectTool(name="box", renderers=[]),
            PanTool(name="pan"),
            WheelZoomTool(name="wheel", zoom_on_axis=False),
        ],
        "x_range": (0, 1),
        "y_range": (0, 1),
        "x_axis_label": " ",
        "y_axis_label": " ",
    }
    plot = figure(
        sizing_mode="stretch_both",
        min_height=100,
        min_border=2,
        toolbar_location=None,
        output_backend="canvas",
        lod_threshold=None,
        **options,
    )
    picture = {"image": [np.zeros((1, 1), np.uint32)], "x": [0], "y": [0], "dw": [1], "dh": [1]}
    glyph = ImageRGBA(image="image", x="x", y="y", dw="dw", dh="dh", origin="top_left")
    plot.add_glyph(_source(picture), glyph, name="picture")
    outline = Patches(xs="xs", ys="ys", fill_alpha=0.06, line_width=2, line_dash=[6, 3])
    plot.add_glyph(_source({"xs": [], "ys": []}), outline, name="outline")
    for name, halo in (("halos", 4), ("labels", 0)):
        text = Text(x="x", y="y", text="text", text_align="center", text_baseline="middle")
        text.update(text_font_size="12px", text_font_style="bold", text_outline_width=halo)
        plot.add_glyph(_source({"x": [], "y": [], "text": []}), text, name=name)
    for each in (plot, plot.x_range, plot.y_range):
        each.syncable = False  # another page has another size and another view
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "11px"
        axis.axis_label_standoff = 2
    return plot


def _source(data: dict[str, Any]) -> ColumnDataSource:
    source = ColumnDataSource(data=data)
    source.syncable = False
    return source
