"""What hovering over HoloViews elements says."""

from __future__ import annotations


def told(element, heading: str):
    """The texts that hovering over an element shows under a heading."""
    tips = element.opts.get("plot").kwargs["hover_tooltips"]
    column = dict(tips)[heading].removeprefix("@{").removesuffix("}")
    return element.dimension_values(column)
