"""Create a file exclusively: of several processes that create it, the first one's content stays."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress

import fsspec
from fsspec.implementations.local import LocalFileSystem

#: Number of attempts at a request whose result is unknown.
_ATTEMPTS = 3


def create_once(fs: fsspec.AbstractFileSystem, path: str, content: bytes) -> bytes:
    """Create a file unless it exists; return its content, which may be another process's.

    The file appears complete or not at all. If the answer of a store is lost, the file is read
    again instead of being taken for written or not.

    Raises
    ------
    OSError, or an exception of the store
        When the file cannot be created.
    """
    if isinstance(fs, LocalFileSystem):
        return content if _link(path, content) else _read(path)
    for attempt in range(_ATTEMPTS):
        try:
            fs.pipe_file(path, content, mode="create")
            return content
        except Exception as error:
            try:
                existing: bytes = fs.cat_file(path)
                return existing
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise error from None
    raise AssertionError


def _link(path: str, content: bytes) -> bool:
    """Create a local file with its content, by a hard link where there are any."""
    partial = f"{path}.{uuid.uuid4().hex[:8]}"
    try:
        with open(partial, "xb") as file:
            file.write(content)
        try:
            os.link(partial, path)
            return True
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            with suppress(FileExistsError), open(path, "xb") as file:
                file.write(content)
                return True
            return False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
