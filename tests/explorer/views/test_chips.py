"""Chips show the filters in their order, as text, and remove them."""

import numpy as np
import pyarrow as pa
from support.explorations import exploration_of, state_of
from support.shards import laion_table

from laion_dask.explorer.embedding_filters import Region, Score
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.views.chips import ChipsView

ODD = "<b>\u202ewidth</b>"


def test_chips_show_and_remove_filters(tmp_path):
    table = laion_table(50)
    table = table.rename_columns([ODD if name == "WIDTH" else name for name in table.column_names])
    exploration = exploration_of(tmp_path, table)
    selection = exploration.selection
    view = ChipsView(exploration)
    panel = view.panel
    assert state_of(view) == {"chips": [], "error": "", "refused": ""}
    selection.set("similarity", NumberRange("similarity", 0.2, None))
    selection.set(ODD, NumberRange(ODD, None, 900))
    selection.set("height", NumberRange("height", 10, 900))
    view.refresh()
    labels = [chip["label"] for chip in state_of(view)["chips"]]
    assert labels == ["similarity from 0.2", "<b>\\u202ewidth</b> below 900", "height 10 to 900"]
    keys = [chip["key"] for chip in state_of(view)["chips"]]
    view._receive({"kind": "remove", "key": keys[1]})
    view._receive({"kind": "remove", "key": "no such key"})
    view._receive({"kind": "remove", "key": [keys[0]]})
    assert list(selection.by_key) == ["similarity", "height"]
    view._receive({"kind": "clear"})
    view.refresh()
    assert not selection.filters and state_of(view)["chips"] == []
    assert view.panel is panel  # no new widget


def test_a_typed_condition_is_a_filter_or_says_what_is_wrong(tmp_path):
    exploration = exploration_of(tmp_path, laion_table(50))
    selection = exploration.selection
    view = ChipsView(exploration)
    view._receive({"kind": "condition", "text": " width + height > 900 "})
    view._receive({"kind": "condition", "text": "url.contains('shop')"})
    frame = exploration.frame.compute()
    is_shop = frame["url"].str.contains("shop").fillna(False)
    expected = (frame["width"] + frame["height"] > 900) & is_shop
    assert selection.n == expected.sum() > 0
    assert [one.label for one in selection.filters] == [
        "width + height > 900",
        "url.contains('shop')",
    ]
    view._receive({"kind": "condition", "text": "widht > 3"})
    assert "'width'" in state_of(view)["error"] and len(selection.filters) == 2
    view._receive({"kind": "condition", "text": "width >"})
    assert state_of(view)["error"] and len(selection.filters) == 2
    view._receive({"kind": "condition", "text": "  "})
    assert state_of(view)["error"] == "" and len(selection.filters) == 2


def test_a_question_by_a_row_is_called_by_its_caption_if_it_may_be_shown(tmp_path):
    table = laion_table(50)
    texts = ["a <b>red</b> bird that sings in a tree all day", "a nude", None, *["x"] * 47]
    at = table.schema.names.index("TEXT")
    table = table.set_column(at, "TEXT", pa.array(texts))
    at = table.schema.names.index("punsafe")
    table = table.set_column(at, "punsafe", pa.array([0.1, 0.9, 0.1, *[0.1] * 47]))
    exploration = exploration_of(tmp_path, table)
    view, scores = ChipsView(exploration), np.full(50, 0.5, np.float32)
    for row, words in enumerate(
        ["“a <b>red</b> bird that …”", "row 1 of shard 0", "row 2 of shard 0"]
    ):
        exploration.selection.set("ask", Score((1.0,), 0.25, scores, row=(0, row)))
        view.refresh()
        assert [one["label"] for one in state_of(view)["chips"]] == [
            f"like {words}, at least 0.250"
        ]


def test_a_region_is_called_by_how_it_was_drawn():
    points = np.zeros((1, 2), np.float32)
    box = Region(((0, 0), (1, 0), (1, 2), (0, 2)), None, points)
    lasso = Region(((0, 0), (1, 0), (1, 2), (0, 3)), None, points)
    assert (box.label, lasso.label) == ("box on the map", "region drawn on the map")


def test_an_error_goes_when_the_filters_change(tmp_path):
    exploration = exploration_of(tmp_path, laion_table(50))
    view = ChipsView(exploration)
    exploration.selection.subscribe(lambda _: view.refresh())  # as the explorer does
    for act in (
        lambda: exploration.selection.set("width", NumberRange("width", 300, None)),
        lambda: view._receive({"kind": "condition", "text": "width > 400"}),
        lambda: view._receive({"kind": "clear"}),
    ):
        view._receive({"kind": "condition", "text": "widht > 3 "})
        state = state_of(view)
        assert "'width'" in state["error"] and state["refused"] == "widht > 3 "
        act()
        assert (state_of(view)["error"], state_of(view)["refused"]) == ("", "")
