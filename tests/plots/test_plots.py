"""A plot in a notebook is a single page that fetches nothing."""

from __future__ import annotations

import html
import json

import dask.dataframe as dd
import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from bokeh.models import HoverTool
from holoviews.core.dimension import LabelledData
from IPython.core.interactiveshell import InteractiveShell
from support.plots import hover_texts

import laion_dask as ld
from laion_dask.errors import OptionError
from laion_dask.stats.table import table


def test_the_bars_are_numpys_histogram():
    values = np.array([0.1, 0.1, 0.4, np.nan, np.inf, 0.9])
    plot = ld.histogram(values, threshold=0.5, bins=4, label="score")
    bars, lines = plot.Histogram.I, plot.VLines.I
    counts, edges = np.histogram([0.1, 0.1, 0.4, 0.9], bins=4)
    assert bars.dimension_values("rows").tolist() == counts.tolist()
    assert np.allclose(bars.edges, edges)
    assert lines.dimension_values(0).tolist() == [0.5]
    assert plot.Labels.I.dimension_values(2).tolist() == ["threshold 0.5"]
    assert hover_texts(bars, "score").tolist()[0] == "0.1 to 0.3"
    assert hover_texts(bars, "rows").tolist() == ["2", "1", "0", "1"]
    assert ld.histogram(values).Histogram.I.kdims[0].name == "score"


def test_the_page_holds_all_that_it_needs_and_nothing_breaks_out_of_it():
    page = ld.show(ld.histogram([0.1, 0.2], title="</script><script>alert(1)</script>"))
    assert "Bokeh.embed.embed_item" in page.html
    assert page.html.count("</script>") == 2
    assert "<link" not in page.html and "<script src" not in page.html
    shown = page._repr_html_()
    assert "<iframe class='ld-plot' srcdoc='" in shown and "sandbox='allow-scripts'" in shown
    assert shown[shown.index("<iframe") :].count("'") == 10, (
        "a quote in the page ends the attribute"
    )


@pytest.mark.parametrize("pick", [lambda d: d, lambda d: d["punsafe"]], ids=["all", "one"])
def test_what_is_counted_already_is_drawn_by_score_plot(pick):
    frame = dd.from_pandas(pd.DataFrame({"punsafe": [0.1, 0.2]}), npartitions=1)
    with pytest.raises(OptionError, match=r"ld\.score_plot\("):
        ld.histogram(pick(ld.distributions(frame, "punsafe")))
    for wrong in ("text", ["a"], {"a": [1]}):
        with pytest.raises(OptionError, match="Expected an array or Series of numbers"):
            ld.histogram(wrong)


def scored(n=100) -> ld.Distribution:
    frame = dd.from_pandas(pd.DataFrame({"punsafe": np.linspace(0, 1, n)}), npartitions=1)
    return ld.distributions(frame, "punsafe", edges=[0, 0.25, 0.5, 1])["punsafe"]


def rates_at(*thresholds) -> list[dict]:
    return [
        {"statistic": "rates", "term": "punsafe", "threshold": t, "n": 9, "rate": t}
        for t in thresholds
    ]


def rates_of(*groups) -> list[dict]:
    return [
        {"statistic": "rates", "term": "t", "axis": "language", "group": g, "n": 9, "rate": 0.5}
        for g in groups
    ]


EVERY_PLOT = {
    "histogram": lambda: ld.histogram([0.1, 0.2]),
    "histogram with a threshold": lambda: ld.histogram([0.1, 0.2], threshold=0.15),
    "scores": lambda: ld.score_plot(scored(), marks={"LAION": 0.5}),
    "thresholds": lambda: ld.threshold_plot(scored(), marks={"LAION": 0.5}),
    "points": lambda: table(rates_of("a", "b")).plot(),
    "curves": lambda: table(rates_at(0.1, 0.2, 0.3)).plot(),
    "panels": lambda: table([*rates_of("a", "b"), *rates_at(0.1, 0.2, 0.3)]).plot(),
    "nothing": lambda: table([]).plot(),
    "composed": lambda: ld.histogram([0.1, 0.2]) + ld.histogram([0.3]),
}


