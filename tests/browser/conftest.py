"""Chromium, and a JupyterLab server, for the tests of this folder only.

pytest-playwright keeps its browser, and with it a running event loop, until the last test of the
process. Here both end with the last test of the folder, before tests that run event loops.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from support.explorer_server import explorer_server
from support.lab_page import LabPage
from support.lab_server import LabServer, lab_server
from support.paths import ROOT
from support.watched_page import Watch

#: Screenshots, and the log of the server: not in git.
SCREENSHOTS = ROOT / "test-results"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: No name is resolved but this machine's, and the browser itself looks for nothing.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="chromium is not installed"))


@pytest.fixture(scope="package")
def playwright(demo_folder) -> Iterator[Playwright]:
    """Playwright; the demo corpus is generated before its event loop runs."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright) -> Iterator[Browser]:
    """Debian's Chromium, without a network."""
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield chromium
    chromium.close()


@pytest.fixture(scope="package")
def browser_context_args() -> dict:
    return {"viewport": {"width": 1280, "height": 720}}


@pytest.fixture(scope="package")
def lab(demo_folder, tmp_path_factory) -> Iterator[LabServer]:
    """JupyterLab, showing a copy of the notebooks beside the demo corpus."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(demo_folder, folder / "demo-corpus")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    with lab_server(folder, tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="package")
def demo_address(demo_folder) -> Iterator[str]:
    """The address of an explorer of the demo corpus: a map, questions, pictures and all tabs."""
    folder = demo_folder / "embedded"
    paths = {"--embeddings": folder / "img_emb", "--images": demo_folder / "images"}
    options = [str(one) for option in paths.items() for one in option]
    with explorer_server(str(folder / "metadata"), *options) as address:
        yield address


@pytest.fixture
def screenshot(request) -> Callable[[Page], None]:
    """A function that keeps a picture of a page, named after the test."""

    def keep(page: Page) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
        page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return keep


@pytest.fixture
def watch(page: Page) -> Iterator[Watch]:
    """Faults of the page; at the end there must be none."""
    watch = Watch()
    watch.on(page)
    yield watch
    assert watch.faults == [], "\n".join(watch.faults)


@pytest.fixture
def lab_page(page: Page, lab: LabServer, watch: Watch, screenshot) -> Iterator[LabPage]:
    """A page for one notebook; its kernel ends with the test."""
    lab_page = LabPage(page, lab)
    yield lab_page
    screenshot(page)
    lab_page.leave()
