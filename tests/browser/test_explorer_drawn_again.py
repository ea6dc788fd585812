"""One explorer drawn again: in a second tab, and in a cell that moves."""

from __future__ import annotations

from support.explorer_page import ExplorerPage
from support.lab_page import LabPage

CELLS = [
    """import laion_dask as ld
frame = ld.read_shards("demo-corpus/embedded/metadata")
emb = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
explorer = frame.laion.explore(emb)
explorer""",
    "everything = explorer.wait().selection.n",
]
ELSEWHERE = "This explorer is shown in another tab."


def narrow(explorer: ExplorerPage, condition: str) -> int:
    """Type a condition; the number of selected rows then."""
    explorer.page.bring_to_front()
    before = explorer.selected
    field = explorer.page.locator(".chips input:visible").first
    field.fill(condition)
    field.press("Enter")
    return explorer.wait_for_other_than(before)


def test_a_second_tab_takes_the_explorer_and_gives_it_back(lab_page: LabPage, watch):
    lab_page.open_new("two_tabs.ipynb", CELLS)
    first = ExplorerPage(lab_page.page).wait()
    narrow(first, "width >= 400")
    lab_page.save()
    page = lab_page.page.context.new_page()
    watch.on(page)
    page.goto(lab_page.server.address("two_tabs.ipynb", workspace="second"))
    second = ExplorerPage(page).wait()
    assert second.selected == kernel_count(lab_page)
    lab_page.page.get_by_text(ELSEWHERE).wait_for()
    both = narrow(second, "height >= 300")
    assert kernel_count(lab_page) == both
    lab_page.page.get_by_role("button", name="Show it here").click()
    first.wait()
    assert first.selected == both
    page.get_by_text(ELSEWHERE).wait_for()
    assert narrow(first, "width >= 600") == kernel_count(lab_page) < both
    page.close()


def kernel_count(lab_page: LabPage) -> int:
    """The number of selected rows that the kernel knows."""
    return int(lab_page.run_in_new_cell("print(explorer.selection.n)"))


def test_an_explorer_stays_when_its_cell_moves(lab_page: LabPage):
    lab_page.open_new("moved.ipynb", CELLS)
    explorer = ExplorerPage(lab_page.page).wait()
    selected = narrow(explorer, "width >= 400")
    lab_page.page.locator(".jp-Notebook .jp-Cell .jp-InputPrompt").first.click()
    lab_page.menu("Edit", "Move Cell Down")
    explorer.wait()
    assert explorer.selected == selected
    assert narrow(explorer, "height >= 300") == kernel_count(lab_page) < selected
