"""The storage format of a file of embeddings, and whether it has changed since it was opened."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from functools import lru_cache

from fsspec.implementations.local import LocalFileSystem

from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.local_file import file_system

#: Errors that NumPy, zipfile and the stores raise for a damaged or hostile file.
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
    EOFError,
    MemoryError,
    SyntaxError,
    OverflowError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def storage_format(path: str) -> str:
    """The storage format by extension: ``"npy"``, ``"npz"``, ``"safetensors"``, ``"parquet"``.

    Any other extension is returned in lower case.
    """
    ending = path.rpartition(".")[2].lower()
    return "parquet" if f".{ending}" in PARQUET else ending


@lru_cache(maxsize=1 << 16)
def local_path(path: str) -> str | None:
    """The path of a local file as the operating system spells it; None for a remote file."""
    fs, inner = file_system(path)
    return inner if isinstance(fs, LocalFileSystem) else None


def state_of(path: str) -> str:
    """A key that changes when a file is rewritten, so that no cache serves stale rows."""
    local = local_path(path)
    if local is not None:
        status = os.stat(local)
        return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}-{status.st_dev}"
    fs, inner = file_system(path)
    return fs.ukey(inner)


def check_size(path: str, expected: int) -> None:
    """Raise a ValueError if a file's size differs from the expected size."""
    local = local_path(path)
    if local is not None:
        size = os.stat(local).st_size
    else:
        fs, inner = file_system(path)
        size = fs.size(inner)
    if size is not None and size != expected:
        raise ValueError(f"it has {size:,} bytes, but had {expected:,} when it was opened")
