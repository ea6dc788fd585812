"""Run the notebooks, so that their pages show outputs. Used by conf.py.

All notebooks run in one kernel, because each fresh start would import everything again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

#: Run before each notebook: clears everything of the previous one except imported modules. ``%reset
#: -f`` would also delete ``__spec__`` of the main module, and then no worker could start.
RESET = """
import os, sys
os.chdir({folder!r})
for module in list(sys.modules.values()):
    if type(module) is type(sys):
        vars(module).pop("__warningregistry__", None)
get_ipython().run_line_magic("reset", "-f out")
get_ipython().run_line_magic("reset_selective", "-f .")
"""

#: The media type of a page of Panel, such as the explorer: it needs a kernel, so no page has it.
LIVE = "application/vnd.holoviews_exec.v0+json"


def run(paths: list[Path]) -> None:
    """Run notebooks in order, and add their outputs to the files.

    The notebooks share a demo corpus in a temporary folder.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises an error.
    """
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary, "notebooks")
        place.mkdir()
        run_sync(kernel.start_kernel)()
        try:
            for path in paths:
                notebook = nbformat.read(path, as_version=4)
                _run(notebook, kernel, place)
                nbformat.write(notebook, path)
        finally:
            run_sync(kernel.shutdown_kernel)(now=True)


def _run(notebook: nbformat.NotebookNode, kernel: AsyncKernelManager, place: Path) -> None:
    """Run a notebook in a kernel that others have used; its outputs are added to it."""
    reset = nbformat.v4.new_code_cell(RESET.format(folder=str(place)))
    notebook.cells.insert(0, reset)
    client = NotebookClient(notebook, timeout=600, km=kernel, store_widget_state=False)
    try:
        client.execute()
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
    del notebook.cells[0]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_shown(output)]


def _is_shown(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a result; progress bars leave empty outputs and lines on stderr."""
    if output.output_type == "stream":
        return output.name == "stdout"
    return bool(output.get("data")) and LIVE not in output["data"]