@pytest.mark.parametrize("build", EVERY_PLOT.values(), ids=EVERY_PLOT)
def test_a_plot_as_the_last_line_is_shown_as_by_show(build):
    plot = build()
    data, _ = InteractiveShell.instance().display_formatter.format(plot)
    shown = data["text/html"]
    assert "<iframe class='ld-plot' srcdoc='" in shown and "Bokeh.embed.embed_item" in shown
    assert len(shown) < 2_000_000, "BokehJS must be included only once"
    page = html.unescape(shown)
    assert "<link" not in page and "<script src" not in page
    assert page.index("default-src 'none'") < page.index("<script>"), "nothing can be fetched"
    # No white box on a dark page, and no captured mouse wheel.
    item = item_of(ld.show(plot))
    toolbars = list(models(item, "Toolbar"))
    assert toolbars and all(toolbar.get("active_scroll") is None for toolbar in toolbars)
    for figure in models(item, "Figure"):
        assert figure["background_fill_color"] is figure["border_fill_color"] is None
    assert 'data-jp-theme-light="false"' in shown and "color-scheme:light" in shown


def item_of(page) -> dict:
    text = page.html[page.html.rindex("Bokeh.embed.embed_item(") :]
    return json.loads(text[23 : text.rindex(")</script>")].replace("<\\/", "</"))


def models(part, name: str):
    """Yield the attributes of every model of this name, at any depth."""
    if isinstance(part, dict):
        if part.get("name") == name and part.get("type") == "object":
            yield part.get("attributes", {})
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        yield from models(inner, name)


def headings(plot) -> list:
    """The headings of each hover tool."""
    figure = hv.render(plot, backend="bokeh")
    tools = [tool for tool in figure.tools if isinstance(tool, HoverTool)]
    return [[name for name, _ in tool.tooltips] for tool in tools]


def test_hovering_tells_the_bin_and_the_exact_number():
    plot = ld.score_plot(scored(1000), title="{0} and {x}")
    assert hv.render(plot, backend="bokeh").title.text == "{0} and {x}"
    assert headings(plot) == [["punsafe", "rows"]]
    bars = plot.Histogram.I
    assert hover_texts(bars, "punsafe").tolist() == ["0 to 0.25", "0.25 to 0.5", "0.5 to 1"]
    assert sum(bars.dimension_values("rows")) == 999, "1 is outside the last bin"
    curve = ld.threshold_plot(scored(1000)).Curve.Rows_kept
    assert hover_texts(curve, "rows kept").tolist()[1] == "250 (25 %)"
    assert headings(ld.threshold_plot(scored())) == [["threshold", "rows kept", "95 % interval"]]


def test_colors_of_a_threshold_plot_are_in_a_legend():
    figure = hv.render(ld.threshold_plot(scored()), backend="bokeh")
    named = [item.label.value for item in figure.legend[0].items]
    assert named == ["95 % interval", "rows kept", "rows scored"]


def test_a_notebook_that_asks_for_holoviews_own_display_keeps_it(monkeypatch):
    hooks = {"html+js": {LabelledData: lambda plot: ({"text/html": "own"}, {})}}
    monkeypatch.setattr(hv.Store, "_display_hooks", hooks)
    assert ld.histogram([0.1])._repr_mimebundle_()[0] == {"text/html": "own"}


def test_what_lies_outside_the_edges_is_told():
    frame = dd.from_pandas(pd.DataFrame({"s": [-0.5, -0.1, 0.2, 0.4, 1.0, None]}), npartitions=2)
    found = ld.distributions(frame, "s", edges=[0, 0.5, 1])["s"]
    assert repr(found).endswith("3 edges from 0 to 1, 2 below 0 and 1 from 1)")
    figure = hv.render(ld.score_plot(found), backend="bokeh")
    assert figure.xaxis[0].axis_label == "s (not drawn: 2 below 0 and 1 from 1)"
    inside = ld.distributions(frame, "s", edges=[-1, 2])["s"]
    assert hv.render(ld.score_plot(inside), backend="bokeh").xaxis[0].axis_label == "s"
    assert repr(inside).endswith("2 edges from -1 to 2)")
