"""Overviews are small, escaped, and have the colors of their page."""

from __future__ import annotations

import html
import json
import re

import pandas as pd

from laion_dask.display.grid import PAGED_ROWS, STATIC_ROWS, Grid, cut
from laion_dask.display.overview import Displayed, Overview

HOSTILE = "</td><script>alert(1)</script>\u202e\x00'\"&"
SEEN = "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\u0000&#39;&#34;&amp;"


def test_every_text_of_an_overview_is_escaped_and_visible():
    frame = pd.DataFrame({HOSTILE: [HOSTILE, "b"]}, index=pd.Index([HOSTILE, "x"], name=HOSTILE))
    overview = Overview(
        HOSTILE,
        {HOSTILE: HOSTILE, "unknown": None},
        code=f"first\n{HOSTILE}",
        grids=[Grid.of(frame, heading=HOSTILE), Grid.of(frame, heading=HOSTILE, is_folded=True)],
        notes=[HOSTILE],
        more=[HOSTILE],
    )
    page = overview.html(is_sortable=True)
    assert page.count(SEEN) == 2 + 2 + 2 * 5 + 2, "each text, once each time it was given"
    assert f"<pre>first\n{SEEN}</pre>" in page and "unknown" not in page
    assert page.count("<script") == 1 and "\u202e" not in page and "\x00" not in page
    text = overview.text()
    assert "\u202e" not in text and "\\u202e" in text and "unknown" not in text


def test_only_web_addresses_become_links():
    overview = Overview(
        "x", {"a": "A", "b": "B"}, links={"a": "https://host/", "b": "javascript:alert(1)"}
    )
    assert '<a href="https://host/"' in overview.html() and "javascript" not in overview.html()


def test_an_overview_has_no_color_of_its_own():
    page = Overview("x", {"a": 1}, code="c", grids=[Grid(("a",), (("1",),), 1)]).html()
    style = page[page.index("<style>") : page.index("</style>")]
    assert "#" not in style and "white" not in style.replace("white-space", "")
    assert len(page) < 4000


def test_long_values_are_cut():
    page = Overview("x", {"a": "y" * 10_000}, code="z" * 10_000).html()
    assert "y" * 300 + "…" in page and "z" * 4000 + "…" in page and len(page) < 8000


def attribute(page: str, name: str):
    found = re.search(rf"data-{name}='([^']*)'", page)
    return json.loads(html.unescape(found[1]))


def test_rows_beyond_the_static_ones_are_data_and_no_markup():
    n = 3000
    values = [HOSTILE, *map(str, range(1, n))]
    overview = Overview(grids=[Grid.of(pd.DataFrame({"text": values, "n": range(n)}))])
    assert "data-" not in overview.html() and "<script" not in overview.html()
    page = overview.html(is_sortable=True)
    assert page.count("<tr>") == STATIC_ROWS + 1 and "2,900 rows more" in page
    paged = attribute(page, "paged")
    assert paged == [[str(i), f"{i:,}"] for i in range(STATIC_ROWS, PAGED_ROWS)]
    late = pd.DataFrame({"text": ["a"] * STATIC_ROWS + [HOSTILE]})
    page = Overview(grids=[Grid.of(late)]).html(is_sortable=True)
    assert page.count("<script") == 1 and "'\"&" not in page
    assert attribute(page, "paged")[0][0].startswith("</td><script>alert(1)")


def test_long_rows_are_fewer():
    """An output of 20 kB is enough for a notebook, whatever the names of 200 columns are."""
    names = [f"{i} {'<&' * 60}" for i in range(200)]
    grid = Grid.of(pd.DataFrame({"name": names, "dtype": "x", "n": range(200)}))
    page = Overview(grids=[grid]).html()
    assert len(page) < 20_000
    n = len(grid.static)
    assert 10 < n < 100 and f"{200 - n} rows more" in page and page.count("<tr>") == n + 1
    assert [row[0] for row in (*grid.static, *grid.paged)] == [cut(name) for name in names]


def test_ranks_sort_by_the_exact_values():
    """As pandas sorts them, also where the shown text or a float would not tell values apart."""
    big = 2**62
    columns = {
        "whole": pd.array([big + 1, big, None, big + 2], "Int64"),
        "real": [0.12344, 0.12341, float("nan"), float("inf")],
        "flag": [True, False, True, False],
    }
    grid = Grid.of(pd.DataFrame(columns))
    assert grid.ranks == {0: (2, 1, None, 3), 1: (2, 1, None, 3), 2: (2, 1, 2, 1)}
    assert [row[1] for row in grid.rows] == ["0.1234", "0.1234", "-", "inf"]


def test_a_wide_table_is_not_paged_beyond_a_reasonable_size():
    wide = pd.DataFrame({f"c{i}": ["x" * 200] * 1000 for i in range(40)})
    assert len(Overview(grids=[Grid.of(wide)]).html(is_sortable=True)) < 1_000_000
    assert len(Grid.of(wide).paged) < 40


def test_no_rows_and_no_columns_are_legal():
    for frame in (pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame(index=[1, 2])):
        overview = Overview(grids=[Grid.of(frame)])
        assert "<table" in overview.html(is_sortable=True) and isinstance(overview.text(), str)


def test_an_object_shows_its_parameters_by_default():
    from dataclasses import dataclass, field

    @dataclass
    class Spec(Displayed):
        name: str
        empty: tuple = ()
        secret: bytes = field(default=b"x", repr=False)

    page = Spec("<b>")._repr_html_()
    assert "Spec" in page and "&lt;b&gt;" in page and "secret" not in page and "empty" not in page
