"""A column may have any name, also one that a filter of another view could be called."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of, state_of

from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.selection import FilterKey
from laion_dask.explorer.tabs.tags import TagsView
from laion_dask.explorer.views import ask
from laion_dask.explorer.views.chips import ChipsView
from laion_dask.explorer.views.histograms import HistogramsView
from laion_dask.explorer.views.map import MapView
from laion_dask.projections.projection import Projection

N = 300
CONDITION = "width >= 100"
#: The name of a column, and the key of the filter that it might be taken for.
KEYS = {
    "map": FilterKey("map"),
    "ask": FilterKey("ask"),
    "tags:s": FilterKey("tags", "s"),
    f"where:{CONDITION}": FilterKey("where", CONDITION),
    repr(FilterKey("map")): FilterKey("map"),
}
#: What a person does to select the rows at even positions, with the views of an exploration.
HALF = np.arange(N) % 2 == 0


def by_map(exploration):
    corners = {"x": [-0.5, 0.5, 0.5, -0.5], "y": [-0.5, -0.5, 0.5, 0.5]}
    MapView(exploration).panel._handle_msg({"kind": "region", "pixel": [0.01, 0.01], **corners})


def by_question(exploration):
    exploration.selection.set(ask.KEY, Score((1.0,), 0.5, HALF.astype(np.float32)))


def by_set(exploration):
    view = TagsView(exploration)
    exploration.ticked.change(add=np.flatnonzero(HALF).tolist())
    view._receive({"kind": "show", "name": "s"})
    view._receive({"kind": "add", "what": "ticked", "name": "s"})
    view._receive({"kind": "show", "name": "s"})


def by_condition(exploration):
    ChipsView(exploration)._receive({"kind": "condition", "text": CONDITION})


OTHERS = {"map": by_map, "ask": by_question, "tags": by_set, "where": by_condition}


@pytest.fixture
def exploration(tmp_path):
    width = np.where(HALF, 200, 50)
    names = {name: np.arange(N) / N for name in KEYS}
    exploration = exploration_of(tmp_path, pa.table({"width": width, **names}))
    tensors = {"mean": np.zeros(2), "components": np.eye(2), "explained": np.array([0.2, 0.1])}
    exploration.projection = Projection("pca", "ViT-L-14:openai", 2, 1000, 0, tensors)
    exploration.points = np.where(HALF, 0, 1).astype(np.float32)[:, None].repeat(2, axis=1)
    return exploration


@pytest.mark.parametrize("name", KEYS)
def test_a_range_and_another_filter_both_select(exploration, name):
    selection, histograms = exploration.selection, HistogramsView(exploration)
    at = [column.name for column in histograms._columns].index(name)
    histograms._receive({"kind": "range", "column": at, "low": 0.5, "high": None})
    high = np.arange(N) / N >= 0.5
    assert selection.mask().tolist() == high.tolist()
    OTHERS[KEYS[name].kind](exploration)
    assert KEYS[name] in selection.by_key
    assert selection.mask().tolist() == (high & HALF).tolist()
    histograms.refresh()
    drawn = state_of(histograms)["columns"][at]
    assert sum(drawn["counts"]) == HALF.sum()  # without its own range only
    assert drawn["range"] == [0.5, None]
    histograms._receive({"kind": "clear", "column": at})
    assert selection.mask().tolist() == HALF.tolist()


@pytest.mark.parametrize("name", KEYS)
def test_a_chip_removes_its_own_filter(exploration, name):
    selection, chips = exploration.selection, ChipsView(exploration)
    OTHERS[KEYS[name].kind](exploration)
    selection.set(name, NumberRange(name, 0.5, None))
    chips.refresh()
    keys = [chip["key"] for chip in state_of(chips)["chips"]]
    assert len(set(keys)) == 2
    chips._receive({"kind": "remove", "key": keys[0]})
    assert list(selection.by_key) == [name]
    chips._receive({"kind": "remove", "key": keys[1]})
    assert not selection.filters
