"""A region drawn by hand on the map, simplified to a polygon with few corners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Maximum distance in pixels of a removed corner from the outline.
_TOLERANCE = 0.5


def polygon_of(
    x: Sequence[float], y: Sequence[float], pixel: tuple[float, float]
) -> np.ndarray | None:
    """The corners of a box or lasso, (k, 2) float64; None when it is less than a pixel wide.

    Corners within half a pixel of the outline without them are left out (Douglas, D., Peucker, T.
    (1973)), and the others are rounded to a hundredth of a pixel, so that a recipe with them can be
    read.

    Parameters
    ----------
    x, y : sequences of k floats
    pixel : tuple of two floats
        Width and height of a pixel in units of the map.
    """
    corners = np.column_stack([x, y]) / pixel
    if len(corners) < 3 or np.ptp(corners, axis=0).min() < 1:
        return None
    far = int(np.argmax(np.hypot(*(corners - corners[0]).T)))
    ring = np.vstack([corners, corners[:1]])
    kept = sorted(_kept(ring, 0, far) | _kept(ring, far, len(corners)))[:-1]
    rounded: np.ndarray = np.round(corners[kept] * pixel, _decimals(min(pixel)))
    return rounded if len(np.unique(rounded, axis=0)) > 2 else None


def _kept(line: np.ndarray, first: int, last: int) -> set[int]:
    """The positions to keep in a part of a line, including both ends."""
    kept, parts = {first, last}, [(first, last)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        start, along = line[first], line[last] - line[first]
        inner = line[first + 1 : last] - start
        length = max(float(along @ along), 1e-300)
        at = np.clip(inner @ along / length, 0, 1)
        distance = np.hypot(*(inner - at[:, None] * along).T)
        if distance.max() > _TOLERANCE:
            middle = first + 1 + int(distance.argmax())
            kept.add(middle)
            parts += [(first, middle), (middle, last)]
    return kept


def _decimals(pixel: float) -> int:
    return max(0, 2 - int(np.floor(np.log10(pixel))))
