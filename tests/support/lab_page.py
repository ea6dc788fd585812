"""A notebook open in JupyterLab, used as a person would: by menus, keys and the mouse."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from urllib.request import Request, urlopen

import nbformat
from playwright.sync_api import Locator, Page, expect

from support.lab_server import PATIENCE, LabServer

#: Whether no cell is waiting or running, and each with code has run.
ALL_RAN = """() => {
  const cells = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell")];
  const prompts = cells.map((cell) => cell.querySelector(".jp-InputPrompt").textContent);
  return cells.length > 0 && prompts.every((prompt) => /^\\[\\d+\\]:?$/.test(prompt));
}"""
#: Whether a cell failed; those after it never run.
ONE_FAILED = """() => document.querySelector(
  '.jp-Notebook [data-mime-type="application/vnd.jupyter.error"]') !== null"""


class LabPage:
    """A page of the browser that shows one notebook of a server."""

    def __init__(self, page: Page, server: LabServer):
        self.page = page
        self.server = server
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)

    def open(self, path: str) -> None:
        """Open a notebook, and wait for its kernel."""
        self.page.goto(self.server.address(path))
        self.wait_until_idle()

    def open_new(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook with cells of code, open it and run all of them."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3 (ipykernel)",
        }
        nbformat.write(notebook, self.server.folder / name)
        self.open(name)
        self.run_all()

    def wait_until_idle(self) -> None:
        self.page.get_by_text("(ipykernel) | Idle").wait_for()

    def menu(self, *names: str) -> None:
        """Choose an entry of a menu: its names from the menu bar on."""
        for name in names:
            label = self.page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel")
            label.filter(has_text=re.compile(f"^{re.escape(name)}$"), visible=True).click()

    def run_all(self) -> None:
        """Run > Run All Cells, and wait for the last one.

        Raises
        ------
        AssertionError
            If a cell raised; the message is its traceback.
        """
        self.menu("Run", "Run All Cells")
        self._wait_for_all()

    def restart_and_run_all(self) -> None:
        """Kernel > Restart Kernel and Run All Cells, and wait for the last one."""
        self.menu("Kernel", "Restart Kernel and Run All Cells…")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.wait_for_function(f"() => !({ALL_RAN})()")
        self._wait_for_all()

    def run_cell(self, number: int) -> None:
        """Run one cell, counted from 1, and wait for it."""
        cell = self.page.locator(".jp-Notebook .jp-Cell").nth(number - 1)
        cell.locator(".jp-InputPrompt").click()
        self.menu("Run", "Run Selected Cell")
        self._wait_for_all()

    def run_in_new_cell(self, code: str) -> str:
        """Run code in a new last cell, and return what it printed."""
        cells = self.page.locator(".jp-Notebook .jp-Cell")
        n = cells.count()
        self.page.locator(".jp-Notebook-footer").click()
        expect(cells).to_have_count(n + 1)
        cells.last.locator(".cm-content[contenteditable=true]").click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Control+Enter")
        self._wait_for_all()
        return "\n".join(cells.last.locator(".jp-RenderedText").all_inner_texts())

    def _wait_for_all(self) -> None:
        self.page.wait_for_function(f"() => ({ALL_RAN})() || ({ONE_FAILED})()")
        if self.page.evaluate(ONE_FAILED):
            failed = self.page.locator('[data-mime-type="application/vnd.jupyter.error"]')
            raise AssertionError(failed.last.inner_text())
        self.wait_until_idle()

    def save(self) -> None:
        """Save the notebook, and wait until it is."""
        self.menu("File", "Save Notebook")
        expect(self.page.locator(".jp-mod-dirty")).to_have_count(0)

    def outputs(self) -> Locator:
        """The outputs of all cells."""
        return self.page.locator(".jp-Notebook .jp-OutputArea-output")

    def leave(self) -> None:
        """Close the page's notebook and stop every kernel of the server."""
        self.page.goto("about:blank")
        for kernel in self._api("GET", "kernels"):
            self._api("DELETE", f"kernels/{kernel['id']}")

    def _api(self, method: str, path: str):
        headers = {"Authorization": f"token {self.server.token}"}
        request = Request(f"{self.server.url}api/{path}", method=method, headers=headers)
        with urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None
