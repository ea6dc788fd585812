"""The tidy table: its columns, its text in Markdown and HTML, and what it suppresses."""

from __future__ import annotations

import html
import pickle
import re

import numpy as np
import pandas as pd
import pytest

from laion_dask.errors import OptionError
from laion_dask.stats import Table
from laion_dask.stats.table import COLUMNS, suppressed, table

HOSTILE = [
    "<script>alert(1)</script>",
    "a | b",
    "back\\slash \\| pipe",
    "`code` and ```fence```",
    "[link](javascript:alert(1)) ![image](http://x/y.png)",
    "line\nbreak\r\nand\x00null",
    "\u202eright to left\u2066",
    "$$\\href{x}{y}$$",
    "**bold** __under__ ~~gone~~ #title",
    "&lt;b&gt; &amp;",
    "</td></tr></table>",
    "'\"><img src=x onerror=alert(1)>",
    "www.evil.example http://x.example/y HTTPS://Z a@b.example",
    "",
]


#: Number of nonempty columns of `hostile_table`.
SHOWN = 5


def hostile_table() -> Table:
    return table(
        {"group": text, "n": i, "statistic": "rates", "rate": i / 20, "method": "Wilson"}
        for i, text in enumerate(HOSTILE)
    )


def test_columns_are_in_their_order_and_whole_numbers_whole():
    found = table(
        [
            {"method": "m", "extra": 1.5, "hi": 1.0, "n": 3, "statistic": "s", "k": 2},
            {"method": "m", "extra": 2.5, "hi": 1.0, "n": 4, "statistic": "s", "k": None},
        ]
    )
    filled = [name for name in found if found[name].notna().any()]
    assert filled == ["statistic", "n", "k", "hi", "extra", "method"]
    assert {"term", "group", "threshold", "rate", "lo"} <= set(found)
    assert found["n"].dtype == "int64" and found["k"].dtype == "Int64"
    assert isinstance(found, Table) and isinstance(found[found["n"] > 3], Table)
    assert [c for c in found if c in COLUMNS] == [c for c in COLUMNS if c in found]
    assert "term" in table([]) and len(table([])) == 0


def rows_of_markdown(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("|")]


def test_markdown_has_one_line_a_row_and_as_many_cells_as_columns():
    found = hostile_table()
    lines = rows_of_markdown(found.to_markdown())
    assert len(lines) == len(found) + 2
    assert found.to_markdown().count("\n") == len(lines) - 1
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == SHOWN + 1
    assert lines[1] == "| :--- | :--- | ---: | ---: | :--- |"


def rendered(cell: str) -> str:
    """What a reader of Markdown sees: escapes removed from punctuation, entities decoded."""
    return html.unescape(re.sub(r"\\([\\`*_\[\]|#~!$./@])", r"\1", cell))


def test_markdown_shows_the_text_and_nothing_of_it_acts():
    text = hostile_table().to_markdown()
    plain = re.sub(r"\\[\\`*_\[\]|#~!$]", "", text)
    for sign in ("<", ">", "`", "*", "[", "]", "~", "#", "!", "$"):
        assert sign not in plain.replace("| :--- | :--- | ---: | ---: | :--- |", "")
    assert not re.search(r"(?i)www\.|://|\w@", text)  # GitHub turns these into links
    for line, hostile in zip(rows_of_markdown(text)[2:], HOSTILE, strict=True):
        cell = re.split(r"(?<!\\)(?:\\\\)*\| ", line)[2].strip()
        if hostile.isprintable():
            assert rendered(cell) == hostile.strip()
    assert "\\u202e" in rendered(text) and "\u202e" not in text


def test_html_is_escaped():
    shown = hostile_table()._repr_html_()
    cells = re.findall(r"<td><bdi[^>]*>(.*?)</bdi></td>", shown, flags=re.DOTALL)
    assert len(cells) == SHOWN * len(hostile_table())
    assert not any("<" in cell or ">" in cell for cell in cells)
    assert html.unescape(cells[1]) == HOSTILE[0]
    assert shown.count("</table>") == 1 and "<script" not in shown and "<img" not in shown
    named = table([{"<b>column</b>": 1, "a|b": 2}])
    assert "&lt;b&gt;column" in named._repr_html_()
    assert "a\\|b" in named.to_markdown() and "<b>" not in named.to_markdown()


def test_numbers_are_told_short():
    found = table(
        [
            {"n": 1_234_567, "rate": 0.123456, "value": 123456.789, "flagged": True},
            {"n": 2, "rate": np.nan, "value": -0.0000123456, "flagged": False},
        ]
    )
    lines = rows_of_markdown(found.to_markdown())
    assert lines[2] == "| 1,234,567 | 0.1235 | 123,457 | yes |"
    assert lines[3] == "| 2 | - | -1.235e-05 | no |"
    assert ">-</bdi>" in found._repr_html_()


