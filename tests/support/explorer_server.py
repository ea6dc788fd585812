"""``laion-dask explore`` in a process of its own."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def explorer_server(*arguments: str) -> Iterator[str]:
    """Serve the explorer; yields the address of its page."""
    with socket.socket() as trial:  # two tests that start at once would take the usual port
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    command = [sys.executable, "-m", "laion_dask", "explore", *arguments, "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                yield address[0]
                return
        raise AssertionError(f"the explorer did not start:\n{''.join(said)}")
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
