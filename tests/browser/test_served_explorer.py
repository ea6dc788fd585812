"""The explorer as a page of its own, over rows whose every text is an attack."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.explorer_page import INJECTED, ExplorerPage
from support.explorer_server import explorer_server

ATTACKS = [
    "<hostile>",
    "<script id=hostile>window.attacked = 1; alert(1)</script>",
    '<img src="/hostile" onerror="window.attacked = 1; alert(1)">',
    '"><svg onload="window.attacked = 1">',
    "</textarea></script><iframe src=javascript:parent.attacked=1></iframe>",
    "javascript:window.attacked=1;alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "[click](javascript:alert(1)) ![](http://hostile.example/pixel)",
    "{{7*7}} ${7*7} $$\\href{javascript:alert(1)}{x}$$ @import url(http://hostile.example)",
    "'); window.attacked = 1; ('",
]


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory) -> Iterator[str]:
    """A page over rows with an attack as every text, and as the name of every other column."""
    n = 400
    texts = [ATTACKS[i % len(ATTACKS)] for i in range(n)]
    columns: dict[str, list] = {
        "URL": [
            f"http://hostile.example/{text}" if i % 3 == 0 else text for i, text in enumerate(texts)
        ],
        "TEXT": texts,
        "LANGUAGE": texts,
        "WIDTH": list(range(n)),
        "HEIGHT": list(range(n)),
        "similarity": [i / n for i in range(n)],
        "punsafe": [0.1] * n,
    }
    for at, name in enumerate(ATTACKS):
        columns[name] = [float(i % (at + 2)) for i in range(n)] if at % 2 else texts
    path = tmp_path_factory.mktemp("hostile") / f"{ATTACKS[0]}.parquet"
    pq.write_table(pa.table(columns), path)
    with explorer_server(str(path)) as address:
        yield address


@pytest.fixture
def explorer(page, watch, hostile_page, screenshot) -> Iterator[ExplorerPage]:
    page.goto(hostile_page)
    yield ExplorerPage(page).wait()
    screenshot(page)


def test_hostile_rows_are_text(explorer):
    page = explorer.page
    everything = explorer.selected
    for group in page.locator(".groups .group").all():
        group.locator("button.value").first.click()
        selected = explorer.wait_for_other_than(everything)
        assert 0 < selected < everything
        assert explorer.code("Python") and explorer.code("recipe")
        explorer.clear()
        assert explorer.wait_for_other_than(selected) == everything
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.locator(".panel.shown").wait_for()
    for field in page.locator(".histograms input").all():
        field.scroll_into_view_if_needed()
    assert page.locator("text=<script id=hostile>").count() > 0
    assert page.evaluate(INJECTED) == []
    assert page.evaluate("() => window.attacked") is None