def test_long_tables_say_how_many_rows_are_not_shown():
    found = table({"n": i} for i in range(1234))
    assert "1,134 rows more" in found._repr_html_()
    assert found._repr_html_().count("<tr>") == 101
    assert len(rows_of_markdown(found.to_markdown())) == 1236


def test_few_rows_are_suppressed_and_counted():
    found = table({"group": str(n), "n": n, "rate": 0.5} for n in (5, 29, 30, 31, 0))
    kept = suppressed(found, 30)
    assert kept["n"].tolist() == [30, 31] and kept.n_suppressed == 3
    assert kept.attrs["min_n"] == 30 and kept.index.tolist() == [0, 1]
    assert kept.to_markdown().endswith("\n3 results based on fewer than 30 rows are suppressed.")
    assert "3 results based on fewer than 30 rows" in kept._repr_html_()
    assert suppressed(found[:1], 30).to_markdown().count("1 result based") == 1
    none = suppressed(found, 0)
    assert len(none) == 5 and none.n_suppressed == 0
    assert "suppressed" not in none.to_markdown()
    unknown = suppressed(table([{"n": None, "value": 1.0}, {"n": 3, "value": 2.0}]), 30)
    assert len(unknown) == 1  # results without a row count stay
    assert suppressed(table([{"value": 1.0}]), 30).n_suppressed == 0


def test_the_counts_stay_with_the_table():
    kept = suppressed(table({"statistic": "s", "n": n} for n in (5, 50, 60)), 30)
    kept.attrs["rows"] = {"read": 115}
    for other in (kept.of("s"), kept[kept["n"] > 50], kept.head(1), kept.sort_values("n")):
        assert isinstance(other, Table)
        assert other.n_suppressed == 1 and other.attrs["rows"] == {"read": 115}
    again = pickle.loads(pickle.dumps(kept))
    assert isinstance(again, Table) and again.equals(kept) and again.attrs == kept.attrs
    assert table([]).n_suppressed == 0


def test_the_results_of_one_statistic_say_what_it_left_out_and_no_other_did():
    rows = [("rates", 5), ("rates", 50), ("curve", 50), ("cooccurrence", 1), ("cooccurrence", 60)]
    whole = suppressed(table({"statistic": s, "n": n} for s, n in [*rows, *rows[3:4]]), 30)
    assert whole.n_suppressed == 3
    left_out = {name: whole.of(name).n_suppressed for name in ("rates", "curve", "cooccurrence")}
    assert left_out == {"rates": 1, "curve": 0, "cooccurrence": 2}
    assert "suppressed" not in whole.of("curve").to_markdown()


def test_one_statistic_of_several():
    both = table(
        [
            {"statistic": "rates", "term": "x", "n": 9, "rate": 0.5},
            {"statistic": "describe", "n": 9, "value": 3.0},
            {"statistic": "rates", "term": "y", "n": 8, "rate": 0.25},
        ]
    )
    rates = both.of("rates")
    assert rates["term"].tolist() == ["x", "y"] and "value" not in rates
    assert rates["n"].dtype == "int64" and rates["lo"].isna().all()
    assert rates.index.tolist() == [0, 1]
    with pytest.raises(OptionError, match="Did you mean 'rates'"):
        both.of("rate")
    with pytest.raises(OptionError, match="no statistic 'rates'"):
        table([]).of("rates")


def test_tables_laid_end_to_end():
    parts = [hostile_table(), table([{"statistic": "other", "value": 1.0, "n": 7}])]
    whole = pd.concat(parts, ignore_index=True)
    assert isinstance(whole, Table) and len(whole) == len(HOSTILE) + 1
    assert len(rows_of_markdown(whole.to_markdown())) == len(whole) + 2
    assert whole.of("other")["value"].tolist() == [1.0]


def test_an_empty_table_is_told():
    empty = hostile_table().iloc[:0]
    assert rows_of_markdown(empty.to_markdown())[0].startswith("| statistic |")
    assert empty._repr_html_().count("<tr>") == 1
    table([]).to_markdown(), table([])._repr_html_()


def test_printed_text_is_no_wider_than_a_cell_of_a_notebook():
    methods = ["Wilson; ratio: Katz log interval against the rest"] * 2
    numbers = {f"a_long_name_{i}": [0.123456, 12345.6] for i in range(12)}
    named = {"term": ["punsafe > 0.5"] * 2, "group": ["en", "de"], "n": [40, 50]}
    printed = repr(table(pd.DataFrame({**named, **numbers, "method": methods})))
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 120
    assert sum("punsafe > 0.5    en" in line for line in lines) == printed.count("term group") == 2
    assert lines[-1] == f"method: {methods[0]}"
    assert all(name in printed for name in numbers)
    alone = repr(table([{"term": "x" * 200, "n": 1, "method": "exact"}]))
    assert "x" * 200 in alone and "exact" in alone and "method:" not in alone
