"""jupyter-scatter in JupyterLab, and Embedding Atlas, in the same browser as the explorer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from explorer_page import SOFTWARE_WEBGL, RecordedPage, recorded_page

#: Points around twelve centers, with a score: the same for both peers. ``ROWS`` is replaced.
POINTS = """
import numpy as np, pandas as pd
rng = np.random.default_rng(0)
centers = 3 * rng.normal(size=(12, 2))
points = centers[rng.integers(12, size=ROWS)] + rng.normal(size=(ROWS, 2))
frame = pd.DataFrame({"x": points[:, 0], "y": points[:, 1]}).astype("float32")
frame["similarity"] = rng.normal(0.3, 0.05, ROWS).astype("float32")
"""
#: A cell that shows the points, and writes when it ran and what is selected.
SCATTER = """
import time, json, jscatter
shown = jscatter.Scatter(data=frame, x="x", y="y", height=240)
def selected(change):
    with open("selected.json", "a") as file:
        file.write(json.dumps([time.time(), len(shown.selection())]) + "\\n")
shown.widget.observe(selected, names="selection")
with open("started.json", "w") as file:
    file.write(json.dumps(time.time()))
shown.show()
"""
_PATIENCE = 240


def measure_peers(python: str, rows: int) -> dict[str, dict]:
    """Seconds of each peer, or the reason why it does not start."""
    found = {}
    for name, measure in (("jupyter-scatter", _scatter), ("Embedding Atlas", _atlas)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found[name] = measure(python, rows, Path(folder))
            except Exception as error:
                reason = str(error).splitlines()[0][:160]
                found[name] = {"remark": f"did not answer: {reason}"}
    return found


@contextmanager
def _server(command: list[str], port: int, path: str, folder: Path):
    home = {"HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder)}
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **home}
        )
    try:
        _wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait(act: Callable[[], object]) -> object:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            if found := act():
                return found
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"nothing after {_PATIENCE} s")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def _scatter(python: str, rows: int, folder: Path) -> dict:
    """jupyter-scatter: from the cell's end to its canvas drawn, and a lasso to the kernel."""
    cell = POINTS.replace("ROWS", str(rows)) + SCATTER
    source = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "source": cell}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    book = {"cells": [{**source, "execution_count": None}], "metadata": {"kernelspec": kernel}}
    (folder / "a.ipynb").write_text(json.dumps({**book, "nbformat": 4, "nbformat_minor": 5}))
    port = _free_port()
    command = [
        *(python, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"),
        *("--ip=127.0.0.1", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"),
    ]
    with (
        _server(command, port, "/api", folder) as address,
        recorded_page(*SOFTWARE_WEBGL) as recorded,
    ):
        page = recorded.page
        page.goto(f"{address}/lab/tree/a.ipynb")
        page.get_by_text("| Idle").wait_for(timeout=120_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        canvas = page.locator(".jp-OutputArea-output canvas").first
        canvas.wait_for(timeout=1000 * _PATIENCE)
        started = json.loads((folder / "started.json").read_text())
        _wait(lambda: _is_drawn(recorded, canvas))
        first = time.time() - started
        return {"first": first, "lasso": _lasso(recorded, canvas, folder), "remark": "one view"}


def _is_drawn(recorded: RecordedPage, canvas) -> bool:
    """Whether the middle of a canvas shows more than one color."""
    from io import BytesIO

    from PIL import Image

    picture = Image.open(BytesIO(canvas.screenshot())).convert("RGB")
    width, height = picture.size
    middle = picture.crop((width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    return len(middle.getcolors(1 << 20) or range(9)) > 8


def _lasso(recorded: RecordedPage, canvas, folder: Path) -> float | None:
    """Seconds from the release of the mouse until the kernel has the selection."""
    from explorer import circle

    page = recorded.page
    canvas.scroll_into_view_if_needed()
    page.locator(".jp-OutputArea-output button").nth(1).click()  # the lasso, after panning
    page.wait_for_timeout(1000)
    recorded.drag(circle(canvas.bounding_box(), 0.3, steps=40), release=False)
    released = time.time()
    page.mouse.up()
    path = folder / "selected.json"
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and (lines := path.read_text().splitlines()):
            return json.loads(lines[-1])[0] - released
        page.wait_for_timeout(50)
    return None


def _atlas(python: str, rows: int, folder: Path) -> dict:
    """Embedding Atlas: from the request to its page; its map needs WebGPU."""
    code = POINTS.replace("ROWS", str(rows)) + "frame.to_parquet('points.parquet')"
    subprocess.run([python, "-c", code], cwd=folder, check=True)
    port = _free_port()
    command = [str(Path(python).with_name("embedding-atlas")), "points.parquet", "--x", "x"]
    command += ["--y", "y", "--host", "127.0.0.1", "--port", str(port)]
    with _server(command, port, "/", folder) as address, recorded_page(*SOFTWARE_WEBGL) as recorded:
        page = recorded.page
        started = time.time()
        page.goto(address)
        page.get_by_text(f"/ {rows:,} points").wait_for(timeout=1000 * _PATIENCE)
        page.wait_for_timeout(3000)
        missing = page.get_by_text("WebGPU is unavailable")
        first = time.time() - started - 3
        if missing.count():
            words = f"its map is blank: WebGPU is unavailable; the page after {first:.1f} s"
            return {"first": None, "lasso": None, "remark": words}
        return {"first": first, "lasso": None, "remark": "its map is drawn by WebGPU"}
