"""The map as the app and the browser use it: messages in, pictures and the selection out."""

import io

import numpy as np
import pytest
from PIL import Image
from support.shards import laion_table

import laion_dask as ld
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.views.map import KEY, MapView
from laion_dask.projections.projection import Projection

BOX = {"kind": "region", "x": [0, 1, 1, 0], "y": [0, 0, 0.5, 0.5], "pixel": [0.01, 0.01]}
VIEW = {"kind": "view", "view": [-2, 2, -1, 1], "width": 80, "height": 40, "sequence": 7}


@pytest.fixture
def exploration(write):
    frame = ld.read_shards([write("0.parquet", laion_table(400, 0))])
    points = np.random.default_rng(0).normal(0, 0.6, (400, 2)).astype(np.float32)
    points[::40] = np.nan
    tensors = {
        "mean": np.zeros(2),
        "components": np.eye(2),
        "explained": np.array([0.25, 0.1]),
    }
    projection = Projection("pca", "ViT-L-14:openai", 2, 1000, 0, tensors)
    return Exploration(draw_sample(frame), projection=projection, points=points)


@pytest.fixture
def view(exploration):
    view = MapView(exploration)
    exploration.selection.subscribe(lambda _: view.refresh())
    return view


def pane_of(view):
    return view.panel


def colored(pane):
    """How many pixels have a color, and how many are part of the backdrop."""
    file = io.BytesIO(pane.picture["png"].tobytes())
    alpha = np.array(Image.open(file).convert("RGBA"))[:, :, 3]
    return int((alpha == 255).sum()), int(((alpha > 0) & (alpha < 255)).sum())


def test_the_browser_asks_for_a_view_and_gets_its_picture(view):
    pane = pane_of(view)
    assert pane.picture["png"] is None  # nothing is drawn before the browser knows its size
    pane._handle_msg(VIEW)
    assert pane.picture["view"] == [-2, 2, -1, 1] and pane.picture["sequence"] == 7
    assert Image.open(io.BytesIO(pane.picture["png"].tobytes())).size == (80, 40)
    points = view._exploration.points
    inside = (np.abs(points[:, 0]) < 2) & (np.abs(points[:, 1]) < 1)
    assert pane.status == f"{inside.sum()} of 400 rows in view · 10 without an embedding"
    assert f"Map of 400 rows; 400 are selected, {inside.sum()} of them in view" in pane.description


def test_what_the_browser_sends_back_does_not_undo_the_picture(view):
    pane = pane_of(view)
    pane._handle_msg(VIEW)
    before = pane.picture
    pane._handle_msg({**VIEW, "sequence": 8})
    sent = []
    pane.param.watch(sent.append, ["picture", "status"], onlychanged=False)
    assert pane._process_property_change({"picture": before, "status": pane.status}) == {}
    assert [event.name for event in sent] == [
        "picture"
    ]  # what has changed meanwhile goes out again
    assert pane.picture["sequence"] == 8


def test_a_box_selects_rows_and_escape_removes_it(view, exploration):
    pane, selection = pane_of(view), exploration.selection
    pane._handle_msg(VIEW)
    all_colored, backdrop = colored(pane)
    assert backdrop == 0
    pane._handle_msg(BOX)
    x, y = exploration.points.T
    expected = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 0.5)
    assert selection.mask().tolist() == expected.tolist() and 0 < selection.n < 200
    assert sorted(zip(*pane.outline, strict=True)) == [(0, 0), (0, 0.5), (1, 0), (1, 0.5)]
    now, behind = colored(pane)
    assert 0 < now < all_colored and behind > 0
    assert pane.picture["sequence"] == 7  # the request has been answered, also by this picture
    assert pane.key["note"] == "gray: not selected"
    selection.undo()
    assert pane.outline == [[], []] and selection.n == 400
    selection.redo()
    pane._handle_msg({"kind": "clear"})
    assert pane.outline == [[], []] and selection.n == 400 and colored(pane)[1] == 0


