"""Files that appear whole or not at all: the one way in which anything but an export is written.

A regular file is written under a temporary name, made durable and renamed. A link stays a link:
what it leads to is replaced. What is no regular file, such as a pipe or a device, is written to
once the content is complete, since a rename would put a file in its place.
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

#: The end of a name under which a file is being written.
PARTIAL = ".partial"


@contextmanager
def committed(path: Path) -> Iterator:
    """A binary file, with a name of its own, whose content is at ``path`` once it is whole.

    Raises
    ------
    ExportError
        When it cannot be written, as on a full disk or in a folder that is not writable.
    """
    path = Path(path)
    with writing(path):
        if _is_special(path):
            with tempfile.NamedTemporaryFile() as file:
                yield file
                file.flush()
                _write_through(file.name, path)
        else:
            place = _behind_links(path)
            with partial(place.parent, place.name) as file:
                yield file
                put(file, place)


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn an OSError of a write into an ExportError.

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
        f"{os.fspath(path)} could not be written: {reason(error)}. Make room there, or name "
        "another place."
    )


def reason(error: Exception) -> str:
    """Why a file system failed, in one line."""
    said = getattr(error, "strerror", None) or str(error)
    return next(iter(said.strip().splitlines()), type(error).__name__).rstrip(". ")


def _is_special(path: Path) -> bool:
    """Whether a path leads to something that is there and is no regular file."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder, and a file is expected")
    return path.exists() and not path.is_file()


def _write_through(staged: str, path: Path) -> None:
    """Copy a file into a pipe or a device; a pipe that nobody reads is refused, not waited for."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with open(staged, "rb") as source, open(descriptor, "wb") as target:
        shutil.copyfileobj(source, target)


def _behind_links(path: Path) -> Path:
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(errno.ELOOP, "it is a link that leads back to itself")
    return place


@contextmanager
def partial(folder: Path, name: str) -> Iterator:
    """A file under a temporary name; removed at the end unless `put` has renamed it."""
    # A name has 255 bytes at most, and a character up to four.
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
    os.replace(file.name, _behind_links(path))


def sweep(folder: Path, idle_s: float = 0) -> None:
    """Remove temporary files that a killed run left and that have been idle for ``idle_s``.

    Parameters
    ----------
    folder : Path
    idle_s : float
        Seconds since the last write. Younger files may belong to a running process and are kept.
    """
    for file in folder.rglob(f".*{PARTIAL}"):
        with suppress(FileNotFoundError):
            if not idle_s or time.time() - file.stat().st_mtime > idle_s:
                file.unlink()


def json_bytes(data: dict) -> bytes:
    """A manifest as its file holds it."""
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
