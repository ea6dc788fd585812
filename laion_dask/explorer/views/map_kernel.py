"""Loops over the points of the map, compiled by `laion_dask.explorer.views.map_native`.

A view is six float64: the lower left corner ``x0, y0`` and the upper right corner ``x1, y1`` in the
units of the map, then pixels per unit ``sx, sy``. Row 0 of a picture is its top. NaN is nowhere.
"""

from __future__ import annotations

from typing import Any


def positions_in_view(points: Any, view: Any, positions: Any) -> int:
    """Write the positions of points in view, in order; stops when there are too many.

    Returns
    -------
    int
        How many there are; ``len(positions)`` means at least so many.
    """
    x0, y0, x1, y1 = view[0], view[1], view[2], view[3]
    found, limit = 0, positions.shape[0]
    for i in range(points.shape[0]):
        if found == limit:
            break
        x, y = points[i, 0], points[i, 1]
        if x0 <= x < x1 and y0 <= y < y1:
            positions[found] = i
            found += 1
    return found


def draw_counts(
    points: Any, mask: Any, view: Any, disc: Any, every: Any, selected: Any, tally: Any
) -> int:
    """Count all points, and those of the mask, on each pixel; `tally` gets both totals in view.

    Each point covers the pixels at the offsets ``disc``, (k, 2) int64 of rows and columns, around
    its own.
    """
    height, width = every.shape
    x0, y0, x1, y1, sx, sy = view[0], view[1], view[2], view[3], view[4], view[5]
    for i in range(points.shape[0]):
        x, y = points[i, 0], points[i, 1]
        if x0 <= x < x1 and y0 <= y < y1:
            column = min(int((x - x0) * sx), width - 1)
            row = height - 1 - min(int((y - y0) * sy), height - 1)
            inside = mask[i] != 0
            tally[0] += 1
            tally[1] += inside
            for k in range(disc.shape[0]):
                r, c = row + disc[k, 0], column + disc[k, 1]
                if 0 <= r < height and 0 <= c < width:
                    every[r, c] += 1
                    if inside:
                        selected[r, c] += 1
    return 0


def draw_sums(
    points: Any, mask: Any, values: Any, view: Any, disc: Any, counts: Any, sums: Any
) -> int:
    """Count the finite values of the mask's points, and add them up, on each pixel."""
    height, width = counts.shape
    x0, y0, x1, y1, sx, sy = view[0], view[1], view[2], view[3], view[4], view[5]
    drawn = 0
    for i in range(points.shape[0]):
        x, y, value = points[i, 0], points[i, 1], values[i]
        if mask[i] != 0 and value - value == 0 and x0 <= x < x1 and y0 <= y < y1:
            column = min(int((x - x0) * sx), width - 1)
            row = height - 1 - min(int((y - y0) * sy), height - 1)
            drawn += 1
            for k in range(disc.shape[0]):
                r, c = row + disc[k, 0], column + disc[k, 1]
                if 0 <= r < height and 0 <= c < width:
                    counts[r, c] += 1
                    sums[r, c] += value
    return drawn


def draw_classes(points: Any, mask: Any, classes: Any, view: Any, disc: Any, counts: Any) -> int:
    """Count the mask's points of each class on each pixel: (height, width, classes)."""
    height, width = counts.shape[0], counts.shape[1]
    x0, y0, x1, y1, sx, sy = view[0], view[1], view[2], view[3], view[4], view[5]
    drawn = 0
    for i in range(points.shape[0]):
        x, y = points[i, 0], points[i, 1]
        if mask[i] != 0 and x0 <= x < x1 and y0 <= y < y1:
            column = min(int((x - x0) * sx), width - 1)
            row = height - 1 - min(int((y - y0) * sy), height - 1)
            drawn += 1
            for k in range(disc.shape[0]):
                r, c = row + disc[k, 0], column + disc[k, 1]
                if 0 <= r < height and 0 <= c < width:
                    counts[r, c, classes[i]] += 1
    return drawn


def nearest(points: Any, mask: Any, at: Any) -> int:
    """Position of the point of the mask nearest to a place on the screen, or -1.

    ``at`` is x, y, pixels per unit of each, and the largest distance in pixels; of equal distances
    the first counts.
    """
    x0, y0, sx, sy = at[0], at[1], at[2], at[3]
    best, found = at[4] * at[4], -1
    for i in range(points.shape[0]):
        if mask[i] != 0:
            dx, dy = (points[i, 0] - x0) * sx, (points[i, 1] - y0) * sy
            distance = dx * dx + dy * dy
            if distance < best or (distance == best and found < 0):
                best, found = distance, i
    return found
