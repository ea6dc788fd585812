"""Manage the staging folders of exports that are running, finished or killed."""

from __future__ import annotations

import os
from contextlib import suppress

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError
from laion_dask.exports.lease import Lease, is_abandoned
from laion_dask.exports.plan import Plan
from laion_dask.exports.records import RECORDS
from laion_dask.exports.state import STAGING, listed_names, names_in
from laion_dask.io.storage.export_manifest import PARTS, export_of, is_part_name
from laion_dask.io.storage.folder_lock import Owner
from laion_dask.io.storage.local_file import failures

#: The file with the plan of an export, which also marks its staging folder in a store.
PLAN = "plan.json"
#: Staging folders that this process is writing to.
open_stagings: set[str] = set()


def adopt(fs: fsspec.AbstractFileSystem, folder: str, plan: Plan) -> Lease | None:
    """Take over the staging folder of a killed export of the same plan; None if there is none.

    Raises
    ------
    ExportError
        When a shard has changed since a killed export of the same job recorded some of its rows.
    """
    for staging in abandoned(fs, folder):
        other = plan_in(fs, staging)
        if other is None or other.id is None:
            continue
        if other.id == plan.id:
            lease = Lease(fs, staging)
            if lease.take_over():
                return lease
        changed = plan.changed_input(other)
        if changed is not None and names_in(fs, f"{staging}/{RECORDS}"):
            raise ExportError(
                f"{changed} has changed since an export to {folder} was killed, which has already "
                "read rows of its shards. Restore the shard to finish that export, or run "
                f"'laion-dask gc {folder}' to discard what it has written, and export again."
            )
    return None


def plan_in(fs: fsspec.AbstractFileSystem, staging: str) -> Plan | None:
    """The plan of the export that has a staging folder."""
    try:
        return Plan.parse(fs.cat_file(f"{staging}/{PLAN}"))
    except failures(fs):
        return None


def abandoned(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The staging folders of exports that were killed."""
    return [path for path in _stagings(fs, folder) if _is_abandoned(fs, path)]


def running(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The staging folders of exports that are running."""
    return [path for path in _stagings(fs, folder) if not _is_abandoned(fs, path)]


def _stagings(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The staging folders in a folder. Symbolic links are ignored."""
    paths = [f"{folder}/{name}" for name in names_in(fs, folder) if name.startswith(STAGING)]
    return [p for p in paths if not (isinstance(fs, LocalFileSystem) and os.path.islink(p))]


def clear_abandoned(fs: fsspec.AbstractFileSystem, folder: str) -> None:
    """Remove the staging folders of exports that were killed."""
    for staging in _stagings(fs, folder):
        with suppress(failures(fs)):  # another export may clear it at the same time
            if _is_abandoned(fs, staging) and Lease(fs, staging).take_over():
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
    paths = [path for path in _stagings(fs, folder) if path != own]
    active = {export_id_of(path) for path in paths if not _is_abandoned(fs, path)}
    listed = listed_names(fs, folder)
    return [f"{parts}/{n}" for n in names if n not in listed and export_of(n) not in active]


def _is_abandoned(fs: fsspec.AbstractFileSystem, staging: str) -> bool:
    """Whether the process that writes to a staging folder has ended."""
    first = Owner.parse(staging.rpartition(STAGING)[2])
    return staging not in open_stagings and is_abandoned(fs, staging, first)


def remove_staging(fs: fsspec.AbstractFileSystem, staging: str) -> None:
    """Remove a staging folder; the next export removes whatever cannot be removed now."""
    for _ in range(3):  # a task that was not canceled in time may still be writing
        with suppress(failures(fs)):
            fs.rm(staging, recursive=True)
