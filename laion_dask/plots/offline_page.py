"""HoloViews plots in a notebook without network access: BokehJS is embedded in the page."""

from __future__ import annotations

import functools
import html
import importlib
import json
from base64 import b64encode
from dataclasses import dataclass, field

from laion_dask.errors import MissingExtraError, must_be
from laion_dask.extras import installation
from laion_dask.plots.described import description_of
from laion_dask.plots.document import svg_document
from laion_dask.plots.raster import png

#: Options of every plot: the wheel scrolls the notebook, box select zooms, reset restores.
TOOLS = {"default_tools": ["pan", "box_zoom", "reset"], "active_tools": []}
#: Default style: transparent on a dark page, where `_STYLE` inverts the text.
_THEME = {
    "Plot": {"background_fill_color": None, "border_fill_color": None, "outline_line_color": None},
    "Legend": {"background_fill_color": None, "border_line_color": None},
    "Grid": {"grid_line_color": "#9aa5b1", "grid_line_alpha": 0.3},
    "Title": {"text_color": "#1f2933"},
    "Axis": {
        "axis_label_text_color": "#1f2933",
        "axis_label_text_font_style": "normal",
        "major_label_text_color": "#52606d",
        "axis_line_color": "#9aa5b1",
        "major_tick_line_color": "#9aa5b1",
        "minor_tick_line_color": None,
    },
    "Toolbar": {"logo": None},
}
#: Notebook style: a dark theme inverts lightness and keeps hues. An iframe whose color scheme
#: differs from that of its page would get an opaque background.
_STYLE = """
.ld-plot{border:0;color-scheme:light;display:block}
body[data-jp-theme-light="false"] .ld-plot,body.vscode-dark .ld-plot,html[theme="dark"] .ld-plot{
filter:invert(1) hue-rotate(180deg)}
.ld-save{font:12px system-ui,sans-serif;opacity:.8}
"""


@dataclass(frozen=True)
class Page:
    """A plot as a self-contained page, displayed in an iframe of the notebook."""

    html: str = field(repr=False)
    height: int
    svg: str = field(default="", repr=False)

    def _repr_html_(self) -> str:
        return (
            f"<style>{_STYLE}</style>"
            f"<iframe class='ld-plot' srcdoc='{html.escape(self.html)}' width='100%' "
            f"height='{self.height}' sandbox='allow-scripts'></iframe>"
            f"{self._links()}"
        )

    def _links(self) -> str:
        """Links that save the plot: each has its whole file, so neither a script nor a server."""
        if not self.svg:
            return ""
        files = (("svg", "image/svg+xml", self.svg.encode()), ("png", "image/png", png(self.svg)))
        links = " · ".join(
            f'<a download="plot.{suffix}" href="data:{kind};base64,{b64encode(content).decode()}">'
            f"{suffix.upper()}</a>"
            for suffix, kind, content in files
        )
        return f'<div class="ld-save">Save as {links}</div>'


def holoviews():
    """Import HoloViews with the Bokeh backend, and make notebooks display plots like `show`.

    If the notebook calls ``hv.extension``, before or after, HoloViews' own display is kept.

    Raises
    ------
    MissingExtraError
        When HoloViews or Bokeh is not installed.
    """
    try:
        module = importlib.import_module("holoviews")
        importlib.import_module("holoviews.plotting.bokeh")
    except ImportError as error:
        raise MissingExtraError(
            "Plots need HoloViews and Bokeh, which are in the extra 'explore' and not both "
            f"installed. {installation('explore')}"
        ) from error
    if module.Store.current_backend != "bokeh":  # setting it again takes 50 ms
        module.Store.set_current_backend("bokeh")
    plotted = module.core.dimension.LabelledData
    if plotted not in module.Store._display_hooks.get("html+js", {}):
        module.Store.set_display_hook("html+js", plotted, _displayed)
    return module


def display_live_plots() -> None:
    """Make the notebook display what `show` cannot, such as a DynamicMap, with Panel.

    HoloViews' own display of these loads style sheets from a CDN.
    """
    hv = holoviews()
    from panel.pane import HoloViews

    def displayed(plot) -> tuple[dict, dict] | None:
        return _displayed(plot) or HoloViews(plot)._repr_mimebundle_()

    hv.Store.set_display_hook("html+js", hv.core.dimension.LabelledData, displayed)


def _displayed(plot) -> tuple[dict, dict] | None:
    """The display data of a plot; None if the plot needs more than BokehJS."""
    from holoviews import Store

    drawn = type(plot) in Store.registry["bokeh"] and not plot.traverse(lambda e: e, [_needs_more])
    return ({"text/html": show(plot)._repr_html_()}, {}) if drawn else None


def _needs_more(element) -> bool:
    return type(element).__name__ in ("DynamicMap", "HoloMap", "Table", "ItemTable", "Div")


def show(plot) -> Page:
    """A HoloViews plot as a self-contained page for a notebook. Eager.

    A plot on the last line of a cell is displayed this way automatically. Use `show` in the middle
    of a cell, or in a notebook that called ``hv.extension``: HoloViews' own display uses Panel,
    which downloads its style sheets. Here BokehJS is embedded in the page, and the page is
    displayed in an iframe that is isolated from the notebook.

    Raises
    ------
    OptionError
        When ``plot`` is not a plot of HoloViews.
    MissingExtraError
        When HoloViews is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> page = ld.show(ld.histogram(frame["similarity"].compute()))
    >>> page.html.startswith("<!doctype html>")
    True
    """
    hv = holoviews()
    must_be("plot", plot, hv.core.Dimensioned, "a plot of HoloViews, such as ld.histogram returns")
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.models import Toolbar
    from bokeh.themes import Theme
    from markupsafe import Markup

    from laion_dask.templates import render

    figure = hv.render(plot, backend="bokeh")
    for toolbar in figure.select({"type": Toolbar}):
        toolbar.active_scroll = None
    item = json.dumps(json_item(figure, ID("plot"), theme=Theme(json={"attrs": _THEME})))
    item = item.replace("</", "<\\/")  # nothing in the plot can end its script
    page = render(
        "laion_dask.plots",
        "plot",
        bokeh_js=Markup(_bokeh_js()),
        item=Markup(item),
    )
    description = description_of(plot)
    svg = "" if description is None else svg_document(description)
    return Page(str(page), _height(figure) + 20, svg)


@functools.lru_cache(maxsize=1)
def _bokeh_js() -> str:
    from bokeh.resources import Resources

    return "".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def _height(figure) -> int:
    """The height in pixels of a figure, or of all rows of a layout."""
    if not hasattr(figure, "children"):
        return getattr(figure, "height", None) or 300
    rows: dict[int, int] = {}
    for number, child in enumerate(figure.children):
        child, row = (child[0], child[1]) if isinstance(child, tuple) else (child, number)
        rows[row] = max(rows.get(row, 0), _height(child))
    return sum(rows.values())
