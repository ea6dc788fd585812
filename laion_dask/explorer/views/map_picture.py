"""The picture of the map: points counted on pixels, then colors, then a small PNG."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from laion_dask.explorer.views import map_colors as colors
from laion_dask.explorer.views.map_coloring import ClassColor, MeanColor, short_number, short_text
from laion_dask.explorer.views.map_native import (
    draw_classes,
    draw_counts,
    draw_sums,
    positions_in_view,
)
from laion_dask.formatting import counted

#: Radii in pixels of the discs drawn for rows, and the maximum share of the picture that all discs
#: would cover if none overlapped; since rows form groups, most do.
_SPACE = {4: 0.15, 3: 0.4, 2: 0.8, 1: 2.0}
#: How many of the ramp's faintest colors are left out where pixels have one row, and at how many
#: rows the whole ramp is used.
_FAINT, _MANY = 24, 50


@dataclass(frozen=True)
class View:
    """A rectangle of the map and the pixels that show it."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int
    height: int

    def array(self) -> np.ndarray:
        """The rectangle's corners and the pixels per unit, as the kernels take them."""
        sx, sy = self.width / (self.x1 - self.x0), self.height / (self.y1 - self.y0)
        return np.array([self.x0, self.y0, self.x1, self.y1, sx, sy])


@dataclass(frozen=True)
class Picture:
    """Indices into a palette, (height, width) uint8, row 0 on top; 0 is transparent."""

    indices: np.ndarray
    palette: np.ndarray
    #: What the colors mean, as plain data for the browser.
    key: dict[str, Any]
    #: Points in view, and how many of these are selected.
    n: int
    n_selected: int
    #: Radius in pixels of the disc that is one row.
    radius: int

    def png(self) -> bytes:
        """The picture as a PNG with a palette, which is a third of one in true colors."""
        from PIL import Image

        image = Image.fromarray(self.indices)
        image.putpalette(self.palette[:, :3].tobytes())
        file = io.BytesIO()
        transparency = self.palette[:, 3].tobytes()
        image.save(file, "png", transparency=transparency, compress_level=4)
        return file.getvalue()


def draw(
    points: np.ndarray,
    mask: np.ndarray,
    view: View,
    color: MeanColor | ClassColor | None = None,
    *,
    dark: bool = False,
) -> Picture:
    """Draw a view: what the mask selects in colors, all other points as a faint backdrop.

    Parameters
    ----------
    points : (n, 2) float32 array
        NaN where a row has no place on the map.
    mask : (n,) bool array
        The selected rows.
    view : View
        What to show, and on how many pixels.
    color : MeanColor or ClassColor, optional
        What colors mean. Default: how many selected rows a pixel has.
    dark : bool
        Whether the picture is for a dark background.
    """
    at, shape = view.array(), (view.height, view.width)
    classes = color.classes if isinstance(color, ClassColor) else None
    values = color.values if isinstance(color, MeanColor) else None
    area = view.width * view.height
    most = {radius: int(share * area / len(_disc(radius))) for radius, share in _SPACE.items()}
    found = positions_in_view(points, at, most[1])
    if found is not None:
        points, mask = points[found], mask[found]
        classes = classes if classes is None else classes[found]
        values = values if values is None else values[found]
    n = area if found is None else len(found)
    radius = next((radius for radius in _SPACE if n <= most[radius]), 0)
    disc = _disc(radius)
    every, selected, (n, n_selected) = draw_counts(points, mask, at, disc, shape)
    if isinstance(color, MeanColor):
        counts, sums = draw_sums(points, mask, values, at, disc, shape)  # type: ignore[arg-type]
        levels, palette, key = _means(counts, sums, color, dark)
    elif isinstance(color, ClassColor):
        kinds = (*shape, len(color.labels))
        by_class = draw_classes(points, mask, classes, at, disc, kinds)  # type: ignore[arg-type]
        levels, palette, key = _classes(by_class, color, dark)
    else:
        levels, palette, key = _density(selected, radius, dark)
    faint, behind = colors.backdrop(dark), _backdrop(every)
    indices = np.where(levels > 0, levels + len(faint), behind).astype(np.uint8)
    clear = np.zeros((1, 4), np.uint8)
    palette = np.vstack([clear, faint, palette])
    return Picture(indices, palette, key, n, n_selected, radius)


