"""The tab Compare without a browser: two sets of rows, and another data set."""

from __future__ import annotations

import pyarrow as pa
from support.explorations import finish, select_similar, state_of
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.tabs import bias, compare
from laion_dask.explorer.tabs.bias import BiasView
from laion_dask.explorer.tabs.compare import CompareView
from laion_dask.explorer.tabs.diff_tables import diff_state


def test_two_remembered_selections_share_what_pandas_says(exploration, jobs):
    view = CompareView(exploration, jobs)
    data = exploration.frame.compute()
    exploration.selection.set("similarity", NumberRange("similarity", None, 0.35))
    view._receive({"kind": "keep", "name": "low"})
    select_similar(exploration, 0.3)
    view.refresh()
    finish(jobs)
    state = state_of(view)
    assert state["second"] == "kept:low"
    both = ((data["similarity"] >= 0.3) & (data["similarity"] < 0.35)).sum()
    assert f"They share {both:,} rows" in state["sentence"]
    exploration.tag_sets.add("A", [0, 0], [1, 2])
    view._receive({"kind": "first", "value": "tags:A"})
    assert "set: A (2 rows of the sample)" in state_of(view)["sentence"]
    exploration.tag_sets.remove("A")
    view.refresh()
    assert state_of(view)["first"] == "selected"
    view._receive({"kind": "second", "value": "selected"})
    assert "two different sets" in state_of(view)["sentence"]
    view._receive({"kind": "keep", "name": ""})
    assert "no name" in state_of(view)["note"]
    for odd in ("no such", ["all"], {"all": 1}):
        view._receive({"kind": "first", "value": odd})
    assert state_of(view)["first"] == "selected"


def test_large_samples_are_counted_in_the_background(exploration, jobs, monkeypatch):
    small = CompareView(exploration, jobs), BiasView(exploration, jobs)
    select_similar(exploration)
    for view in small:
        view.refresh()
    finish(jobs)
    expected = [state_of(view) for view in small]
    monkeypatch.setattr(compare, "MAX_IN_CALLBACK", 10)
    monkeypatch.setattr(bias, "MAX_IN_CALLBACK", 10)
    large = CompareView(exploration, jobs), BiasView(exploration, jobs)
    for view in large:
        view.refresh()
        view.refresh()
        assert state_of(view)["sections"] == []
    finish(jobs)
    assert [state_of(view) for view in large] == expected


def test_another_data_set_is_compared_by_diff(exploration, jobs, tmp_path):
    table = laion_table(400).slice(0, 250)
    (tmp_path / "other").mkdir()
    path = write_shard(tmp_path / "other" / "0.parquet", table)
    view = CompareView(exploration, jobs)
    view._receive({"kind": "diff", "path": str(tmp_path / "other"), "by": "url"})
    assert state_of(view)["is_comparing"]
    finish(jobs)
    expected = ld.diff(exploration.frame, ld.read_shards([path]), by="url")
    shown = state_of(view)["diff"]
    assert shown == diff_state(expected, "url")
    n = expected.rows.loc["a", "only_here"]
    assert shown["sentence"].startswith(f"{n} rows only here, 0 only in the other, ")
    rows, *_, rates = shown["tables"]
    assert rows["rows"][0] == ["all rows", "400", "250"]
    assert (
        rates["title"] == "Rates that differ"
        and len(rates["rows"]) <= 40
        and all(len(row) == 3 for row in rates["rows"])
    )
    assert not state_of(view)["is_comparing"]
    view._receive({"kind": "diff", "path": "", "by": "url"})
    assert "No folder" in state_of(view)["note"]


def test_values_that_differ_are_counted_by_column(tmp_path):
    table = laion_table(60, odd=False)
    urls = pa.array([f"https://a.de/{n}" for n in range(60)])
    table = table.set_column(table.schema.names.index("URL"), "URL", urls)
    width = pa.array([n + 1 for n in table["WIDTH"].to_pylist()], table["WIDTH"].type)
    at = table.schema.names.index("WIDTH")
    paths = [write_shard(tmp_path / "a.parquet", table)]
    other = table.set_column(at, "WIDTH", width).append_column("\u202e", table["URL"])
    paths.append(write_shard(tmp_path / "b.parquet", other))
    found = ld.diff(*(ld.read_shards([path]) for path in paths), by="url", statistics=False)
    state = diff_state(found, "url")
    (_, changed) = state["tables"]
    assert changed["rows"] == [["width", "60", "100 %"]]
    assert "Columns only in the other: \\u202e." in state["sentence"]


def test_keys_that_occur_several_times_are_named(tmp_path):
    tables = [pa.table({"URL": urls}) for urls in (["a", "a", "b", "c"], ["a", "b", "b", "d", "e"])]
    paths = [write_shard(tmp_path / f"{at}.parquet", one) for at, one in enumerate(tables)]
    found = ld.diff(*(ld.read_shards([path]) for path in paths), by="url", statistics=False)
    sentence = diff_state(found, "url")["sentence"]
    assert sentence.startswith(
        "1 row only here, 2 only in the other, 3 here and 3 in the other with"
    )
    assert "Some keys occur several times; the first row of each is compared." in sentence
