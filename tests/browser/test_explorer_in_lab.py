"""The explorer in a notebook of JupyterLab: mouse, keys, copied code, cancel, restart, reload."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from support.explorer_page import ExplorerPage
from support.lab_page import LabPage
from support.watched_page import Watch

CELLS = [
    "import laion_dask as ld",
    """frame = ld.read_shards("demo-corpus/embedded/metadata")
emb = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
explorer = frame.laion.explore(emb)
explorer""",
]


@pytest.fixture(scope="module")
def watched() -> Watch:
    """Faults of the page that all tests of this file share."""
    return Watch()


@pytest.fixture(scope="module")
def explored(browser, browser_context_args, lab, watched) -> Iterator[LabPage]:
    """A notebook that shows the explorer, for all tests of this file."""
    context = browser.new_context(**browser_context_args)
    page = context.new_page()
    watched.on(page)
    lab_page = LabPage(page, lab)
    lab_page.open_new("explored.ipynb", CELLS)
    yield lab_page
    lab_page.leave()
    context.close()


@pytest.fixture(autouse=True)
def kept_picture(explored, screenshot) -> Iterator[None]:
    """A screenshot after each test, also one that failed."""
    yield
    screenshot(explored.page)


@pytest.fixture
def explorer(explored, watched) -> Iterator[ExplorerPage]:
    """The explorer without filters."""
    explorer = ExplorerPage(explored.page).wait()
    explorer.clear()
    yield explorer
    assert watched.faults == [], "\n".join(watched.faults)


def rows_of(explored: LabPage, code: str) -> int:
    """Run copied code in a new cell; the number of rows that it prints."""
    printed = explored.run_in_new_cell(code)
    return int(re.search(r"([\d,]+) rows", printed)[1].replace(",", ""))


def test_box_lasso_and_copied_code_select_the_same_rows(explored, explorer):
    everything = explorer.selected
    explorer.drag(explorer.map("Box"), (0.3, 0.3), (0.7, 0.7))
    box = explorer.wait_for_other_than(everything)
    assert 0 < box < everything
    assert rows_of(explored, explorer.code("Python")) == box
    explorer.drag(explorer.map("Lasso"), (0.2, 0.5), (0.5, 0.15), (0.6, 0.5), (0.5, 0.8))
    lasso = explorer.wait_for_other_than(box)
    assert 0 < lasso < everything
    assert rows_of(explored, explorer.code("Python")) == lasso


def test_a_range_and_a_value_select_the_same_rows_as_the_filter_language(explored, explorer):
    everything = explorer.selected
    low = explorer.page.get_by_label("similarity from", exact=True)
    low.click()
    explorer.page.keyboard.type("0.3")
    explorer.page.keyboard.press("Enter")
    selected = explorer.wait_for_other_than(everything)
    filtered = 'print(len(frame.laion.where("similarity >= 0.3")), "rows")'
    assert rows_of(explored, filtered) == selected
    assert rows_of(explored, explorer.code("Python")) == selected
    recipe = explorer.code("recipe")
    assert "0.3" in recipe and "steps:" in recipe
    explorer.click("Undo")
    assert explorer.wait_for_other_than(selected) == everything


def test_the_keyboard_alone_selects_and_copies(explored, explorer):
    everything = explorer.selected
    page = explorer.page
    stage = page.locator(".ld-map-stage")
    stage.focus()
    for key in ("+", "+", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    selected = explorer.wait_for_other_than(everything)
    assert 0 < selected < everything
    python = page.locator(".page").get_by_role("button", name="Copy as Python")
    presses = tab_to(page, python)
    assert presses < 200
    page.keyboard.press("Enter")
    text = page.locator(".head .code textarea")
    expect(text).to_have_value(re.compile("in_region"))
    page.keyboard.press("Escape")
    expect(text).to_be_hidden()
    expect(python).to_be_focused()


def tab_to(page, control) -> int:
    """Press Shift+Tab until the control has the focus; how often."""
    for presses in range(200):
        if control.evaluate("(node) => node.getRootNode().activeElement === node"):
            return presses
        page.keyboard.press("Shift+Tab")
    return 200


def test_cancel_cancels(explored, explorer):
    explored.run_in_new_cell(
        "def count(job):\n"
        "    import time\n"
        "    for i in range(100_000):\n"
        "        time.sleep(0.05)\n"
        "        job.progress(i, 100_000)\n"
        'job = explorer._jobs.start("count", count)'
    )
    explorer.show()
    explorer.page.locator(".head .job .label", has_text=re.compile("^count")).wait_for()
    explorer.click("Cancel")
    explorer.wait_until_idle()
    assert explored.run_in_new_cell("print(job.state)").strip() == "canceled"


def test_it_works_again_after_a_restart_of_the_kernel_and_a_reload_of_the_page(explored, watched):
    explored.open_new("restarted.ipynb", CELLS)
    explored.restart_and_run_all()
    explorer = ExplorerPage(explored.page).wait()
    everything = explorer.selected
    explorer.drag(explorer.map("Box"), (0.3, 0.3), (0.7, 0.7))
    box = explorer.wait_for_other_than(everything)
    explored.save()
    explored.page.reload()
    explored.wait_until_idle()
    explorer = ExplorerPage(explored.page).wait()  # in the saved output; no cell has run
    assert explorer.selected == box
    explorer.drag(explorer.map("Lasso"), (0.2, 0.5), (0.5, 0.15), (0.6, 0.5), (0.5, 0.8))
    lasso = explorer.wait_for_other_than(box)
    assert rows_of(explored, explorer.code("Python")) == lasso
    # A message on its way to the page before the reload names models that the new one has not.
    faults = [fault for fault in watched.faults if "isn't known" not in fault]
    assert faults == [], "\n".join(faults)
