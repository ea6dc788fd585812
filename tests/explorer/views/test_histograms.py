"""Histograms against a count of each bin in pandas; ranges against the verb `where`."""

import json

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of, state_of

from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.views.histograms import MAX_HISTOGRAMS, HistogramsView


@pytest.fixture
def exploration(tmp_path):
    return exploration_of(tmp_path)


@pytest.fixture
def view(exploration):
    return HistogramsView(exploration)


def layout_of(view) -> dict:
    return {column["label"]: column for column in json.loads(view.panel.columns)}


def at(view, name: str) -> int:
    return list(layout_of(view)).index(name)


def test_counts_are_those_of_pandas(exploration, view):
    data = exploration.frame.compute()
    exploration.selection.set("width", NumberRange("width", 500, 1500))
    view.refresh()
    kept = data[(data["width"] >= 500) & (data["width"] < 1500)]
    for name, column in layout_of(view).items():
        state = state_of(view)["columns"][at(view, name)]
        edges = np.array(column["edges"])
        every = data[name].dropna().to_numpy(float)
        assert column["counts"] == np.histogram(every, edges)[0].tolist(), name
        assert column["missing"] == data[name].isna().sum()
        rows = (data if name == "width" else kept)[name]
        assert state["counts"] == np.histogram(rows.dropna().to_numpy(float), edges)[0].tolist()
        assert state["missing"] == rows.isna().sum()


def test_published_thresholds_are_marked_in_order(view):
    marks = layout_of(view)["similarity"]["thresholds"]
    assert [mark["at"] for mark in marks] == [0.26, 0.28, 0.3]
    assert layout_of(view)["punsafe"]["thresholds"] == [{"name": "LAION-Aesthetics", "at": 0.5}]


@pytest.mark.parametrize("name", ["similarity", "punsafe", "width"])
def test_dragged_bins_select_the_rows_that_they_count(exploration, view, name):
    number, column = at(view, name), layout_of(view)[name]
    last = len(column["counts"]) - 1
    for first, stop in [(2, 5), (0, 3), (last - 2, last), (4, 4)]:
        view._receive({"kind": "bins", "column": number, "first": first, "last": stop})
        selected = exploration.selection
        assert selected.n == sum(column["counts"][first : stop + 1]), (first, stop)
        where = selected.get(name).where
        assert len(exploration.frame.laion.where(where)) == selected.n


def test_number_fields_select_and_all_bins_select_everything(exploration, view):
    number = at(view, "height")
    view._receive({"kind": "range", "column": number, "low": 100.0, "high": 900})
    assert exploration.selection.get("height") == NumberRange("height", 100, 900)
    view.refresh()
    assert state_of(view)["columns"][number]["range"] == [100, 900]
    view._receive({"kind": "range", "column": number, "low": None, "high": 900.5})
    assert exploration.selection.get("height").where == "height < 900.5"
    view._receive({"kind": "range", "column": number, "low": None, "high": None})
    assert exploration.selection.get("height") is None
    view._receive({"kind": "bins", "column": number, "first": 0, "last": 10_000})
    assert exploration.selection.get("height") is None
    view._receive({"kind": "range", "column": number, "low": 5, "high": None})
    view._receive({"kind": "clear", "column": number})
    assert not exploration.selection.filters


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "clear"},
        {"kind": "clear", "column": 99},
        {"kind": "clear", "column": "0"},
        {"kind": "bins", "column": 0, "first": "0", "last": None},
        {"kind": "range", "column": 0, "low": "__import__('os')", "high": [1]},
        {"kind": "range", "column": 0, "low": float("nan"), "high": float("inf")},
    ],
)
def test_other_messages_change_nothing(exploration, view, message):
    view._receive(message)
    assert not exploration.selection.filters


def test_odd_columns_have_histograms(tmp_path):
    n = 30
    table = pa.table(
        {
            "URL": ["http://a.example/1"] * n,
            "constant": pa.array([3.5] * n),
            "only null": pa.array([None] * n, pa.float64()),
            "infinite": pa.array([np.inf, -np.inf, np.nan, *range(n - 3)], pa.float64()),
            "<img src=x onerror=alert(1)>": pa.array([None, *range(n - 1)], pa.int16()),
            "\u202egnp": pa.array(np.linspace(0, 1, n)),
        }
    )
    view = HistogramsView(exploration_of(tmp_path, table))
    columns = layout_of(view)
    assert "<img src=x onerror=alert(1)>" in columns and "\\u202egnp" in columns
    for name, column in columns.items():
        assert sum(column["counts"]) + column["missing"] == n, name
        assert np.isfinite(column["edges"]).all()


def test_zero_rows_and_many_columns(tmp_path):
    table = pa.table({"URL": pa.array([], pa.string()), "similarity": pa.array([], pa.float32())})
    view = HistogramsView(exploration_of(tmp_path, table))
    assert sum(layout_of(view)["similarity"]["counts"]) == 0
    (tmp_path / "many").mkdir()
    many = pa.table({f"score_{i}": pa.array(np.arange(5.0)) for i in range(40)})
    view = HistogramsView(exploration_of(tmp_path / "many", many))
    assert len(layout_of(view)) == MAX_HISTOGRAMS


def test_an_unchanged_state_is_not_sent_again(exploration, view):
    sent = []
    view.panel.param.watch(sent.append, "state")
    view.refresh()
    exploration.selection.set("width", NumberRange("width", 500, None))
    view.refresh()
    view.refresh()
    assert len(sent) == 1 and len(sent[0].new) < 20_000
