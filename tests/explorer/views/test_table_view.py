"""The table shows values as text, a page at a time, and keeps nothing in a notebook."""

import json

import numpy as np
import pyarrow as pa
import pytest
from bokeh.core.json_encoder import serialize_json
from bokeh.document import Document
from support.explorations import exploration_of
from support.hostile import ODD
from support.shards import laion_table

from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.views import row_pages
from laion_dask.explorer.views.table import SIZES, TableView
from laion_dask.formatting import printable

NAMES = ["<script>x</script>", "a.b", "__proto__", "c0", "index", "\u202ename"]


@pytest.fixture
def exploration(tmp_path):
    table = laion_table(400)
    for n, name in enumerate(NAMES):
        table = table.append_column(name, pa.array([ODD[(i + n) % len(ODD)] for i in range(400)]))
    return exploration_of(tmp_path, table)


class Watched:
    """A table, and the states of its bar."""

    def __init__(self, exploration) -> None:
        self.view = TableView(exploration)
        self.bars: list[dict] = []
        self.view._bar._send_msg = lambda text: self.bars.append(json.loads(text))

    def send(self, **message) -> None:
        self.view._bar._handle_msg(message)

    @property
    def rows(self):
        """The rows shown, by the names of the frame."""
        names = self.view._sample.names
        value = self.view._rows.value
        return value.rename(columns={f"c{n}": name for n, name in enumerate(names)})


@pytest.fixture
def watched(exploration):
    watched = Watched(exploration)
    watched.send(kind="ready")
    return watched


def test_values_are_text(watched, exploration):
    watched.send(kind="hidden", shown=True)
    watched.send(kind="columns", columns=list(range(len(exploration.sample.names))))
    data = exploration.frame.compute().iloc[:50]
    rows = watched.rows
    assert len(rows) == 50 and rows.index.tolist() == list(range(50))
    for name in ("hash", "width", "shard", "row"):
        expected = [
            "—" if v is None else str(v)
            for v in data[name].astype(object).where(data[name].notna(), None)
        ]
        assert rows[name].tolist() == expected
    for value, text in zip(data["similarity"], rows["similarity"], strict=True):
        assert text == "—" if np.isnan(value) else float(text) == float(f"{value:.5g}")
    for name in NAMES:
        assert all(printable(text) == text for text in rows[name])
    assert rows["a.b"].tolist()[:10] == [printable(text) for text in ODD[1:11]]


def test_every_column_is_plain_text_in_cells_and_titles(watched, exploration):
    document = Document()
    model = watched.view._rows.get_root(document)
    columns = [one for one in model.configuration["columns"] if "field" in one]
    assert len(columns) == len(exploration.sample.names)
    for column in columns:
        assert column["formatter"] == column["titleFormatter"] == "plaintext"
        assert not column.get("headerFilter") and column["headerSort"] is False
        assert "headerTooltip" not in column and "tooltip" not in column
    titles = {column.field: column.title for column in model.columns}
    assert "<script>x</script>" in titles.values() and "\\u202ename" in titles.values()
    assert set(titles) == {f"c{n}" for n in range(len(exploration.sample.names))}
    assert model.editable is False


def test_pages_and_order_over_the_whole_selection(watched, exploration):
    exploration.selection.set("width", NumberRange("width", 300, None))
    watched.view.refresh()
    watched.send(kind="size", size=100)
    watched.send(kind="sort", by="similarity")
    watched.send(kind="page", page=2)
    data = exploration.frame.compute().reset_index(drop=True)
    kept = data[(data["width"] >= 300) & (data["punsafe"] < 0.5)]
    ordered = kept.sort_values("similarity", kind="stable")
    assert watched.rows.index.tolist() == ordered.index.tolist()[100:200]
    bar = watched.bars[-1]
    selected = int((data["width"] >= 300).sum())
    assert (bar["n"], bar["hidden"]) == (len(kept), selected - len(kept))
    assert (bar["page"], bar["size"], bar["sizes"]) == (2, 100, list(SIZES))


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "size", "size": 7},
        {"kind": "size", "size": 10**6},
        {"kind": "columns", "columns": [99]},
        {"kind": "columns", "columns": ["text"]},
        {"kind": "columns"},
        {"kind": "nonsense"},
    ],
)
def test_messages_that_make_no_sense_are_ignored(watched, message):
    n = len(watched.bars)
    watched.send(**message)
    assert len(watched.bars) == n


