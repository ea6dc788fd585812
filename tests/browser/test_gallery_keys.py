"""The gallery from the keyboard: moving between tiles, ticking, looking for similar rows."""

from playwright.sync_api import expect
from support.explorer_page import ExplorerPage

from laion_dask.explorer.views.ask import K


def test_keys_move_tick_and_look_for_similar_rows(page, watch, demo_address, screenshot):
    page.goto(demo_address)
    explorer = ExplorerPage(page).wait()
    everything = explorer.selected
    tiles = page.locator(".ld-tile")
    tiles.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("Space")
    expect(tiles.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("m")
    assert explorer.wait_for_other_than(everything) == K
    screenshot(page)
