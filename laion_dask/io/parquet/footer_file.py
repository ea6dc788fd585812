"""The bytes of Parquet footers."""

from __future__ import annotations

import re

import pyarrow as pa

from laion_dask.errors import ShardError
from laion_dask.io.storage.conversion import conversion
from laion_dask.io.storage.remote_file import unreadable

_TAIL = 1 << 16
REMEDY = "Fetch the file again, or leave it out of the paths."
MAGIC = b"PAR1"
_POINTER = b"version https://git-lfs"

#: Exceptions that pyarrow raises for a damaged file.
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)


def damaged(path: str, error: Exception) -> ShardError:
    """The error for a shard that cannot be read as Parquet, or whose store fails."""
    first = str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__
    if first.startswith("Traceback"):  # as DuckDB passes on what a file system raises
        raised = re.findall(r"^[\w.]+(?:: .*)?$", str(error), re.MULTILINE)
        return unreadable(path, OSError(raised[-1] if raised else "its store raised an error"))
    return ShardError(f"{path} cannot be read as Parquet: {first}. {REMEDY}")


def footer_bytes(file, size: int, path: str) -> bytes:
    """The footer, including its length and the closing magic bytes."""
    if size == 0:
        raise ShardError(f"{path} is empty: 0 bytes, no Parquet footer. {REMEDY}")
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    if size < 12 or tail[-4:] != MAGIC:
        file.seek(0)
        raise _not_parquet(path, size, file.read(len(_POINTER)))
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > size - 4:
        raise ShardError(
            f"{path} is truncated or damaged: its footer claims {length:,} bytes of a file of "
            f"{size:,}. {REMEDY}"
        )
    if length > len(tail):
        file.seek(size - length)
        tail = file.read(length)
    return tail[-length:]


def _not_parquet(path: str, size: int, start: bytes) -> ShardError:
    """The error for a file without a Parquet footer, depending on how the file starts."""
    if start.startswith(MAGIC):
        problem = "is truncated: it starts as Parquet but has no footer"
        return ShardError(f"{path} ({size:,} bytes) {problem}. {REMEDY}")
    if hint := conversion(path):
        return ShardError(hint)
    if start == _POINTER:
        return ShardError(
            f"{path} ({size:,} bytes) is a Git LFS pointer, not the file itself. Fetch it with "
            "git lfs pull."
        )
    return ShardError(f"{path} ({size:,} bytes) is not Parquet. {REMEDY}")
