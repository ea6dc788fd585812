"""Open files by path or address; a local path is never mistaken for an address."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem


def open_bytes(path: str) -> IO[bytes]:
    """Open a file for reading bytes.

    A local path bypasses fsspec, which would interpret ``::`` as a chain of file systems.
    """
    return fsspec.open(path, "rb").open() if "://" in path else open(path, "rb")


def file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or address, and the path in it."""
    return fsspec.core.url_to_fs(path) if "://" in path else (LocalFileSystem(), path)


def real_path(path: str) -> str:
    """A local path with links resolved; an address unchanged."""
    return path if "://" in path else os.path.realpath(path)


def real_paths(paths: Iterable[str]) -> Iterator[str]:
    """`real_path` of many paths; the links of each folder are resolved once."""
    folders: dict[str, str] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if "://" in path or os.path.islink(path) or name in ("", ".", ".."):
            yield real_path(path)
            continue
        if folder not in folders:
            folders[folder] = os.path.realpath(folder or "/" * path.startswith("/"))
        yield f"{folders[folder].rstrip('/')}/{name}"


def failures(fs: fsspec.AbstractFileSystem) -> type[Exception]:
    """The exception type to catch for file system failures; stores raise types of their own."""
    return OSError if isinstance(fs, LocalFileSystem) else Exception


def write_durable(path: str, content: bytes) -> None:
    """Write a local file and wait until it is on disk."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
