"""Pictures of the map against a slow loop over rows and pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from laion_dask.explorer.views import map_colors as colors
from laion_dask.explorer.views.map_coloring import ClassColor, MeanColor
from laion_dask.explorer.views.map_native import draw_classes, draw_counts, draw_sums
from laion_dask.explorer.views.map_picture import View, _disc, draw

VIEW = View(-1.0, 1.5, -0.5, 1.0, 37, 23)


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.7, (3000, 2)).astype(np.float32)
    points[::50] = points[0]  # many rows on one point
    points[7], points[8, 1] = np.nan, np.inf
    points[9], points[10] = (-1.0, -0.5), (1.5, 1.0)  # the lower corner is in view, the upper not
    return points


@pytest.fixture
def mask(points):
    return np.random.default_rng(1).random(len(points)) < 0.4


def pixels_of(point, view, radius):
    """The pixels that a row covers: all within `radius` of its own, row 0 on top."""
    x, y = map(float, point)
    if not (view.x0 <= x < view.x1 and view.y0 <= y < view.y1):
        return
    column = int((x - view.x0) / (view.x1 - view.x0) * view.width)
    row = view.height - 1 - int((y - view.y0) / (view.y1 - view.y0) * view.height)
    for r in range(view.height):
        for c in range(view.width):
            if (r - row) ** 2 + (c - column) ** 2 <= radius * (radius + 1):
                yield r, c


@pytest.mark.parametrize("radius", [0, 2])
def test_counts_means_and_classes_are_those_of_a_loop(points, mask, radius):
    rng = np.random.default_rng(2)
    values = rng.normal(0.3, 0.1, len(points)).astype(np.float32)
    values[::11], values[5] = np.nan, np.inf
    classes = rng.integers(0, 4, len(points)).astype(np.uint8)
    shape = (VIEW.height, VIEW.width)
    every, selected = np.zeros(shape, int), np.zeros(shape, int)
    counts, sums = np.zeros(shape, int), np.zeros(shape)
    by_class = np.zeros((*shape, 4), int)
    for i, point in enumerate(points):
        for at in pixels_of(point, VIEW, radius):
            every[at] += 1
            if mask[i]:
                selected[at] += 1
                by_class[(*at, classes[i])] += 1
                if np.isfinite(values[i]):
                    counts[at] += 1
                    sums[at] += float(values[i])
    disc, at = _disc(radius), VIEW.array()
    found = draw_counts(points, mask, at, disc, shape)
    assert (found[0] == every).all() and (found[1] == selected).all()
    inside = [i for i, point in enumerate(points) if any(True for _ in pixels_of(point, VIEW, 0))]
    assert found[2] == (len(inside), mask[inside].sum())
    means = draw_sums(points, mask, values, at, disc, shape)
    assert (means[0] == counts).all() and (means[1] == sums).all()
    assert (draw_classes(points, mask, classes, at, disc, (*shape, 4)) == by_class).all()


def test_a_picture_has_the_selection_in_colors_and_the_rest_behind(points, mask):
    picture = draw(points, mask, VIEW)
    every = draw_counts(points, mask, VIEW.array(), _disc(picture.radius), (23, 37))
    faint, ramp = 1 + colors.BACKDROP, len(picture.palette) - 1 - colors.BACKDROP
    assert ((picture.indices == 0) == (every[0] == 0)).all()
    assert ((picture.indices >= faint) == (every[1] > 0)).all()
    most = every[1].max()
    assert picture.indices[every[1] == most].min() == faint + ramp - 1
    assert picture.indices[every[1] == 1].max() == faint
    assert picture.key["ticks"][:2] == [[0.0, "1"], [1.0, f"{most:,}"]]
    order = np.argsort(every[1][every[1] > 0])
    assert (np.diff(picture.indices[every[1] > 0][order].astype(int)) >= 0).all()


def test_the_png_has_the_colors_of_the_palette(points, mask):
    picture = draw(points, mask, VIEW, dark=True)
    image = np.array(Image.open(io.BytesIO(picture.png())).convert("RGBA"))
    assert (image == picture.palette[picture.indices]).all()


def test_means_have_the_color_of_their_place_between_the_ends():
    points = np.array([[0.1, 0.5], [0.3, 0.5], [0.5, 0.5], [0.5, 0.5], [0.9, 0.5]], np.float32)
    values = np.array([-5, 0, 0.25, 0.75, np.nan], np.float32)
    color = MeanColor("score", values, 0.0, 1.0, ("≤ 0", "≥ 1"))
    picture = draw(points, np.ones(5, bool), View(0, 1, 0, 1, 50, 1), color)
    first = 1 + colors.BACKDROP
    levels = picture.indices[0].astype(int) - first
    assert levels[5] == levels[15] == 0  # below the lower end, and at it
    assert levels[25] == colors.RAMP // 2
    assert levels[45] < 0  # no value: as what is not selected
    assert picture.key["title"] == "mean score"
    assert [text for _, text in picture.key["ticks"]] == ["≤ 0", "0.5", "≥ 1"]


def test_the_most_frequent_category_wins_and_the_first_of_equal_ones():
    points = np.repeat(np.array([[0.11, 0.5], [0.51, 0.5], [0.91, 0.5]], np.float32), 5, axis=0)
    # en wins; it is one of two equal ones; no row has a category with a color
    classes = [0, 0, 1, 2, 2, 1, 1, 0, 0, 3, 2, 2, 3, 2, 3]
    color = ClassColor("language", np.array(classes, np.uint8), ("en", "de", "2 others", ""))
    picture = draw(points, np.ones(15, bool), View(0, 1, 0, 1, 60, 1), color)
    first = 1 + colors.BACKDROP
    winners = (picture.indices[0, [6, 30, 54]].astype(int) - first) // colors.SHADES
    assert winners.tolist() == [0, 0, 2]
    assert [text for _, text in picture.key["items"]] == ["en", "de", "2 others"]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_rows_and_none_can_be_drawn(n):
    points = np.full((n, 2), 0.5, np.float32)
    for color in (
        None,
        MeanColor("a", np.full(n, np.nan, np.float32), 0.0, 0.0, ("no value", "")),
        ClassColor("b", np.zeros(n, np.uint8), ("", "")),
    ):
        for mask in (np.zeros(n, bool), np.ones(n, bool)):
            picture = draw(points, mask, View(0, 1, 0, 1, 1, 1), color)
            assert (picture.n, picture.n_selected) == (n, mask.sum())
            assert (picture.indices[0, 0] > 0) == (n > 0)


@pytest.mark.parametrize("dark", [False, True])
def test_ramps_change_their_lightness_in_one_direction(dark):
    for quantity in ("density", "mean"):
        red, green, blue = colors.ramp(quantity, dark)[:, :3].T / 255.0
        luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
        steps = np.diff(luminance)
        assert (steps > 0).all() or (steps < 0).all()
        background = 0.01 if dark else 1.0
        contrast = [
            (max(one, background) + 0.05) / (min(one, background) + 0.05) for one in luminance
        ]
        assert min(contrast) > 1.3  # every color can be told from the background


@pytest.mark.parametrize(("n", "radius"), [(200, 4), (4000, 2), (20_000, 1), (200_000, 0)])
def test_few_rows_are_drawn_larger(n, radius):
    points = np.random.default_rng(3).random((n, 2), np.float32)
    picture = draw(points, np.ones(n, bool), View(0, 1, 0, 1, 520, 254))
    assert picture.radius == radius
    assert len(picture.png()) < 150_000
