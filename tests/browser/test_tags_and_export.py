"""Rows ticked and written by the keyboard alone, and the code that selects them again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pyarrow.dataset as ds
import pytest
from playwright.sync_api import expect
from support.explorer_page import ExplorerPage
from support.explorer_server import explorer_server
from support.shards import laion_table, write_shard

N = 400


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """The page of rows that are all safe enough to be shown."""
    shard = tmp_path_factory.mktemp("ticked") / "00000.parquet"
    write_shard(shard, laion_table(N, odd=False).drop(["punsafe"]))
    with explorer_server(str(shard)) as address:
        yield address


@pytest.fixture
def explorer(page, watch, address, screenshot) -> Iterator[ExplorerPage]:
    page.goto(address)
    yield ExplorerPage(page).wait()
    screenshot(page)


def open_tab(page, title: str) -> None:
    """Move to a tab by the arrow keys."""
    tab = page.get_by_role("tab", name=title, exact=True)
    page.locator("[role=tab][aria-selected=true]").focus()
    while tab.get_attribute("aria-selected") != "true":
        page.keyboard.press("ArrowRight")
    expect(tab).to_be_focused()


def rows_of(code: str) -> int:
    """Run copied code in a process of its own; the number of rows that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(re.search(r"([\d,]+) rows", done.stdout)[1].replace(",", ""))


def test_ticked_rows_become_a_set_and_a_filter(explorer, tmp_path):
    page = explorer.page
    show_all_rows(page)
    page.locator(".ld-tile[tabindex='0']").focus()
    for key in ("Space", "ArrowRight", "ArrowRight", "Space"):
        page.keyboard.press(key)
    expect(page.locator(".ld-tile[aria-selected=true]")).to_have_count(2)
    open_tab(page, "Tags")
    page.get_by_label("Name of the set").fill("birds")
    page.keyboard.press("Enter")
    expect(page.locator(".sets .set")).to_have_text(re.compile("^birds.*2"))
    file = tmp_path / "birds.json"
    page.get_by_label("File of birds").fill(str(file))
    page.keyboard.press("Enter")
    expect(page.locator(".tab .note").filter(has_text=str(file))).to_be_visible()
    assert file.is_file()
    page.get_by_role("button", name="Use as filter: select only the rows of birds").press("Enter")
    assert explorer.wait_for_other_than(N) == 2
    assert str(file) in explorer.code("recipe")
    assert rows_of(explorer.code("Python")) == 2


def show_all_rows(page) -> None:
    """Show rows without a score of their safety, which are hidden at first."""
    page.locator(".ld-hidden button").filter(visible=True).press("Enter")
    page.locator(".ld-tile").first.wait_for()


def test_the_keyboard_alone_selects_and_exports(explorer, tmp_path):
    page = explorer.page
    page.get_by_label("similarity from", exact=True).fill("0.3")
    page.keyboard.press("Enter")
    selected = explorer.wait_for_other_than(N)
    assert 0 < selected < N
    open_tab(page, "Export")
    page.get_by_role("button", name="Count all rows").press("Enter")
    facts, result = page.locator(".tab[aria-label=Export] pre").all()
    expect(facts).to_contain_text(f"{selected:,}")
    folder = tmp_path / "exported"
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_enabled()
    page.get_by_label("New folder").fill(str(folder))
    page.keyboard.press("Enter")
    expect(result).to_contain_text("The recipe:")
    assert ds.dataset(sorted(folder.rglob("*.parquet"))).count_rows() == selected
    assert (tmp_path / "exported.recipe.yaml").is_file()
