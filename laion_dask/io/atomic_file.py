"""Files of a local folder that appear whole or not at all."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: The end of a name under which a file is being written.
PARTIAL = ".partial"


@contextmanager
def committed(path: Path) -> Iterator:
    """A file that appears under its name only when it is whole."""
    with partial(path.parent, path.name) as file:
        yield file
        put(file, path)


@contextmanager
def partial(folder: Path, name: str) -> Iterator:
    """A file under a temporary name, which is gone at the end unless it was `put` in place."""
    path = folder / f".{name}.{uuid.uuid4().hex[:8]}{PARTIAL}"
    try:
        with open(path, "wb") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def put(file, path: Path) -> None:
    """Make what a `partial` file holds durable, and give it its name."""
    file.flush()
    os.fsync(file.fileno())
    os.replace(file.name, path)


def sweep(folder: Path, idle_s: float = 0) -> None:
    """Remove what a killed run left under temporary names, and has not been written for so long.

    Parameters
    ----------
    folder : Path
    idle_s : float
        Seconds since the last write; what is younger may be another run's, and is left.
    """
    for file in folder.rglob(f".*{PARTIAL}"):
        with suppress(FileNotFoundError):
            if not idle_s or time.time() - file.stat().st_mtime > idle_s:
                file.unlink()


def json_bytes(data: dict) -> bytes:
    """A manifest as its file holds it."""
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
