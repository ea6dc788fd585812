"""The explorer without a browser: from the frame to the views, and back to the frame."""

import json
import threading

import dask
import numpy as np
import pyarrow as pa
import pytest
import yaml
from panel.viewable import Viewable
from support.shards import collection, laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import OptionError, ProvenanceError
from laion_dask.explorer.app import explorer as app
from laion_dask.explorer.app.explorer import PLACES, TABS, Explorer
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.views.component import Component
from laion_dask.explorer.views.page import PageComponent


@pytest.fixture
def frame(tmp_path):
    return ld.read_shards([write_shard(tmp_path / "0.parquet", laion_table(300))])


@pytest.fixture
def explorer(frame):
    explorer = frame.laion.explore().wait()
    yield explorer
    explorer.close()


def page_of(explorer) -> PageComponent:
    """A page that a browser shows."""
    page = explorer.__panel__()
    page._handle_msg({"kind": "ready"})
    return page


def places_of(page) -> dict[str, Viewable]:
    """The views beside the tabs, by their places."""
    places = json.loads(page.layout)["places"]
    return {name: page.views[at] for name, at in places.items()}


def components(explorer) -> list[Component]:
    return page_of(explorer).select(Component)


def test_the_view_of_a_tab_comes_when_the_tab_is_shown_and_stays(explorer):
    page = page_of(explorer)

    def numbers():
        return [tab["view"] for tab in json.loads(page.layout)["tabs"]]

    first = len(page.views) - 1
    assert numbers() == [first, None, None, None, None, None]
    gallery, bias = explorer._tabs["Gallery"].panel, explorer._tabs["Bias"].panel
    page.active = 3
    assert numbers() == [first, None, None, first + 1, None, None] and page.views[-1] is bias
    page.active = 1
    assert numbers() == [first, first + 1, None, first + 2, None, None]
    assert page.views[-1] is bias and page.views[first] is gallery
    page.active = 0
    assert len(page.views) == first + 3


def test_every_view_shows_a_change_of_the_selection(explorer):
    page = page_of(explorer)
    before = page.select(Component)
    states = [one.state for one in before]
    explorer.selection.set("similarity", NumberRange("similarity", 0.3, None))
    after = page.select(Component)
    assert after == before and len(after) >= 4  # no new widgets
    assert all(one.state != state for one, state in zip(after, states, strict=True))
    assert (
        repr(explorer)
        == str(explorer)
        == (f"Explorer({explorer.selection.n} selected of 300 sampled rows)")
    )


def test_every_display_publishes_the_scripts_of_the_page(explorer, monkeypatch):
    published = []
    monkeypatch.setattr(app, "load_in_page", lambda: published.append("scripts"))
    explorer._repr_mimebundle_()
    assert published == ["scripts"]


def test_the_selection_is_code_and_a_lazy_frame_of_all_rows(frame):
    explorer = frame.laion.explore(sample=100).wait()
    explorer.selection.set("similarity", NumberRange("similarity", 0.3, None))
    expected = frame.laion.where("similarity >= 0.3").compute()
    assert explorer.selected.compute()["row"].tolist() == expected["row"].tolist()
    variables = {}
    exec(explorer.python.rpartition("\nprint")[0], variables)
    assert variables["selected"].compute()["row"].tolist() == expected["row"].tolist()
    recipe = yaml.safe_load(explorer.recipe)
    assert recipe["steps"] == [{"where": "similarity >= 0.3"}]
    explorer.close()


def test_nothing_is_computed_before_the_sample_is_drawn(frame):
    started, go_on = threading.Event(), threading.Event()

    def draw():
        started.set()
        go_on.wait(60)
        return draw_sample(frame)

    explorer = Explorer(draw)
    assert started.wait(60)
    assert repr(explorer) == "Explorer(drawing the sample: running)"
    page = page_of(explorer)
    assert [*places_of(page)] == ["head"]
    with pytest.raises(OptionError, match="drawing the sample is running"):
        explorer.wait(0.01)
    go_on.set()
    assert explorer.wait() is explorer and explorer.selection.n == 300
    assert [*places_of(page)] == ["head", *(name for name in PLACES if name != "map")]
    assert [tab["title"] for tab in json.loads(page.layout)["tabs"]] == list(TABS)
    explorer.close()


def test_cancel_leaves_an_explorer_that_says_so(frame):
    started = threading.Event()

    def draw():
        from laion_dask.runtime import cancellation

        started.set()
        while True:
            cancellation.check()

    explorer = Explorer(draw)
    assert started.wait(60)
    explorer._head._receive({"kind": "cancel"})
    with pytest.raises(OptionError, match="canceled"):
        explorer.wait(60)
    state = json.loads(explorer._head.panel.state)
    assert state["job"] is None and state["rows"] == "No rows were read."