def test_a_new_lasso_replaces_the_one_before(view, exploration):
    pane = pane_of(view)
    pane._handle_msg(BOX)
    pane._handle_msg({**BOX, "x": [-1, 0, 0, -1]})
    x, y = exploration.points.T
    expected = (x >= -1) & (x <= 0) & (y >= 0) & (y <= 0.5)
    assert exploration.selection.mask().tolist() == expected.tolist()
    assert len(exploration.selection.filters) == 1


def test_filters_of_other_views_change_the_picture(view, exploration):
    pane = pane_of(view)
    pane._handle_msg(VIEW)
    before = pane.picture["png"].tobytes()
    exploration.selection.set("width", NumberRange("width", 0, 300))
    assert pane.picture["png"].tobytes() != before
    assert "selected in view" in pane.status


def test_colors_by_columns(view, exploration):
    pane = pane_of(view)
    pane._handle_msg(VIEW)
    assert ["density", "number of rows"] in pane.color_options
    for key, title in (
        ("mean:similarity", "mean similarity"),
        ("mean:width", "mean width"),
        ("category:language", "most frequent language"),
        ("density", "rows within 1 pixel"),
    ):
        pane._handle_msg({"kind": "color", "value": key})
        assert (pane.color, pane.key["title"]) == (key, title)
    labels = exploration.sample.columns["language"].labels
    pane._handle_msg({"kind": "color", "value": "category:language"})
    assert [text for _, text in pane.key["items"]] == [*labels, "no value"]


def test_hovering_shows_the_nearest_selected_row(view, exploration):
    pane = pane_of(view)
    i = 5
    x, y = map(float, exploration.points[i])
    message = {"kind": "hover", "x": x, "y": y, "pixel": [1e-5, 1e-5], "sequence": 3}
    pane._handle_msg(message)
    assert pane.card["sequence"] == 3
    width = exploration.sample.page([i])["width"][i]
    pane._handle_msg({"kind": "color", "value": "mean:width"})
    pane._handle_msg(message)
    assert dict(pane.card["lines"])["width"].replace(",", "") == f"{width:.0f}"
    texts = exploration.sample.texts("text", [i])
    pane._handle_msg({**message, "reveal": True})
    assert not pane.card["hidden"] and pane.card["title"] == (texts[0] or "(no caption)")
    pane._handle_msg({**message, "x": 99.0, "sequence": 4})
    assert pane.card == {"sequence": 4}
    mask = exploration.points[:, 0] < x
    exploration.selection.set(KEY, None)
    pane._handle_msg({**BOX, "x": [x + 0.1, x + 1, x + 1, x + 0.1]})
    pane._handle_msg({**message, "sequence": 5})
    assert mask.any() and pane.card == {"sequence": 5}  # the row is not selected any more


@pytest.mark.parametrize(
    "message",
    [
        None,
        "view",
        {},
        {"kind": ["view"]},
        {**VIEW, "view": [0, 0, 0, 1]},
        {**VIEW, "view": [0, float("nan"), 0, 1]},
        {**VIEW, "view": ["0", "1", "0", "1"]},
        {**VIEW, "width": 1e9},
        {**VIEW, "height": 0},
        {**BOX, "x": [0, 1]},
        {**BOX, "pixel": [0, 1]},
        {**BOX, "x": [0, float("inf"), 1, 0]},
        {**BOX, "x": [0, 0, 0, 0]},
        {"kind": "color", "value": "mean:nothing"},
        {"kind": "hover", "x": None, "y": 0, "pixel": [1, 1]},
    ],
)
def test_other_messages_are_ignored(view, exploration, message):
    pane = pane_of(view)
    pane._handle_msg(VIEW)
    order = pane.picture["order"]
    pane._handle_msg(message)
    assert pane.picture["order"] == order
    assert exploration.selection.n == 400 and pane.color == "density"


