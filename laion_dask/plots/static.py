"""Renders a plot description as SVG, for static pages without scripts."""

from __future__ import annotations

from laion_dask.plots.description import BarPanel, CurvePanel, Panel
from laion_dask.plots.static_curves import bars, curves
from laion_dask.plots.static_points import points


def render(panel: Panel) -> str:
    """A panel as an SVG element; an empty string if there is nothing to draw. Eager.

    Text is escaped, including control and bidirectional characters. Ink and grays follow the light
    or dark scheme of the page through ``--ink``, ``--grey`` and ``--faint``.
    """
    if isinstance(panel, BarPanel):
        return bars(panel)
    return curves(panel) if isinstance(panel, CurvePanel) else points(panel)
