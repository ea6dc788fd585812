"""Notebooks run from top to bottom, without the network, and show their output."""

from __future__ import annotations

import re
import shutil
import sys

import pytest
from support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

#: Run first in the kernel: connections to other machines raise.
NO_NETWORK = """
def allow_this_machine_alone():
    import socket

    connect = socket.socket.connect

    def connect_here(self, address):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return connect(self, address)
        raise OSError(f"this notebook reached for the network: {address}")

    socket.socket.connect = connect_here

allow_this_machine_alone()
"""

#: Run before each notebook: clears everything of the previous one except imported modules. ``%reset
#: -f`` would also delete ``__spec__`` of the main module, and then no worker could start.
RESET = """
import os, sys
os.chdir(FOLDER)
for module in list(sys.modules.values()):
    if type(module) is type(sys):
        vars(module).pop("__warningregistry__", None)
get_ipython().run_line_magic("reset", "-f out")
get_ipython().run_line_magic("reset_selective", "-f .")
"""

#: The media type of a page of Panel, such as the explorer.
LIVE = "application/vnd.holoviews_exec.v0+json"

#: Slow cells that show the same with less data: (as written, as tested).
SMALLER = {"10_scaling_out": ("shape = 1_000_000, 768", "shape = 100_000, 768")}


@pytest.fixture(scope="module")
def kernel():
    """A kernel for all notebooks: each fresh start would import everything again."""
    with pytest.MonkeyPatch.context() as patch:
        # jsonschema takes five seconds to compile this grammar, which only checks addresses.
        patch.setitem(sys.modules, "rfc3987_syntax", None)
        import nbclient  # noqa: F401
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync

    manager = AsyncKernelManager(kernel_name="python3")
    yield manager
    if manager.has_kernel:
        run_sync(manager.shutdown_kernel)()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, kernel, demo_folder, tmp_path):
    import nbformat
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient

    shutil.copytree(demo_folder, tmp_path / "demo-corpus")
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs"
    if path.stem in SMALLER:
        usual, smaller = SMALLER[path.stem]
        (cell,) = (cell for cell in notebook.cells if usual in cell.source)
        cell.source = cell.source.replace(usual, smaller)
    reset_code = RESET.replace("FOLDER", repr(str(tmp_path / "notebooks")))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(reset_code))
    if not kernel.has_kernel:
        run_sync(kernel.start_kernel)()
        notebook.cells.insert(0, nbformat.v4.new_code_cell(NO_NETWORK))
    client = NotebookClient(notebook, timeout=300, km=kernel)
    try:
        client.execute()
    except BaseException:
        run_sync(kernel.shutdown_kernel)(now=True)
        raise
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    stderr_text = "".join(o.text for o in shown if o.output_type == "stream" and o.name == "stderr")
    # On a busy machine progress bars appear; each of their updates starts with a carriage return.
    assert not re.sub(r"\r[^\r\n]*", "", stderr_text).strip(), stderr_text
    pages = [o["data"]["text/html"] for o in shown if "text/html" in o.get("data", {})]
    assert any("data:image/jpeg" in page or "bokeh.min.js" in page for page in pages) or any(
        LIVE in output.get("data", {}) for output in shown
    )
    assert not any("src='http" in p or 'src="http' in p or "<link" in p for p in pages)
