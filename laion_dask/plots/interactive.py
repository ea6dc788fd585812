"""Renders a plot description with HoloViews and Bokeh, for notebooks."""

from __future__ import annotations

import textwrap

from laion_dask.plots.described import with_description
from laion_dask.plots.description import BarPanel, CurvePanel, Panel, Plot
from laion_dask.plots.interactive_curves import bars, curves
from laion_dask.plots.interactive_points import points
from laion_dask.plots.offline_page import TOOLS, holoviews
from laion_dask.plots.palette import GREY, INK
from laion_dask.plots.plain_text import in_lines, plain_text


def render(plot: Plot):
    """A plot as HoloViews: one element, or a vertical layout of several. Eager.

    Raises
    ------
    MissingExtraError
        When HoloViews is not installed.
    """
    hv = holoviews()
    drawn = [
        with_description(_panel(hv, panel, plot), Plot((panel,), width=plot.width))
        for panel in plot.panels
    ]
    if plot.title:
        drawn.insert(0, _words(hv, plot.title, plot.width, is_title=True))
    drawn += [_words(hv, note, plot.width) for note in plot.notes]
    if len(drawn) == 1:
        return with_description(drawn[0], plot)
    layout = hv.Layout(drawn).cols(1).opts(shared_axes=False, toolbar=None)
    return with_description(layout, plot)


def _panel(hv, panel: Panel, plot: Plot):
    if isinstance(panel, BarPanel):
        drawn = bars(hv, panel)
    else:
        drawn = curves(hv, panel) if isinstance(panel, CurvePanel) else points(hv, panel)
    title = in_lines(panel.title, max(20, plot.width // 9))
    title = title.replace("{", "{{").replace("}", "}}")  # HoloViews formats titles
    no_tools: dict[str, object] = {"toolbar": None, "active_tools": []}
    tools = TOOLS if plot.has_tools else no_tools
    return drawn.opts(width=plot.width, title=title, fontsize={"title": "11pt"}, **tools)


def _words(hv, words: str, width: int, is_title: bool = False):
    """Text as a plot; Panel would draw HoloViews' Div, and needs network access."""
    lines = [plain_text(line, None) for line in textwrap.wrap(words, max(20, width // 10))]
    text = hv.Text(0, 0.5, "\n".join(lines), halign="left")
    with_description(text, Plot((), notes=(words,)))
    size, style, color = ("13pt", "bold", INK) if is_title else ("9pt", "normal", GREY)
    return text.opts(
        text_font_size=size,
        text_font_style=style,
        text_color=color,
        xlim=(0, 1),
        ylim=(0, 1),
    ).opts(
        width=width,
        height=24 + 16 * len(lines),
        xaxis=None,
        yaxis=None,
        toolbar=None,
        show_frame=False,
        hooks=[_without_outline],
    )


def _without_outline(plot, element) -> None:
    plot.state.outline_line_color = None
