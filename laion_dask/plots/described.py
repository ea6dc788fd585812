"""The description that a HoloViews plot was drawn from, for renderers other than Bokeh."""

from __future__ import annotations

from typing import Any

from laion_dask.plots.description import Plot

#: The attribute of HoloViews objects that were drawn from a description.
_NAME = "_laion_dask_plot"


def with_description(drawn: Any, plot: Plot) -> Any:
    """The same HoloViews object, which now knows its description."""
    setattr(drawn, _NAME, plot)
    return drawn


def description_of(drawn: Any) -> Plot | None:
    """The description of a plot of this package, or of several composed with ``+``; else None."""
    own = getattr(drawn, _NAME, None)
    if isinstance(own, Plot):
        return own
    if type(drawn).__name__ != "Layout":
        return None
    parts = [description_of(part) for part in drawn.values()]
    known = [part for part in parts if part is not None]
    if not parts or len(known) < len(parts):
        return None
    return Plot(
        tuple(panel for part in known for panel in part.panels),
        notes=tuple(text for part in known for text in (part.title, *part.notes) if text),
    )
