"""The tab Tags without a browser: messages from the page, what they change, and what is drawn."""

from __future__ import annotations

import numpy as np
from support.explorations import exploration_of, select_similar, state_of

from laion_dask.explorer.as_code import as_python, as_recipe
from laion_dask.explorer.tabs.tags import TagsView, file_name


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
    n = select_similar(exploration)
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
