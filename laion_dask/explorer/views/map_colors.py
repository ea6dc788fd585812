"""Colors of the map: ramps of even steps for the eye, classes, the faint backdrop; light and dark.

Ramps are straight lines in OKLab between the stops: Ottosson, B. (2020). A perceptual color space
for image processing. Their lightness changes in one direction, so they can be told apart without
color vision too.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from laion_dask.plots.palette import SERIES

#: How many colors a ramp, the backdrop and a category have. Fewer make a smaller picture.
RAMP, BACKDROP, SHADES = 48, 12, 6
#: Stops from few to many, by (quantity, dark).
_STOPS = {
    ("density", False): ("#bcd7f3", "#6fa8e2", "#3b6fd0", "#51359f", "#2a0f4f"),
    ("density", True): ("#28407a", "#3a72c9", "#4fb3d9", "#b5e3b0", "#fff6bd"),
    ("mean", False): ("#440154", "#3b528b", "#21918c", "#5ec962", "#c8d820"),
    ("mean", True): ("#5b3a86", "#4a6bb0", "#2aa198", "#7ad151", "#fde725"),
}
#: The backdrop, then other categories, then no value.
_GREYS = {False: ("#8793a0", "#8a8f98", "#c3c8ce"), True: ("#8d99a8", "#98a1ad", "#5c6672")}
#: SERIES without its ink, and the same made lighter for a dark background.
CLASSES = {
    False: SERIES[:7],
    True: ("#3d9bd8", "#f07c33", "#2bbf93", "#e09cc3", "#f0b429", "#8fd0f5", "#b98a5f"),
}


@cache
def ramp(quantity: str, dark: bool) -> np.ndarray:
    """The colors of "density" or "mean" from low to high, (RAMP, 4) uint8, opaque."""
    stops = np.array([_oklab(stop) for stop in _STOPS[quantity, dark]])
    at = np.linspace(0, len(stops) - 1, RAMP)
    lab = np.column_stack([np.interp(at, np.arange(len(stops)), one) for one in stops.T])
    return np.column_stack([_rgb(lab), np.full(RAMP, 255, np.uint8)])


def backdrop(dark: bool) -> np.ndarray:
    """The colors of what is not selected, from few points to many, (BACKDROP, 4) uint8."""
    alpha = np.linspace(70, 140, BACKDROP).astype(np.uint8)
    return np.column_stack([np.tile(_hex(_GREYS[dark][0]), (BACKDROP, 1)), alpha])


def class_colors(n: int, dark: bool) -> tuple[str, ...]:
    """Colors of the n most frequent categories, of all others, and of rows without a value."""
    return (*CLASSES[dark][:n], *_GREYS[dark][1:])


def shades(colors: tuple[str, ...]) -> np.ndarray:
    """Each color from few points to many, (len(colors) * SHADES, 4) uint8."""
    alpha = np.linspace(120, 255, SHADES).astype(np.uint8)
    return np.vstack([np.column_stack([np.tile(_hex(c), (SHADES, 1)), alpha]) for c in colors])


def hexadecimal(colors: np.ndarray) -> list[str]:
    """``#rrggbb`` of (n, 4) uint8 colors."""
    return ["#" + bytes(row[:3]).hex() for row in np.ascontiguousarray(colors)]


def _hex(color: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(color[1:]), np.uint8)


#: Linear sRGB to the cone responses, and their cube roots to OKLab (Ottosson 2020).
_TO_CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_TO_LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip


def _oklab(color: str) -> np.ndarray:
    value = _hex(color) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return _TO_LAB @ np.cbrt(_TO_CONES @ linear)


def _rgb(lab: np.ndarray) -> np.ndarray:
    """uint8 sRGB of rows of OKLab; what the screen cannot show is clipped."""
    cones = (lab @ np.linalg.inv(_TO_LAB).T) ** 3
    linear = np.clip(cones @ np.linalg.inv(_TO_CONES).T, 0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * value).astype(np.uint8)
