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

#: Bytes of a message that brings a picture or a page of rows; smaller ones bring words and numbers.
VIEW = 4_000
#: Records every message from the server, when the frame after it was painted, and what the user did
#: last.
RECORDER = """
window.recorded = {messages: [], painted: 0, acted: 0, waiting: 0};
const Socket = window.WebSocket;
window.WebSocket = class extends Socket {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({data}) => {
      const size = typeof data === "string" ? data.length : (data.byteLength ?? data.size);
      const message = [performance.now(), size, 0];
      window.recorded.messages.push(message);
      window.recorded.waiting++;
      setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(() => {
        window.recorded.painted = message[2] = performance.now();
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
    views : float
        To the frame after the last message that brings a picture or rows; the words that label the
        map come after it.
    bytes : int
        Of all messages.
    largest : int
        Of the largest message.
    """

    seconds: float
    views: float
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
        start, end, messages = self.page.evaluate(
            f"[{since}, window.recorded.painted, window.recorded.messages]"
        )
        views = max((painted for _, size, painted in messages if size >= VIEW), default=end)
        sizes = [size for _, size, _ in messages]
        return Answer((end - start) / 1000, (views - start) / 1000, sum(sizes), max(sizes))

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
