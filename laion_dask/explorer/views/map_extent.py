"""The initial view of the map, and its axis labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from laion_dask.explorer.views.map_coloring import quantiles
from laion_dask.projections.projection import Projection

#: The share of rows that may be outside the first view on each side, so that a few far rows do not
#: make all others small; and the margin around the view.
_FAR, _MARGIN = 0.0005, 0.06
#: Rows by which the first view is found.
_ENOUGH = 1_000_000


def extent_of(points: np.ndarray) -> dict[str, Any]:
    """The first view, and the smallest and largest span that a view can have."""
    sides: list[list[float]] = []
    for values in points.T:
        some = values[:: max(1, len(values) // _ENOUGH)]
        known = some[np.isfinite(some)]
        if not len(known):
            known = np.zeros(1, np.float32)
        low, high = quantiles(known, _FAR)
        margin = _MARGIN * (high - low)
        low, high = max(low - margin, low), high
        sides.append([low - margin, high + margin])
    spans = [high - low for low, high in sides]
    span = max(spans) or max(1.0, *(abs(side[0]) for side in sides))
    sides = [
        side if wide else [side[0] - span / 4, side[1] + span / 4]
        for side, wide in zip(sides, spans, strict=True)
    ]
    return {"x": sides[0], "y": sides[1], "smallest": span * 1e-5, "largest": span * 20}


def axis_labels(projection: Projection | None) -> list[str]:
    """The axis labels, which say that distances are approximate."""
    about = "distances are approximate"
    if projection is None:
        return [f"first dimension; {about}", "second dimension"]
    if projection.method != "pca":
        of = f"{projection.method.upper()} of {projection.n_rows:,} rows"
        return [f"{of}; {about}", "second dimension"]
    share = 100 * float(np.sum(projection.tensors["explained"]))
    of = f"PCA of {projection.n_rows:,} rows, {share:.3g} % of variance"
    return [f"{of}; {about}", "second component"]
