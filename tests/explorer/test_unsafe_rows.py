"""Rows that the gallery hides are counted before they are written, and can be left out."""

import json

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of, finish, select_similar, state_of
from support.shards import laion_table

import laion_dask as ld
from laion_dask.explorer.as_code import as_python
from laion_dask.explorer.filters import Condition
from laion_dask.explorer.safe_rows import safe_rows
from laion_dask.explorer.tabs.export_tab import ExportView
from laion_dask.explorer.unsafe_rows import (
    UnsafeRows,
    has_scores,
    only_safe,
    unsafe_in_frame,
    unsafe_in_sample,
)

SCORES = [0.0, 0.49, 0.5, 1.0, -1.0, float("inf"), float("nan"), None]


def with_scores(scores: pa.Array) -> pa.Table:
    table = laion_table(len(scores))
    return table.set_column(table.schema.names.index("punsafe"), "punsafe", scores)


@pytest.mark.parametrize("dtype", [pa.float16(), pa.float32(), pa.float64(), pa.int8()])
def test_the_condition_and_the_counts_are_those_of_the_gallery(tmp_path, dtype):
    values = [0, 1, -1, None, 0] if dtype == pa.int8() else SCORES
    if dtype == pa.float16():
        values = [None if one is None else np.float16(one) for one in values]
    exploration = exploration_of(tmp_path, with_scores(pa.array(values, dtype)))
    sample, frame = exploration.sample, exploration.frame
    hidden = ~safe_rows(sample, "punsafe")
    found = unsafe_in_sample(sample, np.ones(sample.n, bool))
    assert found == unsafe_in_frame(frame, sample.types)
    assert found.n == len(values) and found.hidden == np.count_nonzero(hidden)
    assert found.unsafe == sum(one is not None and one >= 0.5 for one in values)
    assert only_safe(frame)["row"].compute().tolist() == sample.row[~hidden].tolist()
    assert unsafe_in_sample(sample, hidden).n == found.hidden


def test_without_scores_no_row_is_known_to_be_safe(tmp_path, jobs):
    exploration = exploration_of(tmp_path, laion_table(9).drop_columns(["punsafe"]))
    assert not has_scores(exploration.sample)
    assert unsafe_in_sample(exploration.sample, np.ones(9, bool)) == UnsafeRows(9, 0, 9)
    view = ExportView(exploration, jobs)
    assert "no numeric column punsafe" in state_of(view)["unsafe"]
    assert not state_of(view)["can_leave_out"]


def test_unsafe_rows_are_named_and_written_unless_they_are_left_out(tmp_path, jobs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exploration = exploration_of(tmp_path)
    view = ExportView(exploration, jobs)
    select_similar(exploration)
    view.refresh()
    selected = exploration.selection.mask()
    hidden = int(np.count_nonzero(selected & ~safe_rows(exploration.sample, "punsafe")))
    n = int(np.count_nonzero(selected))
    assert 0 < hidden < n
    assert f"Of the {n:,} selected rows, the gallery hides {hidden:,}: " in state_of(view)["unsafe"]
    for folder, leave_out, kept in (("all", False, n), ("safe", True, n - hidden)):
        message = {"kind": "write", "folder": folder, "format": "parquet", "leave_out": leave_out}
        view._receive(message)
        finish(jobs)
        manifest = json.loads((tmp_path / folder / "_recipe.json").read_text())
        assert manifest["counts"]["kept"] == kept
        assert any("punsafe" in text for text in manifest["where"]) == leave_out
        recipe = ld.Recipe.load(tmp_path / f"{folder}.recipe.yaml")
        assert len(recipe.apply(exploration.frame)) == kept
        assert ("left out" in str(recipe.steps[-1].get("why"))) == leave_out


def test_a_sample_says_that_it_is_one_until_all_rows_are_counted(tmp_path, jobs):
    exploration = exploration_of(tmp_path, sample=100)
    view = ExportView(exploration, jobs)
    assert "Of the 100 selected rows of the sample" in state_of(view)["unsafe"]
    assert "all 400 rows of the data set" in state_of(view)["sentence"]
    view._receive({"kind": "count"})
    finish(jobs)
    hidden = unsafe_in_frame(exploration.frame, exploration.sample.types).hidden
    text = state_of(view)["unsafe"]
    assert f"Of the 400 selected rows, the gallery hides {hidden:,}" in text
    select_similar(exploration)
    view.refresh()
    assert "of the sample" in state_of(view)["unsafe"]


def test_progress_of_a_job_does_not_count_the_sample_again(tmp_path, jobs, monkeypatch):
    calls = []

    def count(sample, selected):
        calls.append(selected)
        return unsafe_in_sample(sample, selected)

    monkeypatch.setattr("laion_dask.explorer.tabs.export_tab.unsafe_in_sample", count)
    exploration = exploration_of(tmp_path, sample=100)
    view = ExportView(exploration, jobs)
    for _ in range(3):
        view.refresh()
    assert len(calls) == 1
    select_similar(exploration)
    view.refresh()
    assert len(calls) == 2
    assert state_of(view)["unsafe"].startswith(f"Of the {exploration.selection.n} selected rows")


def test_figures_are_old_once_the_list_of_a_condition_has_changed(tmp_path, jobs):
    exploration = exploration_of(tmp_path)
    widths = [*map(str, sorted(exploration.sample.columns["width"].values.tolist()))]
    listed = tmp_path / "widths.txt"
    listed.write_text("\n".join(widths[:100]))
    exploration.selection.set("width", Condition(f"width in file({str(listed)!r})"))
    view = ExportView(exploration, jobs)
    view._receive({"kind": "count"})
    finish(jobs)
    n = exploration.selection.n
    assert state_of(view)["stale"] == "" and f"the {n:,} selected rows" in state_of(view)["unsafe"]
    listed.write_text(widths[-1])
    as_python(exploration)  # reads the list again
    view.refresh()
    assert 0 < exploration.selection.n < n
    assert "earlier selection" in state_of(view)["stale"]
    assert f"the {exploration.selection.n:,} selected" in state_of(view)["unsafe"]


def test_what_is_safe_is_said_to_be_safe():
    assert UnsafeRows(3, 0, 0).text("selected rows").startswith("None of the 3 selected rows")
    text = UnsafeRows(5, 1, 0).text("selected rows")
    assert "hides 1: 1 unsafe (punsafe of at least 0.5). It is written too" in text
    assert UnsafeRows(5, 1, 2).text("selected rows").endswith("unless you leave them out.")
    assert UnsafeRows(0, 0, 0).text("selected rows") == "No row is selected."
