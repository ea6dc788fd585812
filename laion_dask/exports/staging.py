"""The hidden folder inside its target in which an export writes parts before they are visible."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.exports.state import STAGING, names_in
from laion_dask.io.storage.atomic_file import unwritten
from laion_dask.io.storage.folder_lock import Owner, age_s, owner
from laion_dask.io.storage.local_file import failures, file_system

#: The staging folder of another machine's process is cleared when nothing was written to it for
#: so long.
_ABANDONED_S = 86_400.0
#: Staging folders that this process is writing to.
open_stagings: set[str] = set()


def stage(url: str, content: bytes) -> dict:
    """Write one part into a staging folder.

    Returns
    -------
    dict
        ``staged`` (its name there), ``bytes``, ``sha256``.

    Raises
    ------
    ExportError
        When it cannot be written.
    """
    fs, path = file_system(url)
    try:
        if isinstance(fs, LocalFileSystem):
            write_durable(path, content)
        else:
            fs.pipe_file(path, content)
    except failures(fs) as error:
        raise unwritten(url, error) from error
    digest = hashlib.sha256(content).hexdigest()
    return {"staged": path.rpartition("/")[2], "bytes": len(content), "sha256": digest}


def write_durable(path: str, content: bytes) -> None:
    """Write a local file, and wait until it is on the disk."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def clear_abandoned(fs: fsspec.AbstractFileSystem, folder: str) -> None:
    """Remove the staging folders of exports that were killed."""
    for name in names_in(fs, folder):
        staging = f"{folder}/{name}"
        if name.startswith(STAGING) and staging not in open_stagings:
            with suppress(failures(fs)):  # another export may clear it at the same time
                if _is_abandoned(fs, staging):
                    fs.rm(staging, recursive=True)


def _is_abandoned(fs: fsspec.AbstractFileSystem, staging: str) -> bool:
    writer = Owner.parse(staging.rpartition(STAGING)[2])
    if writer is not None and (writer.has_ended() or writer == owner()):
        return True
    files = fs.find(staging) or [staging]
    return min(age_s(fs, file) for file in files) > _ABANDONED_S


def remove_staging(fs: fsspec.AbstractFileSystem, staging: str) -> None:
    """Remove a staging folder; what cannot be removed is cleared by the next export."""
    for _ in range(3):  # a task that was not cancelled in time may still be writing
        with suppress(failures(fs)):
            fs.rm(staging, recursive=True)
