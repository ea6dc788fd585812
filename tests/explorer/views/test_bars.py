"""Bars against pandas' own counts; clicks against the verb `where`."""

import json

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of, state_of

from laion_dask.explorer.filters import Condition, NumberRange
from laion_dask.explorer.views.bars import MAX_SELECTED, TOP, BarsView, top_codes


@pytest.fixture
def exploration(tmp_path):
    return exploration_of(tmp_path)


@pytest.fixture
def view(exploration):
    return BarsView(exploration)


def group(view, name: str) -> dict:
    return state_of(view)["columns"][at(view, name)]


def at(view, name: str) -> int:
    return [column.name for column in view._columns].index(name)


def code_of(view, name: str, label: str) -> int:
    return next(item["code"] for item in group(view, name)["items"] if item["label"] == label)


def test_counts_are_those_of_pandas_and_ignore_their_own_filter(exploration, view):
    data = exploration.frame.compute()
    exploration.selection.set("similarity", NumberRange("similarity", 0.2, 0.4))
    view._receive(
        {"kind": "toggle", "column": at(view, "language"), "code": code_of(view, "language", "de")}
    )
    in_range = (data["similarity"] >= 0.2) & (data["similarity"] < 0.4)
    expected = data[in_range]["language"].value_counts()
    shown = {item["label"]: item["n"] for item in group(view, "language")["items"]}
    missing = data[in_range]["language"].isna().sum()
    assert shown == {**expected.to_dict(), "(no value)": missing}
    domains = {item["label"]: item["n"] for item in group(view, "domain")["items"]}
    kept = exploration.frame.laion.where(
        "similarity >= 0.2 and similarity < 0.4 and language == 'de'"
    ).compute()
    of_domain = kept["url"].str.contains("shop.co.uk").sum()
    assert domains["shop.co.uk"] == of_domain


def test_several_values_and_rows_without_one_are_selected(exploration, view):
    number = at(view, "language")
    for label in ("de", "fr", "(no value)"):
        code = code_of(view, "language", label)
        view._receive({"kind": "toggle", "column": number, "code": code})
    data = exploration.frame.compute()["language"]
    assert exploration.selection.n == (data.isin(["de", "fr"]) | data.isna()).sum()
    pressed = [item["label"] for item in group(view, "language")["items"] if item["selected"]]
    assert sorted(pressed) == ["(no value)", "de", "fr"]
    for label in ("de", "fr", "(no value)"):
        code = code_of(view, "language", label)
        view._receive({"kind": "toggle", "column": number, "code": code})
    assert not exploration.selection.filters


def test_a_value_is_selected_by_its_name_and_then_shown(tmp_path):
    hosts = [f"http://host{i}.com/x" for i in range(40) for _ in range(50 - i)]
    exploration = exploration_of(tmp_path, pa.table({"URL": hosts}))
    view = BarsView(exploration)
    number = at(view, "domain")
    state = group(view, "domain")
    assert [item["n"] for item in state["items"]] == [50 - i for i in range(TOP)]
    assert (state["others"], state["other_rows"]) == (28, sum(50 - i for i in range(TOP, 40)))
    view._receive({"kind": "add", "column": number, "label": " host39.com "})
    assert exploration.selection.n == 11
    state = group(view, "domain")
    assert [item["label"] for item in state["items"]][-1] == "host39.com"
    assert state["items"][-1]["selected"] and len(state["items"]) == TOP + 1
    assert state["others"] == 27
    view._receive({"kind": "add", "column": number, "label": "<b>nowhere</b>"})
    assert group(view, "domain")["note"] == "No sampled row has '<b>nowhere</b>'."
    view._receive({"kind": "clear", "column": number})
    assert group(view, "domain")["note"] == "" and not exploration.selection.filters


def test_close_values_are_named_until_the_selection_changes(tmp_path):
    hosts = ["shop1.example"] * 5 + ["shop12.example"] * 3 + ["blog2.example"] * 2 + ["\u202eshop"]
    exploration = exploration_of(tmp_path, pa.table({"URL": [f"http://{one}/" for one in hosts]}))
    view = BarsView(exploration)
    exploration.selection.subscribe(lambda _: view.refresh())  # as the explorer does
    number = at(view, "domain")
    for typed, named in {
        "SHOP1": " Close: shop1.example, shop12.example.",
        "blog2.exmple": " Close: blog2.example.",
        "nowhere.org": "",
    }.items():
        view._receive({"kind": "add", "column": number, "label": typed})
        assert group(view, "domain")["note"] == f"No sampled row has {typed!r}.{named}"
        assert group(view, "domain")["refused"] == typed
    exploration.selection.set("url", Condition("url.contains('shop')"))
    assert group(view, "domain")["note"] == group(view, "domain")["refused"] == ""
    values = json.loads(view.panel.columns)[number]["values"]
    assert values[:2] == ["shop1.example", "shop12.example"]
    assert all(one.isprintable() for one in values)


def test_at_most_some_values_are_selected(tmp_path):
    hosts = [f"http://host{i}.com/x" for i in range(MAX_SELECTED + 5)]
    exploration = exploration_of(tmp_path, pa.table({"URL": hosts}))
    view = BarsView(exploration)
    for code in range(MAX_SELECTED + 5):
        view._receive({"kind": "toggle", "column": at(view, "domain"), "code": code})
    assert exploration.selection.n == MAX_SELECTED
    assert "At most 50" in group(view, "domain")["note"]


def test_hostile_labels_are_escaped_text(tmp_path):
    labels = ["<script>alert(1)</script>", "\u202ede", "", "x" * 5000, "line\nbreak"]
    table = pa.table({"URL": ["http://a.com"] * 5, "language": labels})
    view = BarsView(exploration_of(tmp_path, table))
    shown = {item["label"] for item in group(view, "language")["items"]}
    assert {"<script>alert(1)</script>", "\\u202ede", "(empty)", "line\\u000abreak"} < shown
    assert max(map(len, shown)) < 200


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "toggle", "column": 0},
        {"kind": "toggle", "column": 0, "code": 10_000},
        {"kind": "toggle", "column": 0, "code": -2},
        {"kind": "toggle", "column": -1, "code": 0},
        {"kind": "add", "column": 0, "label": 5},
        {"kind": "add", "column": 0, "label": " "},
    ],
)
def test_other_messages_change_nothing(exploration, view, message):
    view._receive(message)
    assert not exploration.selection.filters


def test_no_categories_and_zero_rows(tmp_path):
    view = BarsView(exploration_of(tmp_path, pa.table({"similarity": pa.array([], pa.float32())})))
    assert state_of(view)["columns"] == []
    (tmp_path / "b").mkdir()
    empty = pa.table({"URL": pa.array([], pa.string()), "LANGUAGE": pa.array([], pa.string())})
    view = BarsView(exploration_of(tmp_path / "b", empty))
    assert not any(column["items"] for column in state_of(view)["columns"])


def test_top_codes_are_those_of_a_stable_sort():
    draw = np.random.default_rng(0)
    for size in (0, 1, 5, 12, 13, 60, 500):
        counts = draw.integers(0, 6, size)
        order = sorted(range(size), key=lambda code: (-counts[code], code))
        assert top_codes(counts, 12) == [code for code in order if counts[code]][:12]