def test_an_error_of_the_sample_is_shown_and_raised(frame):
    explorer = Explorer(lambda: draw_sample(frame.drop(columns="row")))
    with pytest.raises(ProvenanceError):
        explorer.wait()
    state = json.loads(explorer._head.panel.state)
    assert "row" in state["error"] and "\n" not in state["error"]


def test_two_explorers_do_not_disturb_each_other(frame):
    first, second = (frame.laion.explore(sample=n).wait() for n in (100, 200))
    first.selection.set("width", NumberRange("width", 500, None))
    assert second.selection.n == 200 and not second.selection.filters
    first.close()
    assert second.selection.n == 200
    second.close()


def test_the_map_is_computed_in_the_background(tmp_path):
    written = collection(tmp_path / "c", (40, 20))
    frame = ld.read_shards(written.metadata)
    emb = ld.open_embeddings(written.img_emb, model=written.model, like=frame)
    explorer = frame.laion.explore(emb).wait()
    view = explorer._views[list(PLACES).index("map")]
    explorer._jobs.current.wait(60)
    assert explorer.exploration.points.shape == (60, 2)
    assert explorer.exploration.projection.method == "pca"
    assert view.panel.message == "" and "PCA of 60 rows" in view.panel.axes[0]
    explorer.close()


def test_a_closed_explorer_has_no_rows(explorer):
    explorer.close()
    explorer.close()
    with pytest.raises(OptionError):
        _ = explorer.selection


def test_an_explorer_whose_session_is_over_draws_no_view(explorer, monkeypatch):
    page_of(explorer)

    def refuse(*args):
        raise AssertionError("a view was drawn")

    monkeypatch.setattr(Component, "draw", refuse)
    monkeypatch.setattr(PageComponent, "clear", refuse)
    explorer.abandon()
    assert explorer._exploration is explorer._head._exploration is None
    assert explorer._views == [] and explorer._tabs == {}


def test_an_error_in_a_view_is_shown_in_the_head(explorer, monkeypatch):
    def fails():
        raise ValueError("odd")

    monkeypatch.setattr(explorer._views[0], "refresh", fails)
    explorer.selection.set("width", NumberRange("width", 500, None))
    assert json.loads(explorer._head.panel.state)["error"] == "ValueError: odd"
    chips = next(one for one in components(explorer) if type(one).__name__ == "ChipsComponent")
    chips._on_message = lambda message: fails()
    chips._handle_msg({"kind": "remove"})
    chips._handle_msg("no mapping")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 0}, "sample"),
        ({"sample": True}, "sample"),
        ({"seed": -1}, "seed"),
        ({"emb": "img_emb/"}, r"emb is 'img_emb/'. Expected what ld.open_embeddings"),
        ({"images": "images/"}, r"images is 'images/'. Expected what ld.open_images"),
    ],
)
def test_arguments_are_checked_immediately(frame, options, message):
    with dask.config.set(scheduler=refuse), pytest.raises(OptionError, match=message):
        frame.laion.explore(**options)


def refuse(*args, **options):
    raise AssertionError("computed")


def test_frames_whose_rows_are_unknown_and_other_embeddings_are_refused(frame, tmp_path):
    with pytest.raises(ProvenanceError):
        frame.drop(columns="row").laion.explore()
    other = collection(tmp_path / "c", (10,))
    embeddings = ld.open_embeddings(other.img_emb, model=other.model)
    with pytest.raises(ld.LaionDaskError):
        frame.laion.explore(embeddings)


def test_filtered_frames_and_computed_columns(frame, tmp_path):
    computed = frame.assign(ratio=frame["width"] / frame["height"]).laion.where("width > 300")
    explorer = computed.laion.explore().wait()
    expected = computed.compute()
    assert explorer.selection.n == len(expected)
    explorer.selection.set("ratio", NumberRange("ratio", 1.0, None))
    assert explorer.selection.n == (expected["ratio"] >= 1).sum()
    explorer.close()


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"similarity": pa.array([], pa.float32()), "URL": pa.array([], pa.string())}),
        pa.table({"uid": ["a", "b"], "clip_l14_similarity_score": pa.array([0.1, np.nan])}),
        pa.table({"<b>x</b>": [1, 2], "hvals_\u202e": ["<script>", None], "col('y')": [0.5, 1.5]}),
    ],
)
def test_odd_frames_are_explored(tmp_path, table):
    frame = ld.read_shards([write_shard(tmp_path / "0.parquet", table)])
    explorer = frame.laion.explore().wait()
    assert explorer.selection.n == table.num_rows
    explorer.close()


def test_a_frame_that_is_changed_in_place_afterwards(frame):
    explorer = frame.laion.explore()
    frame["width"] = frame["width"] + 1000
    explorer.wait().select("width >= 500")
    assert (
        0 < len(explorer.selected) == explorer.selection.n < len(frame.laion.where("width >= 500"))
    )
    explorer.close()
