"""The explorer on a page of the browser, used as a person would."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from support.lab_server import PATIENCE

#: The elements of a page, those in shadow roots too, that only a caption read as HTML would make.
INJECTED = r"""() => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap(
    (node) => node.shadowRoot ? [node, ...all(node.shadowRoot)] : [node])
  const isHostile = (node) => [...node.attributes].some((a) => /^on/i.test(a.name)
      || (/^(src|href|action|formaction|data|srcdoc|xlink:href)$/i.test(a.name)
        && /hostile|^\s*javascript:|^\s*data:text/i.test(a.value)))
    || node.matches("hostile, #hostile, iframe, object, embed, base")
  return all(document).filter(isHostile).map((node) => node.outerHTML.slice(0, 200))
}"""


class ExplorerPage:
    """An explorer on a page; `page` may show it in a notebook, or as a whole."""

    def __init__(self, page: Page):
        self.page = page
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)

    def wait(self) -> ExplorerPage:
        """Wait until the sample is drawn and all views are there."""
        self.page.locator(".page.ready").wait_for(state="attached")
        return self.show().wait_until_idle()

    def show(self) -> ExplorerPage:
        """Scroll it into view: JupyterLab draws only cells that are in view."""
        page = self.page.locator(".page.ready")
        page.evaluate("page => page.scrollIntoView({block: 'start'})")
        page.wait_for()
        return self

    def wait_until_idle(self) -> ExplorerPage:
        """Wait until no job runs."""
        self.page.locator(".head .job.idle").wait_for(state="attached")
        return self

    def wait_until_drawn(self) -> ExplorerPage:
        """Wait until the map has its picture; the histograms their bars where there is no map."""
        has_map = not self.page.locator(".page .body.without-map").count()
        drawn = ".ld-map[data-order]" if has_map else ".histograms .area path.all[d]"
        self.page.locator(drawn).first.wait_for()
        return self

    @property
    def selected(self) -> int:
        """The number of selected rows that the head shows."""
        shown = self.page.locator(".head output.selected").inner_text()
        return int(re.match(r"[\d,]+", shown)[0].replace(",", ""))

    def wait_for_other_than(self, before: int) -> int:
        """The number of selected rows, once it has changed."""
        self.page.wait_for_function(
            """([text, before]) => {
              const inner = (root) => [...root.querySelectorAll("*")]
                .filter((node) => node.shadowRoot).map((node) => find(node.shadowRoot))
              const find = (root) => root.querySelector(".head output.selected")
                ?? inner(root).find(Boolean)
              const n = find(document)?.textContent.match(/^[\\d,]+/)?.[0]
              return n?.replaceAll(",", "") !== before
            }""",
            arg=["", str(before)],
        )
        return self.selected

    def click(self, name: str) -> None:
        """Press a button of the explorer."""
        self.page.locator(".page").get_by_role("button", name=name, exact=True).click()

    def clear(self) -> None:
        """Close copied code, and remove all filters by their chips."""
        close = self.page.locator(".head .code").get_by_role("button", name="Close")
        if close.is_visible():
            close.click()
        chips = self.page.locator(".chips .chip")
        while n := chips.count():
            chips.first.click()
            self.page.wait_for_function(COUNT_OF_CHIPS, arg=n - 1)

    def map(self, mode: str) -> Locator:
        """The map, on which a drag selects by a lasso or a box, or pans."""
        self.page.locator(".ld-map[data-order]").wait_for()  # it selects nothing before
        self.click(mode)
        return self.page.locator(".ld-map-stage canvas.bk-layer, .ld-map-stage canvas").first

    def drag(self, area: Locator, *points: tuple[float, float]) -> None:
        """Drag along points of an area, in parts of its width and height."""
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=8)
        self.page.mouse.up()

    def code(self, kind: str) -> str:
        """The text of Copy as Python, or as recipe."""
        self.click(f"Copy as {kind}")
        area = self.page.locator(".head .code textarea")
        area.wait_for()
        text = area.input_value()
        self.page.locator(".head .code").get_by_role("button", name="Close").click()
        self.page.locator(".head .code").wait_for(state="hidden")
        return text


COUNT_OF_CHIPS = """(n) => {
  const roots = (root) => [...root.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)
  const count = (root) => root.querySelectorAll(".chips .chip").length
    + roots(root).reduce((sum, inner) => sum + count(inner), 0)
  return count(document) === n
}"""
