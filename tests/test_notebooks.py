"""Notebooks run from top to bottom, without the network, and show what they promise."""

from __future__ import annotations

import re
import shutil
import sys

import pytest
from support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

#: Run first in the kernel: any connection beyond this machine is an error.
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

#: Run before each notebook: nothing of the one before is left but imported modules. Not by
#: ``%reset -f``, which also deletes ``__spec__`` of the main module: no worker would start then.
AFRESH = """
import os, sys
os.chdir(FOLDER)
for module in list(sys.modules.values()):
    if type(module) is type(sys):
        vars(module).pop("__warningregistry__", None)
get_ipython().run_line_magic("reset", "-f out")
get_ipython().run_line_magic("reset_selective", "-f .")
"""

#: What costs seconds and shows nothing that less of it does not: the cell has it once.
SMALLER = {"10_scaling_out": ("shape = 1_000_000, 768", "shape = 100_000, 768")}


@pytest.fixture(scope="module")
def kernel():
    """A kernel that runs one notebook after the other: each start would import everything anew."""
    with pytest.MonkeyPatch.context() as patch:
        # A grammar that jsonschema compiles for five seconds, for the format of addresses.
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
    assert not any(cell.get("outputs") for cell in notebook.cells), "strip the outputs"
    if path.stem in SMALLER:
        usual, smaller = SMALLER[path.stem]
        (cell,) = (cell for cell in notebook.cells if usual in cell.source)
        cell.source = cell.source.replace(usual, smaller)
    afresh = AFRESH.replace("FOLDER", repr(str(tmp_path / "notebooks")))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(afresh))
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
    said = "".join(o.text for o in shown if o.output_type == "stream" and o.name == "stderr")
    # On a busy machine bars are shown; each of their states starts with a carriage return.
    assert not re.sub(r"\r[^\r\n]*", "", said).strip(), said
    pages = [o["data"]["text/html"] for o in shown if "text/html" in o.get("data", {})]
    assert any("data:image/jpeg" in page or "bokeh.min.js" in page for page in pages)
    assert not any("src='http" in p or 'src="http' in p or "<link" in p for p in pages)
