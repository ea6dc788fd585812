"""The explorer of a data set without safety scores; and what is typed into its range fields."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect
from support.explorer_page import ExplorerPage
from support.explorer_server import explorer_server

N = 300
SHARES = np.linspace(0, 1, N).astype("float32")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    columns = {
        "caption": [f"a bird {n}" for n in range(N)],
        "similarity": SHARES,
        "nsfw_score_gantman": SHARES,
        "width": np.arange(N),
    }
    path = tmp_path_factory.mktemp("unscored") / "0.parquet"
    pq.write_table(pa.table(columns), path)
    with explorer_server(str(path)) as served:
        yield served


@pytest.fixture
def explorer(page, watch, address, screenshot) -> Iterator[ExplorerPage]:
    page.goto(address)
    yield ExplorerPage(page).wait()
    screenshot(page)


@pytest.mark.parametrize(("tab", "row"), [("Gallery", ".ld-tile"), ("Table", ".tabulator-row")])
def test_an_empty_page_says_why_and_shows_the_rows_from_the_keyboard(explorer, tab, row):
    page = explorer.page
    page.get_by_role("tab", name=tab).click()
    place = page.locator(".ld-empty").filter(visible=True)
    expect(place).to_contain_text("because there is no column punsafe")
    expect(place).to_contain_text("--rename nsfw_score_gantman=punsafe")
    place.get_by_role("button", name=f"Show the {N} rows without a score").press("Enter")
    page.locator(row).first.wait_for()
    expect(place).to_have_count(0)
    hide = page.locator(".ld-hidden button").filter(visible=True)
    expect(hide).to_be_focused()
    hide.press("Enter")
    expect(place).to_have_count(1)


def test_a_range_field_says_in_words_what_is_wrong(explorer):
    page, shares = explorer.page, SHARES
    low, high = (page.get_by_label(f"similarity {end}", exact=True) for end in ("from", "below"))
    low.fill("a third")
    low.press("Enter")
    expect(low).to_have_accessible_description("not a number")
    expect(low).to_have_attribute("aria-invalid", "true")
    expect(high).to_have_attribute("aria-invalid", "false")
    assert explorer.selected == N
    low.fill("0.4")
    low.press("Enter")
    above = int((shares >= np.float32(0.4)).sum())
    assert explorer.wait_for_other_than(N) == above
    high.fill("0.2")
    high.press("Enter")
    assert explorer.wait_for_other_than(above) == 0
    expect(high).to_have_accessible_description("empty range")
    high.fill("0,5")
    high.press("Enter")
    selected = int(((shares >= np.float32(0.4)) & (shares < np.float32(0.5))).sum())
    assert explorer.wait_for_other_than(0) == selected
    expect(high).to_have_accessible_description("")
    high.press("Escape")
    assert explorer.wait_for_other_than(selected) == N
