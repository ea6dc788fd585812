"""Which points are in a polygon, exactly.

A point is in a polygon if a ray from it crosses the polygon's edges an odd number of times (the
even-odd rule, as in SVG's ``fill-rule="evenodd"``), or if it is on an edge or a corner. So a lasso
may cross itself: in a figure eight both loops are inside, and a part that the lasso goes around
twice is outside, as it is drawn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from types import ModuleType

import numpy as np
import numpy.typing as npt

from laion_dask.errors import OptionError
from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

_MODULE = "laion_dask.projections.polygon_kernel"
#: The most corners of a polygon.
MAX_CORNERS = 100_000
#: The most bands of y that edges are sorted into, and edges in all of them.
_BANDS, _ENTRIES = 1024, 10_000_000
#: Rows that are converted to float64 at a time.
_ROWS = 1 << 16
#: The error of a determinant of differences, relative to the sum of its two products: Shewchuk
#: (1997), "Adaptive precision floating-point arithmetic and fast robust geometric predicates",
#: section 4.4, ``ccwerrboundA`` = (3 + 16 u) u with u = 2**-53.
_ERROR = (3 + 16 * 2.0**-53) * 2.0**-53
#: Coordinates beyond this may overflow, or underflow, in a product of differences.
_LARGEST = 1e100
#: Polygons that are less high have one band.
_SMALLEST = 1e-200
_EXPECTED = "Expected at least 3 different points [[x, y], …], as finite numbers"
_compiled = ProcessCache()


@dataclass(frozen=True)
class Polygon:
    """A polygon with straight edges, which may cross each other.

    Attributes
    ----------
    corners : tuple of (float, float)
        At least 3 different ones, in order; the last is joined to the first.
    """

    corners: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, points: object) -> Polygon:
        """A polygon from a sequence or an array of points.

        Raises
        ------
        OptionError
            When it is not a sequence of at least 3 different points of two finite numbers.
        """
        if isinstance(points, Polygon):
            return points
        try:
            given = np.asarray(points)
            if given.dtype.kind not in "iuf":
                raise ValueError
            array = given.astype(np.float64)
        except (TypeError, ValueError):
            shown = repr(points)
            shown = shown if len(shown) < 80 else f"{shown[:79]}…"
            raise OptionError(f"polygon is {shown}. {_EXPECTED}.") from None
        if array.ndim != 2 or array.shape[1] != 2:
            raise OptionError(f"polygon has the shape {array.shape}. {_EXPECTED}.")
        if not (np.abs(array) < _LARGEST).all():  # NaN too
            wrong = array[~(np.abs(array) < _LARGEST).all(axis=1)][0].tolist()
            raise OptionError(f"polygon has the point {wrong}. {_EXPECTED}.")
        array = array + 0.0  # no -0.0
        if len(array) > 1 and (array[0] == array[-1]).all():
            array = array[:-1]
        corners = tuple((x, y) for x, y in array.tolist())
        if len(set(corners)) < 3:
            raise OptionError(f"polygon has {len(set(corners))} different points. {_EXPECTED}.")
        if len(corners) > MAX_CORNERS:
            raise OptionError(
                f"polygon has {len(corners):,} points. Expected at most {MAX_CORNERS:,}: leave out "
                "points that are near their neighbors."
            )
        return cls(corners)

    def __len__(self) -> int:
        return len(self.corners)

    @cached_property
    def sha256(self) -> str:
        """The digest of the corners as little-endian float64."""
        return hashlib.sha256(np.array(self.corners, "<f8").tobytes()).hexdigest()

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The lowest x and y, and the highest x and y."""
        low, high = np.min(self.corners, axis=0), np.max(self.corners, axis=0)
        return (*low.tolist(), *high.tolist())

    def contains(self, points: np.ndarray) -> npt.NDArray[np.bool_]:
        """Whether each point is inside or on an edge. Eager; releases the GIL.

        Exact: float64 decides all points but those that are within its rounding errors of an edge,
        and rational numbers decide these.

        Parameters
        ----------
        points : (n, 2) float32 or float64 array
            A point with NaN is outside.

        Returns
        -------
        (n,) bool array
        """
        out = np.empty(len(points), np.uint8)
        edges, starts, crossing, frame = self._bands
        classify = _compiled.get("classify", _compile)
        for at in range(0, len(points), _ROWS):
            block = np.ascontiguousarray(points[at : at + _ROWS], np.float64)
            classify(block, edges, starts, crossing, frame, out[at : at + _ROWS])
        unsure = np.flatnonzero(out == 2)
        if len(unsure):
            distinct, inverse = np.unique(
                np.asarray(points[unsure], np.float64), axis=0, return_inverse=True
            )
            exact = np.array([self._contains_exactly(x, y) for x, y in distinct.tolist()])
            out[unsure] = exact[inverse.ravel()]
        return out.view(bool)

    @cached_property
    def _bands(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The edges, those of each band of y, and the frame; see `polygon_kernel.classify`."""
        ends = np.array(self.corners)
        edges = np.hstack([ends, np.roll(ends, -1, axis=0)])
        (low_x, low_y), (high_x, high_y) = ends.min(axis=0), ends.max(axis=0)
        n_bands = max(1, min(_BANDS, _ENTRIES // len(edges)))
        height = high_y - low_y
        # A product and a conversion that grow with y, so no edge misses a band that it is in.
        per_unit = n_bands / height if height > _SMALLEST else 0.0
        ys = np.sort(edges[:, [1, 3]], axis=1)
        bands = np.minimum(((ys - low_y) * per_unit).astype(np.int64), n_bands - 1)
        counts = bands[:, 1] - bands[:, 0] + 1
        numbers = np.repeat(np.arange(len(edges)), counts)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        in_band = np.repeat(bands[:, 0], counts) + np.arange(len(numbers)) - firsts
        crossing = numbers[np.argsort(in_band, kind="stable")]
        starts = np.concatenate([[0], np.cumsum(np.bincount(in_band, minlength=n_bands))])
        frame = np.array([low_x, high_x, low_y, high_y, per_unit, _ERROR])
        return edges, starts.astype(np.int64), crossing.astype(np.int64), frame

    def _contains_exactly(self, x: float, y: float) -> bool:
        """The same for one point, in rational numbers."""
        edges, starts, crossing, frame = self._bands
        band = min(int((y - frame[2]) * frame[4]), len(starts) - 2)
        inside = False
        for e in crossing[starts[band] : starts[band + 1]].tolist():
            ax, ay, bx, by = edges[e].tolist()
            if not min(ay, by) <= y <= max(ay, by):
                continue
            left = (Fraction(bx) - Fraction(ax)) * (Fraction(y) - Fraction(ay))
            right = (Fraction(by) - Fraction(ay)) * (Fraction(x) - Fraction(ax))
            if left == right and min(ax, bx) <= x <= max(ax, bx):
                return True  # on the edge
            if (ay > y) != (by > y) and (left > right) == (by > ay):
                inside = not inside
        return inside


def _compile():
    numbers, whole = np.empty((0, 4)), np.empty(0, np.int64)
    examples = (np.empty((0, 2)), numbers, np.zeros(2, np.int64), whole, np.zeros(6))
    return native(
        "classify", lambda: _source().classify, [_MODULE], *examples, np.empty(0, np.uint8)
    )


def _source() -> ModuleType:
    from laion_dask.projections import polygon_kernel  # imports numba

    return polygon_kernel
