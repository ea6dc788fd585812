"""Opening a file by its path or address: a path of this machine is never taken for an address."""

from __future__ import annotations

import os
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem


def open_bytes(path: str) -> IO[bytes]:
    """A file, opened for reading bytes.

    fsspec reads ``::`` as a chain of file systems, which a folder of this machine may have in its
    name.
    """
    return fsspec.open(path, "rb").open() if "://" in path else open(path, "rb")


def file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or address, and the path in it."""
    return fsspec.core.url_to_fs(path) if "://" in path else (LocalFileSystem(), path)


def real_path(path: str) -> str:
    """A local path that is the same for every name of a file; an address as it is."""
    return path if "://" in path else os.path.realpath(path)


def failures(fs: fsspec.AbstractFileSystem) -> type[Exception]:
    """What to catch where a file system may fail: a store has errors of its own."""
    return OSError if isinstance(fs, LocalFileSystem) else Exception
