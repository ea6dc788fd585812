"""Manage the staging folders of exports that are running, finished or killed."""

from __future__ import annotations

from contextlib import suppress

import fsspec

from laion_dask.exports.state import STAGING, listed_names, names_in
from laion_dask.io.storage.export_manifest import PARTS, export_of, is_part_name
from laion_dask.io.storage.folder_lock import Owner, age_s, owner
from laion_dask.io.storage.local_file import failures

#: Seconds without a write after which the staging folder of a process on another machine is
#: considered abandoned.
_ABANDONED_S = 86_400.0
#: Staging folders that this process is writing to.
open_stagings: set[str] = set()


def clear_abandoned(fs: fsspec.AbstractFileSystem, folder: str) -> None:
    """Remove the staging folders of exports that were killed."""
    for name in names_in(fs, folder):
        staging = f"{folder}/{name}"
        if name.startswith(STAGING):
            with suppress(failures(fs)):  # another export may clear it at the same time
                if _is_abandoned(fs, staging):
                    fs.rm(staging, recursive=True)


def export_id_of(staging: str) -> str:
    """The digits that the names of an export's attempts contain, given its staging folder."""
    return staging.rpartition("-")[2][:8]


def unlisted_parts(fs: fsspec.AbstractFileSystem, folder: str, own: str = "") -> list[str]:
    """The paths of parts that no manifest lists, and that no running export has written.

    Parameters
    ----------
    fs : file system
    folder : str
    own : str
        The staging folder of an export that has ended.
    """
    parts = f"{folder}/{PARTS}"
    fs.invalidate_cache()
    names = [name for name in names_in(fs, parts) if is_part_name(name)]
    # In this order: a part that is committed in the meantime is either running or listed.
    stagings = [n for n in names_in(fs, folder) if n.startswith(STAGING)]
    paths = [f"{folder}/{name}" for name in stagings if f"{folder}/{name}" != own]
    running = {export_id_of(path) for path in paths if not _is_abandoned(fs, path)}
    listed = listed_names(fs, folder)
    return [f"{parts}/{n}" for n in names if n not in listed and export_of(n) not in running]


def _is_abandoned(fs: fsspec.AbstractFileSystem, staging: str) -> bool:
    writer = Owner.parse(staging.rpartition(STAGING)[2])
    if staging in open_stagings:
        return False
    if writer is not None and (writer.has_ended() or writer == owner()):
        return True
    files = fs.find(staging) or [staging]
    return min(age_s(fs, file) for file in files) > _ABANDONED_S


def remove_staging(fs: fsspec.AbstractFileSystem, staging: str) -> None:
    """Remove a staging folder; the next export removes whatever cannot be removed now."""
    for _ in range(3):  # a task that was not canceled in time may still be writing
        with suppress(failures(fs)):
            fs.rm(staging, recursive=True)
