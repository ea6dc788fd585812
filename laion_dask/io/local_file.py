"""Opening a file by its path or address: a path of this machine is never taken for an address."""

from __future__ import annotations

from typing import IO

import fsspec


def open_file(path: str) -> IO[bytes]:
    """A file, opened for reading bytes.

    fsspec reads ``::`` as a chain of file systems, which a folder of this machine may have in its
    name.
    """
    return fsspec.open(path, "rb").open() if "://" in path else open(path, "rb")