def test_only_chosen_columns_are_sent(watched, exploration):
    names = exploration.sample.names
    watched.send(kind="columns", columns=[names.index("hash"), names.index("c0")])
    rows = watched.rows
    assert (rows["text"] == "").all() and (rows["hash"] != "").all()
    hidden = watched.view._rows.hidden_columns
    assert {f"c{n}" for n in range(len(names))} - set(hidden) == {
        f"c{names.index(name)}" for name in ("hash", "c0")
    }


def test_ticks_are_shared_and_stay_on_other_pages(watched, exploration):
    watched.view._rows.selection = [0, 2]
    first = watched.rows.index.tolist()
    assert exploration.ticked.positions == {first[0], first[2]}
    watched.send(kind="page", page=2)
    assert watched.view._rows.selection == []
    watched.view._rows.selection = [1]
    second = watched.rows.index.tolist()
    assert exploration.ticked.positions == {first[0], first[2], second[1]}
    watched.send(kind="page", page=1)
    assert watched.view._rows.selection == [0, 2]
    watched.view._rows.selection = [2]
    exploration.ticked.change(add=[first[5]])  # by the gallery
    assert sorted(watched.view._rows.selection) == [2, 5]
    assert exploration.ticked.positions == {first[2], first[5], second[1]}


def test_a_page_of_1000_long_rows_is_a_message_of_bounded_size(tmp_path):
    table = laion_table(1_500, odd=False).to_pandas()
    table["TEXT"], table["URL"], table["punsafe"] = "x" * 5_000, "https://" + "y" * 3_000, 0.1
    watched = Watched(exploration_of(tmp_path, pa.Table.from_pandas(table)))
    watched.send(kind="ready")
    watched.send(kind="size", size=1000)
    assert len(watched.rows) == 1000
    assert len(watched.view._rows.value.to_json(orient="records")) < 480_000
    assert watched.rows["text"].str.len().sum() + watched.rows["url"].str.len().sum() <= 200_000


def test_a_notebook_saves_no_row(watched):
    """Shown a second time, when the table has a page."""
    assert len(watched.rows) == 50
    saved = Document()
    saved.add_root(watched.view.panel.get_root(saved))
    text = serialize_json(saved.to_json())
    assert "un chien" not in text and "shop.co.uk" not in text
    assert "similarity" in text  # names of columns are there


def test_a_table_of_hidden_rows_says_why_instead(tmp_path):
    watched = Watched(exploration_of(tmp_path, laion_table(60).drop(["punsafe"])))
    watched.send(kind="ready")
    empty = watched.bars[-1]["empty"]
    assert empty["button"] == "Show the 60 rows without a score" and not watched.view._rows.visible
    watched.send(kind="hidden", shown=True)
    assert watched.view._rows.visible and len(watched.rows) == 50
    assert watched.bars[-1]["empty"] is None


def test_no_rows(tmp_path):
    watched = Watched(exploration_of(tmp_path, laion_table(10).slice(0, 0)))
    watched.send(kind="ready")
    assert len(watched.rows) == 0 and watched.bars[-1]["n"] == 0


def test_a_long_order_is_computed_in_the_background(watched, exploration, monkeypatch):
    monkeypatch.setattr(row_pages, "_QUICK", 10)
    before = watched.rows.index.tolist()
    watched.send(kind="sort", by="height")
    assert watched.bars[-1]["is_ordering"] and watched.rows.index.tolist() == before
    watched.view._jobs.current.wait(60)
    data = exploration.frame.compute().reset_index(drop=True)
    expected = data[data["punsafe"] < 0.5].sort_values("height", kind="stable").index
    assert watched.rows.index.tolist() == expected.tolist()[:50]
    assert not watched.bars[-1]["is_ordering"]
    watched.view.close()
