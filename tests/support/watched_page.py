"""What a page of the browser did that it must not do: reach for the web, fail, or ask."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Page

#: Messages of the browser itself, not of a page.
_OWN_MESSAGES = re.compile(r"GL Driver Message|GroupMarkerNotSet")
#: JupyterLab's own, when a page is left, or a kernel restarts, while it waits for an answer.
_LEFT = re.compile(r"Canceled future for \w+ message before replies were done")


@dataclass
class Watch:
    """Faults of a page, one line each, since the watch began."""

    faults: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def on(self, page: Page) -> None:
        """Watch a page, and every window that it opens."""
        page.on("request", lambda request: self._reached(request.url))
        page.on("websocket", lambda socket: self._reached(socket.url))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)
        page.on("console", self._said)
        page.on("pageerror", self._raised)
        page.on("dialog", self._asked)
        page.on("popup", lambda popup: self.faults.append(f"a window was opened: {popup.url}"))

    def _reached(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("data", "blob", "about"):
            return
        if parts.hostname not in ("127.0.0.1", "localhost"):
            self.faults.append(f"reached for the web: {url[:300]}")

    def _failed(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by the page itself, when it is left
            self.faults.append(f"a request failed: {request.url[:300]} {request.failure}")

    def _answered(self, response) -> None:
        if response.status >= 400:
            self.faults.append(f"answered {response.status}: {response.url[:300]}")

    def _raised(self, error) -> None:
        if not _LEFT.search(str(error)):
            self.faults.append(f"error in a script: {error}")

    def _said(self, message) -> None:
        if message.type in ("error", "warning") and not _OWN_MESSAGES.search(message.text):
            self.console.append(f"{message.type}: {message.text[:500]}")
            if message.type == "error":
                self.faults.append(f"on the console: {message.text[:500]}")

    def _asked(self, dialog) -> None:
        if dialog.type == "beforeunload":  # the browser's own, of a notebook that is not saved
            dialog.accept()
            return
        self.faults.append(f"a dialog of type {dialog.type}: {dialog.message[:300]}")
        dialog.dismiss()
