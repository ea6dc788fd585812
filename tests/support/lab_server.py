"""A JupyterLab server on a free port of this machine, with settings of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

#: Seconds. An idle machine takes a tenth of them; one with many other jobs, most.
PATIENCE = 180

#: Run first in each kernel: connections to other machines raise.
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

#: No news, no updates, and no list of extensions from the web.
OPTIONS = [
    "--no-browser",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port=0",
    "--ServerApp.allow_root=True",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
]


@dataclass(frozen=True)
class LabServer:
    """A running server: its address, the token that opens it, and the folder it shows."""

    url: str
    token: str
    folder: Path

    def address(self, path: str, workspace: str = "default") -> str:
        """The address of a notebook in a workspace without open tabs."""
        place = "lab" if workspace == "default" else f"lab/workspaces/{workspace}"
        return f"{self.url}{place}/tree/{path}?token={self.token}&reset"


@contextmanager
def lab_server(folder: Path, own: Path) -> Iterator[LabServer]:
    """Start a server that shows `folder`; its settings and its log are in `own`."""
    startup = own / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    settings = own / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    answered = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(answered))
    (startup / "00-no-network.py").write_text(NO_NETWORK)
    environment = os.environ | {
        "IPYTHONDIR": str(own / "ipython"),
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.root_dir={folder}"]
    with open(own / "lab.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield _started(process, folder, own)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # kernels that it left


def _started(process: subprocess.Popen, folder: Path, own: Path) -> LabServer:
    """The server, once it answers."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        for file in (own / "runtime").glob("jpserver-*.json"):
            try:
                server = json.loads(file.read_text())
                with urlopen(f"{server['url']}api/status?token={server['token']}"):
                    return LabServer(server["url"], server["token"], folder)
            except (ValueError, URLError):
                pass  # half written, or not listening yet
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{(own / 'lab.log').read_text()}")
