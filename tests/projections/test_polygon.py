"""Points in polygons, compared with shapely and with a loop in rational numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from laion_dask.errors import OptionError
from laion_dask.projections.polygon import MAX_CORNERS, Polygon

ANGLES = np.linspace(0, 2 * np.pi, 301)[:-1]
SHAPES = {
    "lasso": np.c_[np.cos(ANGLES) * (1 + 0.2 * np.sin(9 * ANGLES)), np.sin(ANGLES)],
    "figure eight": np.c_[np.sin(ANGLES), np.sin(2 * ANGLES)],
    "around twice": np.c_[np.cos(2 * ANGLES) * (1 + ANGLES / 9), np.sin(2 * ANGLES)],
    "random": np.random.default_rng(3).normal(size=(9, 2)),
    "triangle": np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
    "flat": np.array([[0.0, 0.5], [1.0, 0.5], [0.25, 0.5]]),
}


def by_loop(corners, x: float, y: float) -> bool:
    """The even-odd rule, edge by edge, with the boundary inside."""
    x, y, inside = Fraction(x), Fraction(y), False
    ends = [(Fraction(a), Fraction(b)) for a, b in corners]
    for (ax, ay), (bx, by) in zip(ends, ends[1:] + ends[:1], strict=True):
        cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        between = min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by)
        if cross == 0 and between:
            return True
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            inside = not inside
    return inside


@pytest.mark.parametrize("name", SHAPES)
def test_points_are_those_of_shapely(name):
    shapely = pytest.importorskip("shapely")
    points = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    x, y = points.T.astype(np.float64)
    expected = shapely.contains_xy(shapely.Polygon(SHAPES[name]), x, y)  # none is on an edge
    assert Polygon.of(SHAPES[name]).contains(points).tolist() == expected.tolist()


@pytest.mark.parametrize("name", SHAPES)
def test_points_on_and_near_edges_are_those_of_a_loop(name):
    corners = SHAPES[name][:40].astype(np.float32).astype(np.float64)
    middles = (corners + np.roll(corners, -1, axis=0)) / 2
    near = [np.nextafter(corners, 9), np.nextafter(middles, -9), corners[:, ::-1], middles * 0.5]
    points = np.concatenate([corners, middles, *near])
    expected = [by_loop(corners.tolist(), x, y) for x, y in points.tolist()]
    assert Polygon.of(corners).contains(points).tolist() == expected
    assert Polygon.of(corners).contains(corners).all()  # corners are inside


def test_whole_numbers_many_on_edges():
    grid = np.array([(x, y) for x in range(-1, 8) for y in range(-1, 8)], np.float32)
    draw = np.random.default_rng(5)
    for _ in range(30):
        corners = draw.integers(0, 7, (draw.integers(3, 9), 2))
        if len(np.unique(corners, axis=0)) < 3:
            continue
        expected = [by_loop(corners.tolist(), float(x), float(y)) for x, y in grid]
        assert Polygon.of(corners.tolist()).contains(grid).tolist() == expected


def test_a_figure_eight_has_both_loops_and_a_part_gone_around_twice_is_out():
    eight = [[-1, -1], [1, 1], [1, -1], [-1, 1]]
    assert Polygon.of(eight).contains(
        np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, 0]])
    ).tolist() == [*(True, True, False, True)]
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    inner = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]
    twice = [*square, square[0], *inner, inner[0]]
    assert Polygon.of(twice).contains(np.array([[0.5, 0.5], [0.1, 0.5]])).tolist() == [False, True]


def test_odd_points_and_polygons():
    square = Polygon.of([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    assert len(square) == 4 and square.bounds == (0, 0, 1, 1)
    odd = np.array([[np.nan, 0.5], [0.5, np.nan], [np.inf, 0.5], [-0.0, 0.5], [1, 1]], np.float32)
    assert square.contains(odd).tolist() == [False, False, False, True, True]
    assert square.contains(np.empty((0, 2), np.float32)).tolist() == []
    assert Polygon.of(square) is square
    assert square.sha256 == Polygon.of(np.array(square.corners, np.float32)).sha256
    assert Polygon.of([[0, 0], [1e-320, 0], [0, 1e-320]]).contains(odd[3:4]).tolist() == [False]
    tall = Polygon.of([[0, -1e90], [1, 0], [0, 1e90]])
    assert tall.contains(np.array([[0.5, 0], [0.5, 1e90]])).tolist() == [True, False]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ([[0, 0], [1, 1]], "2 different points"),
        ([[0, 0], [1, 1], [1, 1], [0, 0]], "2 different points"),
        ([], r"shape \(0,\)"),
        ([[0, 0, 0]] * 4, r"shape \(4, 3\)"),
        ([[0, 0], [1, float("nan")], [2, 3]], "nan"),
        ([[0, 0], [1, float("inf")], [2, 3]], "inf"),
        ("0,0 1,1", "polygon is '0,0 1,1'"),
        ([["a", 1], [2, 3], [4, 5]], "polygon is"),
        ([[0, 0], [1], [2, 3]], "polygon is"),
        (None, "polygon is None"),
        ([[True, False]] * 3, "polygon is"),
        (np.zeros((MAX_CORNERS + 2, 2)) + np.arange(MAX_CORNERS + 2)[:, None], "at most 100,000"),
    ],
)
def test_what_is_no_polygon_is_refused(wrong, message):
    with pytest.raises(OptionError, match=message):
        Polygon.of(wrong)
