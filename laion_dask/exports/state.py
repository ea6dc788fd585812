"""Inspect an export's folder and distinguish its own files from the user's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError
from laion_dask.io.storage.export_manifest import (
    DOCUMENTS,
    FLAT_MANIFEST,
    KIND,
    MANIFEST,
    MANIFESTS,
    MAX_BYTES,
    NEXT_MANIFEST,
    NEXT_PARTS,
    PARTS,
    UNFINISHED,
    is_attempt_name,
    is_part_name,
)
from laion_dask.io.storage.files_below import names_below
from laion_dask.io.storage.folder_lock import LOCK_FILE

#: Prefix of the name of the folder in which an export stages its parts.
STAGING = ".laion_dask-staging-"


@dataclass(frozen=True)
class ExportState:
    """The files of an export in a folder.

    Attributes
    ----------
    manifests : dict of str to bytes
        Contents by file name.
    parts : tuple of str
        Names of the files in the folder of parts; in an object store, where other exports may be
        writing theirs, of those that a manifest lists.
    versions : tuple of object
        What identifies each manifest apart from its content, where the file system tells: another
        export of the same rows writes the same manifest.
    flat : tuple of str
        Names of files that an earlier release wrote beside that folder: parts, then manifest.
    documents : frozenset of str
        Names of the documents that a manifest lists, and that exist.
    """

    manifests: dict[str, bytes]
    parts: tuple[str, ...]
    versions: tuple[object, ...]
    flat: tuple[str, ...]
    documents: frozenset[str] = frozenset()


def names_in(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The sorted names in a folder; empty if the folder does not exist."""
    if not fs.isdir(folder):
        return []
    names = [n.rstrip("/").rpartition("/")[2] for n in fs.ls(folder, detail=False)]
    return sorted(n for n in names if n)


def export_state(fs: fsspec.AbstractFileSystem, folder: str, path: str) -> ExportState:
    """The state of an export's folder.

    Parameters
    ----------
    fs : file system
    folder : str
        The folder's path in that file system.
    path : str
        The folder as the user named it, for error messages.

    Raises
    ------
    ExportError
        When the folder contains files that export did not write.
    """
    fs.invalidate_cache()
    own = {LOCK_FILE, NEXT_PARTS}
    names = [n for n in names_in(fs, folder) if n not in own and not n.startswith(STAGING)]
    contents = ((n, _own_manifest(fs, f"{folder}/{n}")) for n in MANIFESTS if n in names)
    manifests = {n: content for n, content in contents if content is not None}
    parts = names_below(fs, f"{folder}/{PARTS}")
    listed = {name for content in manifests.values() for name in _listed(content)}
    flat_parts = [n for n in names if is_part_name(n)]
    is_foreign = names and not _is_interrupted(names, flat_parts, parts)
    foreign_manifests = {MANIFEST, NEXT_MANIFEST} & (set(names) - manifests.keys())
    if (is_foreign and not manifests) or foreign_manifests:
        raise _foreign_error(path, names)
    _check_parts(fs, folder, path, [n for n in parts if n not in listed])
    documents = {name for content in manifests.values() for name in _listed_documents(content)}
    _check_documents(path, {*names} & {*DOCUMENTS} - documents)
    # Without a manifest of that release, files with such names belong to the user.
    flat = flat_parts if FLAT_MANIFEST in manifests or UNFINISHED in names else []
    flat += [n for n in (FLAT_MANIFEST,) if n in manifests]
    versions = tuple(_version(fs, f"{folder}/{n}") for n in sorted(manifests))
    if not isinstance(fs, LocalFileSystem):
        parts = sorted(listed)
    documents &= {*names}
    return ExportState(manifests, tuple(parts), versions, tuple(flat), frozenset(documents))


def _version(fs: fsspec.AbstractFileSystem, path: str) -> object:
    """Differs between two files that were written one after the other under one name."""
    if isinstance(fs, LocalFileSystem):
        status = os.stat(path)
        return status.st_ino, status.st_mtime_ns
    info = fs.info(path)
    return tuple(info.get(key) for key in ("ETag", "VersionId", "generation", "created"))


def listed_names(fs: fsspec.AbstractFileSystem, folder: str) -> set[str]:
    """The names of the files that any manifest of export in a folder lists."""
    fs.invalidate_cache()
    contents = [_own_manifest(fs, f"{folder}/{name}") for name in MANIFESTS]
    return {name for content in contents if content is not None for name in _listed(content)}


def _listed(manifest: bytes) -> Iterator[str]:
    """The names of the files that a manifest of export lists."""
    parsed = json.loads(manifest)
    entries = [*parsed["parts"], *parsed.get("index", ())]
    for entry in entries:
        for file in (entry, *entry.get("companions", ())):
            yield file["file"]


def _listed_documents(manifest: bytes) -> set[str]:
    """The names of the documents that a manifest of export lists."""
    return {entry["file"] for entry in json.loads(manifest).get("documents", ())} & {*DOCUMENTS}


def _check_documents(path: str, foreign: Set[str]) -> None:
    """Raise if a document in the folder is the user's, since an export would replace it."""
    if foreign:
        raise ExportError(
            f"{path} holds {', '.join(sorted(foreign))}, which export did not write and would "
            "replace. Move it elsewhere, or name a new folder."
        )


def _is_interrupted(names: Sequence[str], flat_parts: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a folder without a manifest contains only files of an interrupted export."""
    if UNFINISHED in names:
        return not set(names) - {UNFINISHED, PARTS, *flat_parts}
    return names == [PARTS] and all(map(is_attempt_name, parts))


def _own_manifest(fs: fsspec.AbstractFileSystem, path: str) -> bytes | None:
    """The content of a manifest written by export; None for any other file."""
    if not fs.isfile(path) or fs.size(path) > MAX_BYTES:
        return None
    content: bytes = fs.cat_file(path)
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        parsed = json.loads(content)
        if parsed["kind"] == KIND and isinstance(parsed["parts"], list):
            return content
    return None


def _check_parts(
    fs: fsspec.AbstractFileSystem, folder: str, path: str, parts: Sequence[str]
) -> None:
    foreign = [n for n in parts if not is_part_name(n)]
    if isinstance(fs, LocalFileSystem) and os.path.islink(f"{folder}/{PARTS}"):
        foreign = ["the target of a link"]
    if fs.isfile(f"{folder}/{PARTS}"):
        raise ExportError(
            f"{path}/{PARTS} is a file, but export needs a folder of that name for its parts. Move "
            "the file elsewhere, or name a new folder."
        )
    if foreign:
        raise ExportError(
            f"{path}/{PARTS} holds {', '.join(foreign[:5])}, which export did not write. Move "
            "it elsewhere, or name a new folder."
        )


def _foreign_error(path: str, names: Sequence[str]) -> ExportError:
    return ExportError(
        f"{path} is not empty and was not written by export (it holds {', '.join(names[:5])}). "
        "Name a new folder."
    )
