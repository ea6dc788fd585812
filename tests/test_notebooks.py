"""Notebooks run from top to bottom, without the network, and show what they promise."""

from __future__ import annotations

import re
import shutil

import nbformat
import pytest
from nbclient import NotebookClient
from support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

#: Run first in the kernel: any connection beyond this machine is an error.
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def _local_only(self, address):
    if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
        return _connect(self, address)
    raise OSError(f"this notebook reached for the network: {address}")
socket.socket.connect = _local_only
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, demo_folder, tmp_path):
    shutil.copytree(demo_folder, tmp_path / "demo-corpus")
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "strip the outputs"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(NO_NETWORK))
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "notebooks")}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(o.text for o in shown if o.output_type == "stream" and o.name == "stderr")
    # On a busy machine bars are shown; each of their states starts with a carriage return.
    assert not re.sub(r"\r[^\r\n]*", "", said).strip(), said
    pages = [o["data"]["text/html"] for o in shown if "text/html" in o.get("data", {})]
    assert any("data:image/jpeg" in page or "bokeh.min.js" in page for page in pages)
    assert not any("src='http" in p or 'src="http' in p or "<link" in p for p in pages)
