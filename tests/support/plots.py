"""Hover texts of HoloViews elements."""

from __future__ import annotations


def hover_texts(element, heading: str):
    """Return an element's hover texts under a heading."""
    tips = element.opts.get("plot").kwargs["hover_tooltips"]
    column = dict(tips)[heading].removeprefix("@{").removesuffix("}")
    return element.dimension_values(column)
