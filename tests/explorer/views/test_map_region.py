"""Lassos: fewer corners, and the same rows as shapely finds one by one."""

from types import SimpleNamespace

import numpy as np
import pytest
import shapely

from laion_dask.explorer.embedding_filters import Region
from laion_dask.explorer.views.map_region import polygon_of


def lasso(n=600, seed=0):
    """A wobbly outline drawn by hand, in units of the map; a pixel is 0.01 by 0.02."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radius = 1 + 0.3 * np.sin(3 * angle) + 0.002 * rng.normal(size=n).cumsum() / np.sqrt(n)
    return radius * np.cos(angle), 2 * radius * np.sin(angle)


def test_a_simplified_outline_stays_within_half_a_pixel_of_the_drawn_one():
    x, y = lasso()
    pixel = np.array([0.01, 0.02])
    found = polygon_of(x, y, tuple(pixel))
    drawn, simple = np.column_stack([x, y]) / pixel, found / pixel
    assert 10 < len(found) < 150
    assert shapely.hausdorff_distance(shapely.LinearRing(drawn), shapely.LinearRing(simple)) < 0.53
    assert (np.round(found, 4) == found).all()


@pytest.mark.parametrize("pixel", [(1e-7, 2e-7), (0.01, 0.01), (30.0, 50.0)])
def test_boxes_keep_their_four_corners(pixel):
    w, h = 100 * pixel[0], 200 * pixel[1]
    found = polygon_of([0.0, w, w, 0.0], [0.0, 0.0, h, h], pixel)
    assert len(found) == 4
    assert np.abs(found - [[0, 0], [w, 0], [w, h], [0, h]]).max() <= max(pixel) / 100


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([0.0, 1.0], [0.0, 1.0]),
        ([0.5, 0.5, 0.5], [0.1, 0.1, 0.1]),
        ([0.0, 1.0, 0.5], [0.2, 0.2, 0.2]),  # a line
        ([0.0, 1e-4, 1e-4, 0.0], [0.0, 0.0, 1.0, 1.0]),  # narrower than a pixel
    ],
)
def test_what_has_no_area_is_no_region(x, y):
    assert polygon_of(x, y, (0.01, 0.01)) is None


def test_rows_in_a_lasso_are_those_that_shapely_finds_one_by_one():
    points = np.random.default_rng(1).normal(0, 1, (2000, 2)).astype(np.float32)
    points[::100] = np.nan
    corners = polygon_of(*lasso(), (0.01, 0.02))
    region = Region(corners, None, points)
    polygon = shapely.Polygon(corners)
    expected = [
        not np.isnan(point).any() and polygon.covers(shapely.Point(*map(float, point)))
        for point in points
    ]
    assert region.passes(SimpleNamespace(n=2000)).tolist() == expected
    assert region == Region(corners, None, points) and hash(region) == hash(region)
