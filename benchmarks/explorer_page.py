"""A page in Chromium whose messages and times are recorded, for the benchmark of the explorer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Page, sync_playwright

#: Nothing but this machine can be reached.
ARGUMENTS = (
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
#: As on a machine without a GPU; and WebGL on the CPU, for peers, since our own page needs none.
WITHOUT_GPU = ("--disable-gpu",)
SOFTWARE_WEBGL = (
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
#: Milliseconds without a message after which an answer is complete.
QUIET = 1_200

#: Records every message from the server, the frame painted after it, and what the user did last.
RECORDER = """
window.recorded = {messages: [], painted: 0, acted: 0, waiting: 0};
const Socket = window.WebSocket;
window.WebSocket = class extends Socket {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({data}) => {
      const size = typeof data === "string" ? data.length : (data.byteLength ?? data.size);
      window.recorded.messages.push([performance.now(), size]);
      window.recorded.waiting++;
      setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(() => {
        window.recorded.painted = performance.now();
        window.recorded.waiting--;
      })), 0);
    });
  }
};
for (const kind of ["mouseup", "keydown", "mousemove", "wheel"]) {
  window.addEventListener(kind, () => { window.recorded.acted = performance.now(); }, true);
}
"""
_SETTLED = """quiet => {
  const {messages, waiting, acted} = window.recorded;
  const last = messages.length > 0 ? messages[messages.length - 1][0] : 0;
  return last > acted && waiting === 0 && performance.now() - last > quiet;
}"""


@dataclass(frozen=True)
class Answer:
    """What the server sent after an action of the user.

    Attributes
    ----------
    seconds : float
        From the action to the frame that is painted after the last message.
    bytes : int
        Of all messages.
    largest : int
        Of the largest message.
    """

    seconds: float
    bytes: int
    largest: int


class RecordedPage:
    """A page that knows when its last answer was complete."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, address: str) -> Answer:
        """Open an address, until no message comes any more."""
        self.page.goto(address)
        return self._answer(since="0")

    def after(self, act: Callable[[], object]) -> Answer:
        """Act, until no message comes any more."""
        self.page.evaluate("window.recorded.messages.length = 0")
        act()
        return self._answer(since="window.recorded.acted")

    def _answer(self, since: str) -> Answer:
        self.page.wait_for_function(_SETTLED, arg=QUIET, polling=50, timeout=300_000)
        found = self.page.evaluate(
            f"({{start: {since}, end: window.recorded.painted,"
            " sizes: window.recorded.messages.map(one => one[1])})"
        )
        seconds = (found["end"] - found["start"]) / 1000
        return Answer(seconds, sum(found["sizes"]), max(found["sizes"]))

    def drag(self, path: list[tuple[float, float]], *, release: bool = True) -> None:
        """Press at the first place of a path, and follow it."""
        mouse = self.page.mouse
        mouse.move(*path[0])
        mouse.down()
        for place in path[1:]:
            mouse.move(*place)
        if release:
            mouse.up()


@contextmanager
def recorded_page(*arguments: str) -> Iterator[RecordedPage]:
    """A page of a new browser, 1,280 by 720 pixels."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*ARGUMENTS, *arguments]
        )
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.add_init_script(RECORDER)
            yield RecordedPage(page)
        finally:
            browser.close()
