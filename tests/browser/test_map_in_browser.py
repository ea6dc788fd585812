"""The map on a page: what a drag, the wheel, keys, fields and hovering do, and what is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import expect
from support.explorer_page import INJECTED, ExplorerPage
from support.explorer_server import explorer_server
from support.shards import space, write_shard

ATTACK = '<img src="/hostile" onerror="window.attacked = 1"><script id=hostile></script>'
#: The largest message, in bytes.
LARGEST = 300_000
N = 4_000
#: The boxes of the labels as drawn: left, top, right and bottom on the page.
BOXES = """() => {
  const { glyph, plot_view } = Bokeh.index.query_one((view) => view.model?.name === "labels")
  const { left, top } = plot_view.el.getBoundingClientRect()
  return [...glyph.sx.keys()].map((at) => {
    const { p0, p2 } = glyph.rect_i(at)
    return [left + p0.x, top + p0.y, left + p2.x, top + p2.y]
  })
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Rows around two centers; every text is an attack, and so is the name of a column."""
    folder = tmp_path_factory.mktemp("map")
    draw = np.random.default_rng(0)
    centers = draw.normal(size=(2, 8))
    vectors = centers[draw.integers(0, 2, N)] + draw.normal(0, 0.3, (N, 8))
    (folder / "emb").mkdir()
    np.save(folder / "emb" / "img_emb_0000.npy", vectors.astype(np.float16))
    columns = {
        "URL": [f"https://example.org/{ATTACK}{i}" for i in range(N)],
        "TEXT": [f"{ATTACK} row{i % 7}" for i in range(N)],
        "LANGUAGE": [ATTACK] * N,
        ATTACK: [ATTACK] * N,
        "similarity": draw.uniform(0.2, 0.4, N),
        "punsafe": np.where(np.arange(N) % 2, 0.1, 0.9),
    }
    shard = write_shard(folder / "metadata" / "00000.parquet", pa.table(columns))
    model = str(space(folder, 8).name)
    with explorer_server(shard, "--embeddings", str(folder / "emb"), "--model", model) as address:
        yield address


@pytest.fixture
def explorer(page, watch, address, screenshot) -> Iterator[ExplorerPage]:
    page.goto(address)
    explorer = ExplorerPage(page).wait()
    page.locator(".ld-map[data-order]").wait_for()
    yield explorer
    screenshot(page)


def order(page) -> int:
    """The number of the picture that is shown."""
    return int(page.locator(".ld-map").get_attribute("data-order"))


def next_picture(page, act) -> None:
    """Do something, and wait until the map shows a later picture."""
    before = order(page)
    act()
    page.locator(f".ld-map:not([data-order='{before}'])").wait_for()
    assert order(page) > before


def view_of(page) -> list[float]:
    return [float(field.input_value()) for field in page.locator(".ld-map-foot input").all()]


def test_keys_fields_and_the_wheel_move_the_map(explorer):
    page, stage = explorer.page, explorer.page.locator(".ld-map-stage")
    x0, x1, y0, y1 = view_of(page)
    stage.focus()
    next_picture(page, lambda: page.keyboard.press("+"))
    zoomed = view_of(page)
    assert (zoomed[1] - zoomed[0]) * 1.5 == pytest.approx(x1 - x0, rel=0.01)
    next_picture(page, lambda: page.keyboard.press("ArrowRight"))
    moved = view_of(page)
    assert moved[0] > zoomed[0] and moved[2:] == zoomed[2:]
    next_picture(page, lambda: page.keyboard.press("ArrowUp"))
    assert view_of(page)[2] > moved[2]
    next_picture(page, lambda: page.keyboard.press("0"))
    assert view_of(page) == [x0, x1, y0, y1]
    field = page.get_by_label("Smallest x in view")
    field.fill("0")
    next_picture(page, lambda: field.press("Enter"))
    assert view_of(page) == pytest.approx([0, x1, y0, y1], abs=0.01)
    field.fill("99")  # more than the largest: nothing changes
    field.press("Enter")
    assert view_of(page)[0] == pytest.approx(0, abs=0.01)
    next_picture(page, lambda: page.get_by_role("button", name="Show all").click())
    stage.focus()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    next_picture(page, lambda: page.mouse.wheel(0, -300))
    assert view_of(page)[1] - view_of(page)[0] < x1 - x0


def test_enter_selects_the_view_and_escape_removes_it(explorer):
    page, stage = explorer.page, explorer.page.locator(".ld-map-stage")
    stage.focus()
    for key in ("+", "+", "ArrowLeft"):
        next_picture(page, lambda key=key: page.keyboard.press(key))
    page.keyboard.press("Enter")
    selected = explorer.wait_for_other_than(N)
    assert 0 < selected < N
    assert f"{selected:,} are selected" in stage.get_attribute("aria-label")
    page.keyboard.press("Escape")
    assert explorer.wait_for_other_than(selected) == N


def test_hovering_shows_a_row_as_text_and_hides_unsafe_captions(explorer):
    page = explorer.page
    card, titles = page.locator(".ld-map-card"), set()
    area = explorer.map("Pan").bounding_box()
    for at in np.linspace(0.25, 0.75, 12):
        for across in (0.4, 0.6):
            x = area["x"] + at * area["width"]
            answered = card.get_attribute("data-answered")
            page.mouse.move(x, area["y"] + across * area["height"])
            other = f":not([data-answered='{answered}'])" if answered else ""
            page.locator(f".ld-map-card[data-answered]{other}").wait_for(state="attached")
            if card.is_visible():
                titles.add(card.locator("div").first.inner_text())
    hidden = {title for title in titles if title.startswith("Hidden: punsafe is 0.9")}
    assert hidden and titles - hidden
    assert all(title.startswith(ATTACK[:30]) for title in titles - hidden)
    assert page.evaluate(INJECTED) == []
    assert page.evaluate("() => window.attacked") is None


def test_messages_are_small_and_names_are_text(explorer):
    page = explorer.page
    sizes: list[int] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda f: sizes.append(len(f))))
    page.reload()
    explorer.wait()
    page.locator(".ld-map[data-order]").wait_for()
    colors = page.locator(".ld-map-color select")
    for option in colors.locator("option").all():
        value = option.get_attribute("value")
        if value != "density":
            colors.select_option(value)
            expect(page.locator(".ld-map-key-title")).to_have_text(option.inner_text())
    explorer.drag(explorer.map("Lasso"), (0.2, 0.5), (0.5, 0.1), (0.8, 0.5), (0.5, 0.9))
    explorer.wait_for_other_than(N)
    assert page.evaluate(INJECTED) == []
    assert sizes and max(sizes[1:]) < LARGEST


def settled_boxes(page) -> list[list[float]]:
    """The boxes of at least three labels, once they no longer change."""
    end, before = time.monotonic() + 60, None
    while time.monotonic() < end:
        boxes = page.evaluate(BOXES)
        if boxes == before and len(boxes) >= 3:
            return boxes
        before = boxes
        time.sleep(0.5)
    raise AssertionError(f"no labels that stay, but {before}")


def overlap(one: list[float], other: list[float]) -> bool:
    return all(max(one[at], other[at]) < min(one[at + 2], other[at + 2]) for at in (0, 1))


def test_labels_do_not_overlap(page, watch, demo_address, screenshot):
    page.goto(demo_address)
    ExplorerPage(page).wait()
    page.locator(".ld-map[data-order]").wait_for()
    page.locator(".ld-map-stage").focus()
    for press in ("+", "ArrowRight", "-", "0"):
        next_picture(page, lambda press=press: page.keyboard.press(press))
        boxes = settled_boxes(page)
        assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    screenshot(page)
