"""Titles of the plots of a page say what is drawn."""

from __future__ import annotations

import pytest

from laion_dask.reports.page_plots import size_panel


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["width", "height", "text_length"], "Size (pixels) and caption length (characters)"),
        (["text_length"], "Caption length (characters)"),
        (["height"], "Size (pixels)"),
    ],
)
def test_the_title_names_what_is_drawn(names, title):
    panel = size_panel([0.5], {name: [1.0] for name in names})
    assert panel.title == title and len(panel.curves) == len(names)
