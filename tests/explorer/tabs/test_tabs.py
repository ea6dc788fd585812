"""The tabs without a browser: messages from the page, what they change, and what is drawn."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.explorations import exploration_of, state_of
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.explorer.as_code import as_python, as_recipe
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.jobs import Jobs
from laion_dask.explorer.tabs import bias, compare
from laion_dask.explorer.tabs.bias import BiasView
from laion_dask.explorer.tabs.compare import CompareView
from laion_dask.explorer.tabs.diff_tables import diff_state
from laion_dask.explorer.tabs.export_tab import ExportView
from laion_dask.explorer.tabs.export_tables import audit_state
from laion_dask.explorer.tabs.tags import TagsView, file_name
from laion_dask.explorer.views.head import HeadView


@pytest.fixture
def exploration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return exploration_of(tmp_path)


@pytest.fixture
def jobs():
    jobs = Jobs()
    yield jobs
    jobs.close()


def finish(jobs: Jobs) -> None:
    """Wait for the jobs, and deliver their results as the page would."""
    while jobs.current is not None and not jobs.current.has_ended:
        jobs.current.wait(60)
    jobs.deliver()


def select(exploration, low: float = 0.3) -> int:
    exploration.selection.set("similarity", NumberRange("similarity", low, None))
    return exploration.selection.n


# -- tags ------------------------------------------------------------------------------------------


def test_ticked_rows_become_a_set_a_filter_and_a_file(exploration, tmp_path):
    view = TagsView(exploration)
    exploration.ticked.change(add=[3, 5, 8])
    assert state_of(view)["n_ticked"] == 3
    view._receive({"kind": "add", "what": "ticked", "name": " A "})
    assert state_of(view)["note"] == "3 rows added to A."
    assert len(exploration.ticked) == 0
    (one,) = state_of(view)["sets"]
    assert (one["name"], one["count"], one["is_shown"]) == ("A", "3 rows", False)
    view._receive({"kind": "show", "name": "A"})
    assert exploration.selection.positions().tolist() == [3, 5, 8]
    exploration.ticked.change(add=[5, 9])
    view._receive({"kind": "add", "what": "ticked", "name": "A"})
    assert "1 row added to A; 1 were in it already" in state_of(view)["note"]
    assert exploration.selection.positions().tolist() == [3, 5, 8, 9]  # what is shown has grown
    view._receive({"kind": "save", "name": "A", "path": ""})
    assert str(tmp_path / "tags-A.json") in state_of(view)["note"]
    kept = exploration.frame.laion.tagged(tmp_path / "tags-A.json")
    assert kept["row"].compute().tolist() == exploration.sample.row[[3, 5, 8, 9]].tolist()
    view._receive({"kind": "remove", "name": "A"})
    assert exploration.selection.n == exploration.sample.n and state_of(view)["sets"] == []
    view._receive({"kind": "open", "path": "tags-A.json"})
    assert state_of(view)["sets"][0]["count"] == "4 rows"


def test_the_selection_can_be_added_and_nothing_is_refused_in_words(exploration):
    view = TagsView(exploration)
    n = select(exploration)
    view.refresh()
    assert state_of(view)["n_selected"] == n
    view._receive({"kind": "add", "what": "selected", "name": "<b>\u202e"})
    (one,) = state_of(view)["sets"]
    assert one["label"] == "<b>\\u202e" and one["path"] == "tags-b.json"
    for message, part in (
        ({"kind": "add", "what": "ticked", "name": "A"}, "No row is ticked"),
        ({"kind": "add", "what": "selected", "name": " "}, "name is"),
        ({"kind": "open", "path": "absent.json"}, "cannot be read"),
    ):
        view._receive(message)
        assert part in state_of(view)["note"] and state_of(view)["is_error"]
    for odd in ({}, {"kind": "show"}, {"kind": "save", "name": 3}, {"kind": "show", "name": "no"}):
        view._receive(odd)
        assert not state_of(view)["is_error"]


def test_a_set_that_is_saved_while_it_filters_is_named_by_its_file(exploration, tmp_path):
    view = TagsView(exploration)
    exploration.ticked.change(add=[3, 5])
    view._receive({"kind": "add", "what": "ticked", "name": "A"})
    view._receive({"kind": "show", "name": "A"})
    assert "tags-A.json" not in as_recipe(exploration) + as_python(exploration)
    view._receive({"kind": "save", "name": "A", "path": "tags-A.json"})
    file = str(tmp_path / "tags-A.json")
    assert file in as_recipe(exploration) and file in as_python(exploration)
    exploration.ticked.change(add=[8])
    view._receive({"kind": "add", "what": "ticked", "name": "A"})  # the file lacks this row
    assert file not in as_recipe(exploration)


def test_names_of_files():
    assert file_name("../../etc/passwd") == "tags-etc-passwd.json"
    assert file_name("\u202e<>") == "tags-set.json"
    assert file_name("\u00e9t\u00e9 1") == "tags-\u00e9t\u00e9-1.json"


def test_a_sample_of_some_rows_says_how_many_of_a_set_it_has(tmp_path):
    exploration = exploration_of(tmp_path, sample=100)
    view = TagsView(exploration)
    exploration.tag_sets.add("all", np.zeros(400, int), np.arange(400))
    view.refresh()
    assert state_of(view)["sets"][0]["count"] == "400 rows, 100 of them in the sample"


# -- bias ------------------------------------------------------------------------------------------


def test_bias_compares_the_selection_with_the_rest(exploration, jobs):
    view = BiasView(exploration, jobs)
    assert "Every row is selected" in state_of(view)["sentence"]
    n = select(exploration)
    view.refresh()
    finish(jobs)
    state = state_of(view)
    assert f"The {n:,} selected rows" in state["sentence"]
    titles = [section["title"] for section in state["sections"]]
    assert "unsafe images" in titles and "gender terms in captions" in titles
    data = exploration.frame.compute()
    chosen = data[data["similarity"] >= 0.3]
    (unsafe,) = next(one for one in state["sections"] if one["title"] == "unsafe images")["rows"]
    known = chosen["punsafe"].notna().sum()
    assert unsafe["first"]["of"] == f"{(chosen['punsafe'] >= 0.5).sum():,} of {known:,}"
    exploration.selection.clear()
    view.refresh()
    assert state_of(view)["sections"] == []


def test_captions_are_searched_once_and_again_after_a_cancel(exploration, jobs):
    view = BiasView(exploration, jobs)
    select(exploration)
    view.refresh()
    view._search.job.cancel()
    finish(jobs)
    view.refresh()
    finish(jobs)
    first, terms = view._search.job, exploration.caption_terms
    view.refresh()
    assert view._search.job is first and first.state == "done" and terms is not None
    other = CompareView(exploration, jobs)
    other.refresh()
    assert other._search.job is None and exploration.caption_terms is terms


def test_no_captions_and_no_scores(tmp_path, jobs):
    exploration = exploration_of(tmp_path, pa.table({"n": list(range(100))}))
    view = BiasView(exploration, jobs)
    exploration.selection.set("n", NumberRange("n", 10, None))
    view.refresh()
    assert state_of(view)["sections"] == [] and state_of(view)["waiting"] == ""


# -- compare ---------------------------------------------------------------------------------------


def test_two_remembered_selections_share_what_pandas_says(exploration, jobs):
    view = CompareView(exploration, jobs)
    data = exploration.frame.compute()
    exploration.selection.set("similarity", NumberRange("similarity", None, 0.35))
    view._receive({"kind": "keep", "name": "low"})
    select(exploration, 0.3)
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
    select(exploration)
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


# -- export ----------------------------------------------------------------------------------------


def test_the_selection_is_counted_audited_and_written(exploration, jobs, tmp_path):
    view = ExportView(exploration, jobs)
    n = select(exploration)
    view.refresh()
    view._receive({"kind": "count"})
    finish(jobs)
    state = state_of(view)
    assert f"= {n} kept" in state["facts"] and "as Parquet" in state["facts"]
    assert [row[-2:] for row in state["funnel"]["rows"]] == [[f"{n:,}", "0"]]
    view._receive({"kind": "audit"})
    finish(jobs)
    assert "are excluded" in state_of(view)["audit"]["note"]
    assert state_of(view)["stale"] == ""
    assert "The rows alone: about" in state["facts"]
    assert state["here"] == f"{tmp_path}/"
    view._receive({"kind": "write", "folder": "out", "format": "csv"})
    assert state_of(view)["note"] == "Writing…"
    finish(jobs)
    state = state_of(view)
    assert state["note"] == ""
    assert str(tmp_path / "out") in state["result"] and "out.recipe.yaml" in state["result"]
    manifest = json.loads((tmp_path / "out" / "_recipe.json").read_text())
    assert manifest["counts"]["kept"] == n and manifest["format"] == "csv"
    kept = ld.recipe(tmp_path / "out.recipe.yaml").run(exploration.frame, tmp_path / "again")
    assert kept.rows.kept == n
    exploration.selection.clear()
    view.refresh()
    assert "earlier selection" in state_of(view)["stale"]


def test_what_cannot_be_written_is_refused_before_a_row_is_read(exploration, jobs, tmp_path):
    view = ExportView(exploration, jobs)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "b.recipe.yaml").write_text("x")
    for folder, chosen, part in (
        ("full", "parquet", "not an empty folder"),
        ("full/mine.txt", "parquet", "not an empty folder"),
        ("b", "parquet", "b.recipe.yaml exists"),
        ("", "parquet", "No folder"),
        ("s3://bucket/x", "parquet", "on this machine"),
        ("new", "no such", "format"),
        ("new", "webdataset", "format"),
    ):
        view._receive({"kind": "write", "folder": folder, "format": chosen})
        assert part in state_of(view)["note"], folder
        assert state_of(view)["is_error"] and jobs.current is None
    assert "webdataset" not in state_of(view)["formats"]
    assert sorted(p.name for p in (tmp_path / "full").iterdir()) == ["mine.txt"]


def test_a_failed_write_says_so_beside_the_button_and_no_earlier_success(
    exploration, jobs, tmp_path, monkeypatch
):
    view, head = ExportView(exploration, jobs), HeadView(jobs)
    write = {"kind": "write", "format": "csv"}
    view._receive({**write, "folder": str(tmp_path / "a")})
    finish(jobs)
    assert state_of(view)["result"]

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("laion_dask.explorer.tabs.export_tab.export", full)
    view._receive({**write, "folder": str(tmp_path / "b")})
    with pytest.raises(OSError, match="no space"):
        jobs.current.wait(60)
    jobs.deliver()
    state = state_of(view)
    assert (state["result"], state["is_error"]) == ("", True)
    assert state["note"] == "Could not write the selected rows: OSError: no space left"
    head.fail("of a view")
    monkeypatch.undo()
    view._receive({**write, "folder": str(tmp_path / "c")})
    finish(jobs)
    state = state_of(view)
    assert state["result"] and (state["note"], state["is_error"]) == ("", False)
    assert state_of(head)["error"] == ""
    view._receive({**write, "folder": str(tmp_path / "a")})
    state = state_of(view)
    assert (state["result"], state["is_error"]) == ("", True) and "exists already" in state["note"]


def test_no_filter_excludes_nobody(exploration, jobs):
    view = ExportView(exploration, jobs)
    view._receive({"kind": "audit"})
    assert "No filter" in state_of(view)["note"] and jobs.current is None


def test_an_audit_of_an_earlier_selection_is_marked_as_old(exploration, jobs):
    view = ExportView(exploration, jobs)
    select(exploration)
    view._receive({"kind": "audit"})
    finish(jobs)
    assert state_of(view)["audit"] and state_of(view)["stale"] == ""
    select(exploration, 0.35)
    view.refresh()
    assert "earlier selection" in state_of(view)["stale"]


def test_an_audit_shows_the_groups_that_differ_most_first():
    row = {"axis": "language", "n": 100, "lo": 0.1, "hi": 0.2, "verdict": "excluded more"}
    rates = {"(all)": 0.2, "a": 0.3, "<b>": 0.9, "c": 0.1, "d": np.nan}
    table = pd.DataFrame([{**row, "group": name, "rate": rate} for name, rate in rates.items()])
    table.loc[table["group"] == "c", "verdict"] = "inconclusive"
    whole = {**row, "axis": "orientation", "group": "(no term)", "rate": 0.2, "verdict": None}
    table = pd.concat([table, pd.DataFrame([whole])], ignore_index=True)  # was not tested
    table.attrs["min_n"] = 30
    state = audit_state(table)
    assert [one[0] for one in state["rows"]] == ["language: <b>", "language: a"]
    assert "2 of the 3 groups" in state["note"] and "20.0 % are excluded" in state["note"]
