"""Draws a description as SVG, for a page that holds it and runs nothing."""

from __future__ import annotations

from laion_dask.plots.description import BarPanel, CurvePanel, Panel
from laion_dask.plots.static_curves import bars, curves
from laion_dask.plots.static_points import points


def render(panel: Panel) -> str:
    """A panel as an SVG element; an empty text where it has nothing to draw. Eager.

    Text is escaped, and control and direction characters are written out. Ink and greys follow the
    page's light or dark scheme through ``--ink``, ``--grey`` and ``--faint``.
    """
    if isinstance(panel, BarPanel):
        return bars(panel)
    return curves(panel) if isinstance(panel, CurvePanel) else points(panel)
