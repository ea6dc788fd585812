"""Atomic file writes: a file appears complete or not at all. Used everywhere except for exports.

A regular file is written under a temporary name, flushed to disk and renamed. A link is kept and
its target is replaced. Any other path, such as a pipe or a device, is written to once the content
is complete, because renaming would replace it with a regular file.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from laion_dask.errors import ExportError, LaionDaskError

#: Suffix of the temporary name under which a file is being written.
PARTIAL = ".partial"


@contextmanager
def committed(path: Path) -> Iterator:
    """A temporary binary file that is moved to ``path`` when the block ends.

    Raises
    ------
    ExportError
        When the file cannot be written, for example because the disk is full.
    """
    path = Path(path)
    with writing(path):
        if _is_special(path):
            with tempfile.NamedTemporaryFile() as file:
                yield file
                file.flush()
                _write_through(file.name, path)
        else:
            target = _resolve_links(path)
            with partial(target.parent, target.name) as file:
                yield file
                put(file, target)


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn an OSError raised while writing into an ExportError.

    Raises
    ------
    ExportError
    """
    try:
        yield
    except LaionDaskError:
        raise
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: str | os.PathLike, error: Exception) -> ExportError:
    """The error for a path that cannot be written to."""
    return ExportError(
        f"{os.fspath(path)} could not be written: {reason(error)}. Free some space there, or "
        "name another place."
    )


def reason(error: Exception) -> str:
    """The reason why a file system operation failed, in one line."""
    message = getattr(error, "strerror", None) or str(error)
    return next(iter(message.strip().splitlines()), type(error).__name__).rstrip(". ")


def _is_special(path: Path) -> bool:
    """Whether a path exists but is not a regular file."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder, but a file is expected")
    return path.exists() and not path.is_file()


def _write_through(staged: str, path: Path) -> None:
    """Copy a file into a pipe or a device; raises instead of waiting if nobody reads the pipe."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with open(staged, "rb") as source, open(descriptor, "wb") as target:
        shutil.copyfileobj(source, target)


def _resolve_links(path: Path) -> Path:
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, "it is a link that leads back to itself")
    return target


@contextmanager
def partial(folder: Path, name: str) -> Iterator:
    """A file with a temporary name that is removed at the end, unless `put` has renamed it."""
    # A file name has at most 255 bytes, and a character at most four.
    path = folder / f".{name[:50]}.{uuid.uuid4().hex[:8]}{PARTIAL}"
    try:
        with open(path, "wb") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def put(file, path: Path) -> None:
    """Flush a `partial` file to disk and give it its final name."""
    file.flush()
    os.fsync(file.fileno())
    os.replace(file.name, _resolve_links(path))


def sweep(folder: Path, idle_s: float = 0) -> None:
    """Remove temporary files of killed runs, if they have been idle for ``idle_s``.

    Parameters
    ----------
    folder : Path
    idle_s : float
        Seconds since the last write. Newer files may belong to a running process and are kept.
    """
    for file in folder.rglob(f".*{PARTIAL}"):
        with suppress(FileNotFoundError):
            if not idle_s or time.time() - file.stat().st_mtime > idle_s:
                file.unlink()


def json_bytes(data: dict) -> bytes:
    """Encode a manifest as the content of its file."""
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