def _disc(radius: int) -> np.ndarray:
    """Offsets of the pixels within `radius` of a pixel, (k, 2) int64 of rows and columns."""
    side = np.arange(-radius, radius + 1)
    rows, columns = np.meshgrid(side, side, indexing="ij")
    inside = rows**2 + columns**2 <= radius * (radius + 1)
    return np.column_stack([rows[inside], columns[inside]]).astype(np.int64)


def _logarithmic(counts: np.ndarray, steps: int) -> tuple[np.ndarray, int]:
    """Levels 1 to `steps` of counts from 1 to their maximum, 0 of none; and the maximum."""
    most = int(counts.max(initial=0))
    table = np.zeros(most + 1)
    if most:
        table[1:] = np.log(np.arange(1, most + 1)) / max(math.log(most), 1e-9)
        table[1:] = 1 + np.minimum(np.floor(table[1:] * steps), steps - 1)
    return table.astype(np.int16)[counts], most


def _backdrop(every: np.ndarray) -> np.ndarray:
    return _logarithmic(every, colors.BACKDROP)[0]


def _density(
    selected: np.ndarray, radius: int, dark: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    most = max(1, int(selected.max(initial=0)))
    faint = _FAINT * max(0.0, 1 - math.log(most) / math.log(_MANY))
    palette = colors.ramp("density", dark)[round(faint) :]
    levels, most = _logarithmic(selected, len(palette))
    ticks = [[0.0, "1"]] if most else []
    if most > 1:
        ticks.append([1.0, f"{most:,}"])
        powers = [10**k for k in range(1, 9) if 10**k < most]
        inner = [(math.log(power) / math.log(most), f"{power:,}") for power in powers]
        ticks += [[at, text] for at, text in inner if 0.15 <= at <= 0.8]
    title = f"rows within {counted(radius, 'pixel')}" if radius else "rows per pixel"
    title = title if most else "no selected row in view"
    key = {"kind": "ramp", "colors": colors.hexadecimal(palette), "ticks": ticks, "title": title}
    return levels, palette, key


def _means(
    counts: np.ndarray, sums: np.ndarray, color: MeanColor, dark: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    some = counts > 0
    means = sums[some] / counts[some]
    span = color.high - color.low
    at = (means - color.low) / span if span > 0 else np.zeros(len(means))
    levels = np.zeros(counts.shape, np.int16)
    levels[some] = 1 + np.clip(np.floor(at * colors.RAMP), 0, colors.RAMP - 1).astype(np.int16)
    palette = colors.ramp("mean", dark)
    ticks = [[0.0, color.ends[0]]]
    if span > 0:
        ticks += [[0.5, short_number(color.low / 2 + color.high / 2)], [1.0, color.ends[1]]]
    title = f"mean {short_text(color.name)}"
    key = {"kind": "ramp", "colors": colors.hexadecimal(palette), "ticks": ticks, "title": title}
    return levels, palette, key


def _classes(
    by_class: np.ndarray, color: ClassColor, dark: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    n = by_class.shape[2]
    named = by_class[:, :, : n - 2]
    winner = (
        named.argmax(axis=2) if n > 2 else np.zeros(named.shape[:2], np.int64)
    )  # first if equal
    most = np.take_along_axis(by_class, winner[:, :, None], axis=2)[:, :, 0]
    for rest in (n - 2, n - 1):  # gray where no row has a category with a color
        empty = most == 0
        winner[empty], most[empty] = rest, by_class[:, :, rest][empty]
    shade, _ = _logarithmic(most, colors.SHADES)
    levels = np.where(shade > 0, winner * colors.SHADES + shade, 0)
    tones = colors.class_colors(len(color.labels) - 2, dark)
    items = [[tone, text] for tone, text in zip(tones, color.labels, strict=True) if text]
    key = {"kind": "classes", "items": items, "title": f"most frequent {short_text(color.name)}"}
    return levels, colors.shades(tones), key
