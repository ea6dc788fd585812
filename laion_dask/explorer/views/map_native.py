"""The map's loops over points as machine code; 2 M points take a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np

from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

_MODULE = "laion_dask.explorer.views.map_kernel"
_compiled = ProcessCache()


def positions_in_view(points: np.ndarray, view: np.ndarray, limit: int) -> np.ndarray | None:
    """Positions of the points in view, int64; None when there are more than `limit`."""
    positions = np.empty(limit + 1, np.int64)
    n = _function("positions_in_view", points, view, positions)
    return None if n > limit else positions[:n]


def draw_counts(
    points: np.ndarray, mask: np.ndarray, view: np.ndarray, disc: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Counts per pixel of all points and of those in the mask, int32; and both totals."""
    every, selected = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    tally = np.zeros(2, np.int64)
    _function("draw_counts", points, mask.view(np.uint8), view, disc, every, selected, tally)
    return every, selected, (int(tally[0]), int(tally[1]))


def draw_sums(
    points: np.ndarray,
    mask: np.ndarray,
    values: np.ndarray,
    view: np.ndarray,
    disc: np.ndarray,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel, the number of points in the mask with a value, int32, and their sum, float64."""
    counts, sums = np.zeros(shape, np.int32), np.zeros(shape)
    _function("draw_sums", points, mask.view(np.uint8), values, view, disc, counts, sums)
    return counts, sums


def draw_classes(
    points: np.ndarray,
    mask: np.ndarray,
    classes: np.ndarray,
    view: np.ndarray,
    disc: np.ndarray,
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Points of the mask on each pixel by class, int32 of shape (height, width, classes)."""
    counts = np.zeros(shape, np.int32)
    _function("draw_classes", points, mask.view(np.uint8), classes, view, disc, counts)
    return counts


def nearest(points: np.ndarray, mask: np.ndarray, at: np.ndarray) -> int | None:
    """Position of the point of the mask nearest to a place; see the kernel."""
    found = _function("nearest", points, mask.view(np.uint8), at)
    return None if found < 0 else found


def load_kernels() -> None:
    """Load all kernels, or compile them, which takes a few seconds once on a machine."""
    points, mask = np.empty((0, 2), np.float32), np.empty(0, bool)
    view, disc, shape = np.zeros(6), np.zeros((1, 2), np.int64), (1, 1)
    positions_in_view(points, view, 0)
    draw_counts(points, mask, view, disc, shape)
    draw_sums(points, mask, np.empty(0, np.float32), view, disc, shape)
    draw_classes(points, mask, np.empty(0, np.uint8), view, disc, (1, 1, 1))
    nearest(points, mask, np.zeros(5))


def _function(name: str, *arrays: np.ndarray) -> int:
    """Call a kernel, compiled once for each combination of dtypes."""
    arrays = tuple(np.ascontiguousarray(each) for each in arrays)
    key = (name, *(each.dtype.str for each in arrays))
    function: Callable = _compiled.get(key, lambda: _compile(name, arrays))
    return function(*arrays)


def _compile(name: str, arrays: tuple[np.ndarray, ...]) -> Callable:
    examples = [np.empty((0,) * each.ndim, each.dtype) for each in arrays]
    return native(name, lambda: getattr(import_module(_MODULE), name), [_MODULE], *examples)
