"""The tab Export without a browser: counting, auditing and writing the selected rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from support.explorations import finish, select_similar, state_of

import laion_dask as ld
from laion_dask.explorer.tabs.export_tab import ExportView
from laion_dask.explorer.tabs.export_tables import audit_state
from laion_dask.explorer.views.head import HeadView


def test_the_selection_is_counted_audited_and_written(exploration, jobs, tmp_path):
    view = ExportView(exploration, jobs)
    n = select_similar(exploration)
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
    assert state["note"] == "Writing the selected rows failed: OSError: no space left"
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
    select_similar(exploration)
    view._receive({"kind": "audit"})
    finish(jobs)
    assert state_of(view)["audit"] and state_of(view)["stale"] == ""
    select_similar(exploration, 0.35)
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
