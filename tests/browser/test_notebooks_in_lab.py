"""Each notebook runs from the menu of JupyterLab, and what it shows is there."""

from __future__ import annotations

import re
import time
from io import BytesIO

import nbformat
import pytest
from PIL import Image
from playwright.sync_api import Locator
from support.explorer_page import ExplorerPage
from support.lab_server import PATIENCE
from support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_the_menu(path, lab_page):
    lab_page.open(f"notebooks/{path.name}")
    lab_page.run_all()
    shown = 0
    for frame in lab_page.page.locator("iframe.ld-plot").all():
        frame.scroll_into_view_if_needed()
        frame.content_frame.locator("canvas").first.wait_for()
        wait_until_painted(frame)
        shown += 1
    for image in lab_page.outputs().locator("img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 1
        shown += 1
    if lab_page.page.locator(".jp-Notebook .page").count():
        ExplorerPage(lab_page.page).wait().wait_until_drawn()
        shown += 1
    assert shown > 0
    lab_page.save()
    saved = nbformat.read(lab_page.server.folder / "notebooks" / path.name, as_version=4)
    outputs = [output for cell in saved.cells for output in cell.get("outputs", ())]
    errors = "".join(o.text for o in outputs if o.get("name") == "stderr")
    # On a busy machine progress bars appear; each of their updates starts with a carriage return.
    assert not re.sub(r"\r[^\r\n]*", "", errors).strip(), errors


def wait_until_painted(frame: Locator) -> None:
    """Wait until a figure has more than a background; an empty one has one or two colors."""
    end = time.monotonic() + PATIENCE
    while True:
        colors = Image.open(BytesIO(frame.screenshot())).convert("RGB").getcolors(1 << 24)
        if colors is None or len(colors) > 8:
            return
        assert time.monotonic() < end, "a figure is blank"
        time.sleep(0.2)