def test_large_maps_have_small_pictures(view):
    pane = pane_of(view)
    pane._handle_msg({**VIEW, "width": 3000, "height": 2000})
    width, height = Image.open(io.BytesIO(pane.picture["png"].tobytes())).size
    assert 340_000 < width * height <= 362_000 and abs(width / height - 1.5) < 0.01


def test_dark_pages_have_other_colors_and_the_same_pixels(view):
    pane = pane_of(view)
    pane._handle_msg(VIEW)
    light = pane.key["colors"], colored(pane)
    view.set_dark(True)
    assert pane.dark and pane.key["colors"] != light[0] and colored(pane) == light[1]


def test_a_page_that_missed_the_points_gets_them_again(view):
    pane = pane_of(view)
    first = pane.extent
    pane._handle_msg({**VIEW, "version": first["version"]})
    assert pane.extent is first
    pane._handle_msg({**VIEW, "version": 0})
    assert pane.extent["version"] > first["version"] and pane.extent["x"] == first["x"]


def test_axes_say_that_distances_are_approximate(view):
    label = pane_of(view).axes[0]
    assert label == "PCA of 1,000 rows, 35 % of variance; distances are approximate"


def test_few_selected_rows_are_sent_so_that_no_label_hides_them(view, exploration):
    pane = pane_of(view)
    pane._handle_msg(VIEW)
    assert pane.picture["few"] == [[], []]
    order = np.argsort(exploration.sample.columns["width"].values)
    bound = int(exploration.sample.columns["width"].values[order[-20]])
    exploration.selection.set("width", NumberRange("width", bound, None))
    points = exploration.points[exploration.selection.positions()]
    expected = points[~np.isnan(points[:, 0])]
    assert np.array_equal(np.transpose(pane.picture["few"]), expected) and 0 < len(expected) < 50
    exploration.selection.set("height", NumberRange("height", 10**9, None))
    assert pane.picture["few"] == [[], []] and pane.key["title"] == "no selected row in view"


def test_labels_of_regions_are_text(exploration):
    asked = []

    def labels(*at):
        asked.append(at)
        return [(0.5, 0.25, "<b>bird</b>\n garden")]

    view = MapView(exploration, labels)
    pane = pane_of(view)
    pane._handle_msg({"kind": "labels"})
    pane._handle_msg(VIEW)
    assert asked == [] and pane.labels["text"] == []  # pictures do not wait for labels
    pane._handle_msg({"kind": "labels"})
    assert asked == [(-2, 2, -1, 1)]
    assert pane.labels == {"x": [0.5], "y": [0.25], "text": ["<b>bird</b> garden"]}
    view.labels = lambda *at: []  # they have been computed again
    assert pane.labels["text"] == []


def test_a_map_without_points_says_that_they_are_computed(exploration):
    points, exploration.points = exploration.points, None
    view = MapView(exploration)
    view.refresh()
    view.set_dark(True)
    pane = pane_of(view)
    for message in (VIEW, BOX, {"kind": "hover", "x": 0, "y": 0, "pixel": [1, 1]}):
        pane._handle_msg(message)
    assert pane.message == "The map is being computed."
    assert pane.picture["png"] is None and exploration.selection.n == 400
    exploration.points = points
    view.refresh()  # the projection has been computed
    assert pane.dark and pane.message == "" and pane.picture["png"] is not None


@pytest.mark.parametrize("value", [np.nan, 0.0, 3e8])
def test_rows_without_places_or_all_on_one(exploration, value):
    exploration.points = np.full((400, 2), value, np.float32)
    view = MapView(exploration)
    pane = pane_of(view)
    x, y = pane.extent["x"], pane.extent["y"]
    assert x[0] < x[1] and y[0] < y[1] and pane.extent["smallest"] > 0
    pane._handle_msg({**VIEW, "view": [*x, *y]})
    n = 0 if np.isnan(value) else 400
    assert pane.status.startswith(f"{n} of 400 rows in view")
