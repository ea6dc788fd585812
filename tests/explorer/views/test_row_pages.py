"""Pages of rows against pandas; rows that are not known to be safe are hidden and counted."""

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of
from support.shards import laion_table

from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.safe_rows import safe_rows
from laion_dask.explorer.views.row_pages import RowPages, nth_true
from laion_dask.io.images.thumbnails import doubt


@pytest.fixture
def exploration(tmp_path):
    table = laion_table(400)
    scores = table["punsafe"].to_pylist()
    scores[:6] = [0.0, 0.5, 1.0, -1.0, float("inf"), None]
    column = table.schema.names.index("punsafe")
    return exploration_of(tmp_path, table.set_column(column, "punsafe", pa.array(scores)))


def everything(pages: RowPages) -> list[int]:
    rows: list[int] = []
    for page in range(1, pages.n_pages + 1):
        pages.turn(page)
        rows += pages.positions().tolist()
    return rows


def test_rows_are_hidden_unless_their_score_is_known_and_low(exploration):
    exploration.selection.set("width", NumberRange("width", 300, None))
    data = exploration.frame.compute()
    pages = RowPages(exploration.selection, 48)
    kept = data["width"].fillna(0) >= 300
    scores = data["punsafe"].astype(float).to_numpy(float, na_value=np.nan)
    safe = np.array([doubt(score) is None for score in scores])
    assert safe_rows(exploration.sample, "punsafe").tolist() == safe.tolist()
    assert safe[0] and not safe[1:6].any()
    assert everything(pages) == np.flatnonzero(kept & safe).tolist()
    assert (pages.n, pages.n_hidden) == ((kept & safe).sum(), (kept & ~safe).sum())
    assert pages.receive({"kind": "hidden", "shown": True})
    assert everything(pages) == np.flatnonzero(kept).tolist()
    assert (pages.n, pages.n_hidden) == (kept.sum(), (kept & ~safe).sum())


def test_without_the_column_no_row_is_safe(tmp_path):
    exploration = exploration_of(tmp_path, laion_table(60).drop(["punsafe"]))
    pages = RowPages(exploration.selection, 48)
    assert (pages.n, pages.n_hidden, pages.n_pages) == (0, 60, 1)
    assert pages.positions().tolist() == []
    assert RowPages(exploration.selection, 48, "language").n == 0  # not a number


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("name", ["similarity", "text", "width", "hash"])
def test_the_order_is_that_of_all_selected_rows(exploration, name, descending):
    pages = RowPages(exploration.selection, 50)
    assert pages.receive({"kind": "hidden", "shown": True})
    assert pages.receive({"kind": "sort", "by": name})
    assert pages.receive({"kind": "direction", "descending": descending})
    data = exploration.frame.compute().reset_index(drop=True)
    key = data[name].map(lambda text: text.encode(), na_action="ignore") if name == "text" else None
    values = data.assign(key=data[name] if key is None else key)
    expected = values.sort_values("key", ascending=not descending, kind="stable")
    assert everything(pages) == expected.index.tolist()


def test_ranked_rows_keep_their_order_and_the_selection(exploration):
    pages = RowPages(exploration.selection, 48)
    safe = np.flatnonzero(safe_rows(exploration.sample, "punsafe"))
    hits = np.array([safe[9], safe[3], 1, safe[20]])
    scores = np.zeros(exploration.sample.n, np.float32)
    scores[hits] = [0.9, 0.8, 0.7, 0.6]
    exploration.selection.set("ask", Score((1.0,), 0.5, scores))
    pages.refresh()
    assert everything(pages) == [safe[9], safe[3], safe[20]] and pages.n_hidden == 1
    assert pages.bar("shown")["default_order"] == "by the question"
    pages.receive({"kind": "sort", "by": "row"})
    assert everything(pages) == sorted([safe[9], safe[3], safe[20]])
    exploration.selection.set("ask", None)
    pages.refresh()
    assert pages.n == len(safe)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "page"},
        {"kind": "page", "page": "2"},
        {"kind": "page", "page": True},
        {"kind": "sort", "by": "no such column"},
        {"kind": "sort", "by": ["text"]},
        {"kind": ["page"]},
    ],
)
def test_messages_that_make_no_sense_are_ignored(exploration, message):
    pages = RowPages(exploration.selection, 48)
    assert not pages.receive(message)


def test_page_numbers_are_kept_in_range(exploration):
    pages = RowPages(exploration.selection, 48)
    pages.receive({"kind": "page", "page": 10**9})
    assert pages.page == pages.n_pages and len(pages.positions())
    pages.receive({"kind": "page", "page": -5})
    assert pages.page == 1


def test_the_nth_true_values_of_a_mask(monkeypatch):
    from laion_dask.explorer.views import row_pages

    monkeypatch.setattr(row_pages, "_BLOCK", 16)
    draw = np.random.default_rng(3)
    for share in (0.0, 0.05, 0.5, 1.0):
        mask = draw.random(100) < share
        for start in range(0, 101, 7):
            expected = np.flatnonzero(mask)[start : start + 9]
            assert nth_true(mask, start, start + 9).tolist() == expected.tolist()
