"""A plot in a notebook is one page that fetches nothing."""

from __future__ import annotations

import numpy as np

import laion_dask as ld


def test_the_bars_are_numpys_histogram():
    values = np.array([0.1, 0.1, 0.4, np.nan, np.inf, 0.9])
    plot = ld.histogram(values, threshold=0.5, bins=4, label="CLIP score")
    bars, line = plot.Histogram.I, plot.VLine.I
    counts, edges = np.histogram([0.1, 0.1, 0.4, 0.9], bins=4)
    assert bars.dimension_values("rows").tolist() == counts.tolist()
    assert np.allclose(bars.edges, edges)
    assert line.data == 0.5
    assert ld.histogram(values).kdims[0].name == "score"


def test_the_page_holds_all_that_it_needs_and_nothing_breaks_out_of_it():
    page = ld.show(ld.histogram([0.1, 0.2], title="</script><script>alert(1)</script>"))
    assert "Bokeh.embed.embed_item" in page.html
    assert page.html.count("</script>") == 2
    assert "<link" not in page.html and "<script src" not in page.html
    shown = page._repr_html_()
    assert shown.startswith("<iframe srcdoc='") and "sandbox='allow-scripts'" in shown
    assert shown.count("'") == 10, "a quote of the page ends the attribute"
