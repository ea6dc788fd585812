"""Manage the staging folders of exports that are running, finished or killed."""

from __future__ import annotations

import re
import uuid
from contextlib import suppress

import fsspec

from laion_dask.errors import ExportError
from laion_dask.exports.plan import Plan
from laion_dask.exports.records import RECORDS
from laion_dask.exports.state import STAGING, listed_names, names_in
from laion_dask.io.storage.create_once import create_once
from laion_dask.io.storage.export_manifest import PARTS, export_of, is_part_name
from laion_dask.io.storage.folder_lock import Owner, age_s, owner
from laion_dask.io.storage.local_file import failures

#: Seconds without a write after which the staging folder of a process on another machine is
#: considered abandoned.
_ABANDONED_S = 86_400.0
#: The file with the plan of an export, which also marks its staging folder in a store.
PLAN = "plan.json"
#: Prefix of the files that name the processes that took a staging folder over.
CLAIM = "claim-"
#: Staging folders that this process is writing to.
open_stagings: set[str] = set()


def adopt(fs: fsspec.AbstractFileSystem, folder: str, plan: Plan) -> str | None:
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
        if other.id == plan.id and claim(fs, staging):
            return staging
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


def claim(fs: fsspec.AbstractFileSystem, staging: str) -> bool:
    """Take over an abandoned staging folder; False if another process has."""
    path = f"{staging}/{CLAIM}{len(_claims(fs, staging)):06d}"
    content = f"{owner()}-{uuid.uuid4().hex[:8]}".encode()
    try:
        return create_once(fs, path, content) == content
    except failures(fs):
        return False


def _claims(fs: fsspec.AbstractFileSystem, staging: str) -> list[str]:
    return [name for name in names_in(fs, staging) if re.fullmatch(CLAIM + r"\d{6}", name)]


def abandoned(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The staging folders of exports that were killed."""
    return [path for path in _stagings(fs, folder) if _is_abandoned(fs, path)]


def running(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The staging folders of exports that are running."""
    return [path for path in _stagings(fs, folder) if not _is_abandoned(fs, path)]


def _stagings(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in names_in(fs, folder) if name.startswith(STAGING)]


def clear_abandoned(fs: fsspec.AbstractFileSystem, folder: str) -> None:
    """Remove the staging folders of exports that were killed."""
    for staging in _stagings(fs, folder):
        with suppress(failures(fs)):  # another export may clear it at the same time
            if _is_abandoned(fs, staging) and claim(fs, staging):
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
    if staging in open_stagings:
        return False
    writer = _owner_of(fs, staging)
    if writer is not None and (writer.has_ended() or writer == owner()):
        return True
    files = fs.find(staging) or [staging]
    return min(age_s(fs, file) for file in files) > _ABANDONED_S


def _owner_of(fs: fsspec.AbstractFileSystem, staging: str) -> Owner | None:
    """The process that made a staging folder, or the last one that took it over."""
    for claim in reversed(_claims(fs, staging)):
        with suppress(failures(fs)):
            return Owner.parse(fs.cat_file(f"{staging}/{claim}").decode(errors="replace"))
    return Owner.parse(staging.rpartition(STAGING)[2])


def remove_staging(fs: fsspec.AbstractFileSystem, staging: str) -> None:
    """Remove a staging folder; the next export removes whatever cannot be removed now."""
    for _ in range(3):  # a task that was not canceled in time may still be writing
        with suppress(failures(fs)):
            fs.rm(staging, recursive=True)
