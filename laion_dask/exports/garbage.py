"""Remove what killed exports left in a folder: files that no manifest names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.display.overview import Displayed
from laion_dask.errors import ExportError, must_be
from laion_dask.exports.lease import Lease, release
from laion_dask.exports.staging import abandoned, running, unlisted_parts
from laion_dask.exports.state import STAGING, ExportState, export_state, names_in
from laion_dask.formatting import counted
from laion_dask.io.storage.atomic_file import reason
from laion_dask.io.storage.export_manifest import NEXT_MANIFEST, NEXT_PARTS, UNFINISHED
from laion_dask.io.storage.folder_lock import locked
from laion_dask.io.storage.local_file import failures
from laion_dask.io.storage.paths import filesystem


@dataclass(frozen=True)
class Garbage(Displayed):
    """Files of killed exports.

    Attributes
    ----------
    folder : str
    files : dict of str to int
        The size of each file, by its path in the folder.
    is_removed : bool
        False if the files were only counted.
    """

    folder: str
    files: dict[str, int]
    is_removed: bool

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(self.files.values())

    def __str__(self) -> str:
        done = "removed" if self.is_removed else "would be removed"
        total = f"{counted(len(self.files), 'file')}, {counted(self.bytes, 'byte')} {done}"
        lines = [f"{name} {counted(size, 'byte')}" for name, size in sorted(self.files.items())]
        return "\n".join([*lines, f"{self.folder}: {total}"])


def collect_garbage(folder: str | os.PathLike[str], *, dry_run: bool = False) -> Garbage:
    """Remove the files in an export's folder that no manifest names. Eager.

    These are what killed exports have staged or, in an object store, written in place. The files
    of an export that is running are kept: one in a process on this machine, or one on another
    machine that has written within 15 minutes. An export that could be resumed is discarded.

    Parameters
    ----------
    folder : str or path
        A folder written by `export`: a local path, or an address that fsspec knows.
    dry_run : bool
        Whether to count the files, and remove none.

    Raises
    ------
    ExportError
        When the folder is not that of an export, contains files that export did not write, or
        cannot be changed.
    ExportConflictError
        When another export is being committed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> from laion_dask.exports.garbage import collect_garbage
    >>> done = ld.read_shards("demo-corpus/embedded/metadata").laion.export("subset")
    >>> print(collect_garbage(done.path))
    subset: 0 files, 0 bytes removed
    """
    must_be("folder", folder, (str, os.PathLike), "the folder of an export")
    path = os.fspath(folder)
    fs, inner = filesystem(path)
    inner = inner.rstrip("/")
    try:
        return _collect(fs, inner, path, dry_run)
    except ExportError:
        raise
    except failures(fs) as error:
        raise ExportError(
            f"{path} cannot be cleaned up: {reason(error)}. Check that it can be read and changed."
        ) from error


def release_exports(folder: str | os.PathLike[str]) -> int:
    """Let the next export take over what exports on other machines have written. Eager.

    Without this, it waits until they have written nothing for 15 minutes. An export that is
    still running stops, and makes nothing visible. Files of exports that have ended are unchanged.

    Returns
    -------
    int
        The number of exports that were released.

    Raises
    ------
    ExportError
        When the folder is not that of an export, contains files that export did not write, or
        cannot be changed.
    """
    must_be("folder", folder, (str, os.PathLike), "the folder of an export")
    path = os.fspath(folder)
    fs, inner = filesystem(path)
    inner = inner.rstrip("/")
    try:
        _export_in(fs, inner, path)
        return sum(release(fs, staging) for staging in running(fs, inner))
    except ExportError:
        raise
    except failures(fs) as error:
        raise ExportError(
            f"{path} cannot be changed: {reason(error)}. Check that it can be read and changed."
        ) from error


def _export_in(
    fs: fsspec.AbstractFileSystem, folder: str, path: str
) -> tuple[ExportState, list[str]]:
    """The state of an export and the names in its folder; raises if that is not one."""
    state = export_state(fs, folder, path)  # raises for files that export did not write
    names = names_in(fs, folder)
    if not state.manifests and not any(n == UNFINISHED or n.startswith(STAGING) for n in names):
        raise ExportError(
            f"{path} holds no export, not even one that was killed. Name the folder of an export."
        )
    return state, names


def _collect(fs: fsspec.AbstractFileSystem, folder: str, path: str, dry_run: bool) -> Garbage:
    state, names = _export_in(fs, folder, path)
    files: dict[str, int] = {}
    with _unchanging(fs, folder):
        for part in unlisted_parts(fs, folder):
            files[part] = fs.size(part)
            if not dry_run:
                fs.rm_file(part)
        if NEXT_PARTS in names and NEXT_MANIFEST not in names:
            files[f"{folder}/{NEXT_PARTS}"] = fs.size(f"{folder}/{NEXT_PARTS}")
            if not dry_run:
                fs.rm_file(f"{folder}/{NEXT_PARTS}")
    for staging in abandoned(fs, folder):
        found = {file: info["size"] for file, info in fs.find(staging, detail=True).items()}
        if dry_run:
            files |= found
        elif Lease(fs, staging).take_over():
            files |= found
            fs.rm(staging, recursive=True)
    if not state.manifests and UNFINISHED in names and not running(fs, folder):
        files[f"{folder}/{UNFINISHED}"] = 0
        if not dry_run:
            fs.rm_file(f"{folder}/{UNFINISHED}")
    start = len(folder) + 1
    return Garbage(path, {name[start:]: size for name, size in files.items()}, not dry_run)


@contextmanager
def _unchanging(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[None]:
    """Keep other exports from replacing a local folder of parts."""
    if not isinstance(fs, LocalFileSystem):
        yield  # names of parts in a store are those of one export
        return
    with locked(fs, folder):
        yield
