"""What a notebook shows of frames: their origin, without reading anything."""

from __future__ import annotations

import os
import shutil

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

import laion_dask as ld
from laion_dask.accessor import _register_with_ipython
from laion_dask.frame.frame_overview import frame_overview

HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def refuse(*_, **__):
    raise AssertionError("computed")


@pytest.fixture
def frame(write):
    path = write("in/a.parquet", {"URL": ["u", "v"], "TEXT": ["a", "b"], HOSTILE: [1, 2]})
    write("in/b.parquet", {"URL": ["w"], "TEXT": ["c"], HOSTILE: [3]})
    frame = ld.read_shards(os.path.dirname(path))
    shutil.rmtree(os.path.dirname(path))
    with dask.config.set(scheduler=refuse):
        yield frame


def lines(overview) -> dict[str, str]:
    return {name: str(value) for name, value in overview.facts.items() if value is not None}


def columns(overview) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in overview.grids[0].rows}


def test_a_frame_shows_its_shards_columns_and_filters(frame):
    overview = frame_overview(frame)
    assert lines(overview) | {"first": "", "shards": ""} == {
        "shards": "",
        "first": "",
        "others": "1 more",
        "dialect": "url-text",
        "rows read": "3, by the footers",
        "partitions": str(frame.npartitions),
    }
    assert columns(overview)["text"] == ("str", "TEXT")
    assert columns(overview)["shard"][1] == "number of the file"
    filtered = frame.laion.where("url != 'u'").assign(text="x", new=1)
    overview = frame_overview(filtered)
    assert lines(overview)["filters"] == "url != 'u'"
    assert columns(overview)["text"][1] == columns(overview)["new"][1] == "computed"
    assert columns(overview)["url"][1] == "URL"
    for page in (overview.html(), filtered.laion._repr_html_()):
        assert "<img" not in page and "\u202e" not in page and len(page) < 16_000
    assert "\u202e" not in overview.text() + repr(frame.laion)


def test_names_in_files_are_not_claimed_after_a_step_that_may_rename(frame):
    renamed = frame.rename(columns={"url": "text", "text": "url"})
    assert frame_overview(renamed).grids[0].head == ("column", "dtype")


def test_a_wide_frame_has_a_small_overview(write):
    path = write("wide.parquet", {f"c{i:04}": [1] for i in range(3000)})
    overview = frame_overview(ld.read_shards(path))
    assert len(overview.html()) < 10_000 and "2,962 more columns." in overview.notes


def test_frames_of_other_origin_are_left_to_dask():
    other = dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1)
    assert frame_overview(other) is None
    assert "does not come from read_shards" in repr(other.laion)


def test_ipython_shows_the_overview_and_dask_other_frames(frame):
    shell = InteractiveShell.instance()
    _register_with_ipython(dd.DataFrame)
    shown, _ = shell.display_formatter.format(frame)
    assert shown["text/html"] == frame_overview(frame).html()
    assert shown["text/plain"] == frame_overview(frame).text()
    other = dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1)
    shown, _ = shell.display_formatter.format(other)
    assert shown["text/html"] == other._repr_html_() and shown["text/plain"] == repr(other)


def test_a_display_that_the_user_has_registered_is_kept():
    shell = InteractiveShell.instance()
    formatter = shell.display_formatter.formatters["text/html"]
    before = formatter.type_printers.pop(dd.DataFrame, None)
    try:
        own = formatter.for_type(dd.DataFrame, lambda frame: "own") or formatter.lookup_by_type(
            dd.DataFrame
        )
        _register_with_ipython(dd.DataFrame)
        assert formatter.lookup_by_type(dd.DataFrame) is own
    finally:
        formatter.type_printers.pop(dd.DataFrame, None)
        if before is not None:
            formatter.for_type(dd.DataFrame, before)


def test_the_accessor_lists_every_method_under_its_task(frame):
    from laion_dask.verbs import VERBS

    text = repr(frame.laion)
    for verb in VERBS.values():
        assert (f"  .{verb.name} " in text) == verb.is_method, verb.name
        if verb.is_method:
            assert verb.does in text
