"""The row under the pointer: how it is found, and what its card shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from laion_dask.explorer.captions import caption_column
from laion_dask.explorer.columns import CategoryColumn, NumberColumn
from laion_dask.explorer.safe_rows import why_unsafe
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.views.map_coloring import short_number, short_text
from laion_dask.explorer.views.map_native import nearest

#: Maximum distance of a row from the pointer, in pixels.
REACH = 12.0
#: Columns shown below the caption, if the sample has them.
_SHOWN = ("similarity", "punsafe", "language", "domain")
_LONGEST_CAPTION = 280


def row_at(
    points: np.ndarray, mask: np.ndarray, x: float, y: float, pixel: tuple[float, float]
) -> int | None:
    """Position of the selected row nearest to a place of the map, within `REACH` pixels.

    Parameters
    ----------
    points : (n, 2) float32 array
    mask : (n,) bool array
    x, y : float
    pixel : tuple of two floats
        Width and height of a pixel in units of the map.
    """
    at = np.array([x, y, 1 / pixel[0], 1 / pixel[1], REACH])
    return nearest(points, mask, at)


def card(sample: Sample, position: int, extra: str | None, *, reveal: bool) -> dict[str, Any]:
    """The caption of a row, or why it is hidden, and the values of a few columns, as plain text.

    Parameters
    ----------
    sample : Sample
    position : int
    extra : str, optional
        Another column to show: the one that the map is colored by.
    reveal : bool
        Whether the caption is shown even if the row is not known to be safe.
    """
    reason = None if reveal else why_unsafe(sample, position, "punsafe")
    title = f"Hidden: {reason}. Click to show the caption." if reason else ""
    title = title or _caption(sample, position)
    names = [name for name in (*_SHOWN, extra or "") if name in sample.columns]
    lines = [[short_text(n), _value(sample.columns[n], position)] for n in dict.fromkeys(names)]
    return {"title": title, "hidden": reason is not None, "lines": lines}


def _caption(sample: Sample, position: int) -> str:
    if not (column := caption_column(sample)):
        return f"shard {sample.shard[position]}, row {sample.row[position]:,}"
    caption = sample.texts(column, np.array([position]))[0]
    return short_text(caption or "", _LONGEST_CAPTION) or "(no caption)"


def _value(column: NumberColumn | CategoryColumn, position: int) -> str:
    code = int(column.codes[position])
    if isinstance(column, CategoryColumn):
        return "no value" if code < 0 else short_text(column.labels[code])
    return "no value" if code == column.n_bins else short_number(column.values[position].item())
