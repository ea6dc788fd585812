"""The shards in a folder: those listed in an export's manifest, or all files below the folder.

Also removes files that are not shards from lists of explicitly named files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import OptionError, ShardError
from laion_dask.io.storage.discovery import (
    PICTURED,
    SIDECAR,
    SkippedFiles,
    files_below,
    is_hidden,
    taken,
)
from laion_dask.io.storage.export_manifest import (
    FLAT_MANIFEST,
    MANIFESTS,
    PARTS,
    UNFINISHED,
    Manifest,
    current_manifest,
    read_manifest,
)

#: Ends of the paths that may mark an export.
_MARKS = tuple(f"/{name}" for name in (UNFINISHED, *MANIFESTS))
#: The suffix of arrays, which an export may have beside its parts.
_ARRAYS = ".npy"
#: Files without rows that tools write beside shards.
_NO_SHARD = re.compile(r"(^|/)_(SUCCESS|metadata|common_metadata|committed_\w+|started_\w+)$")


def files_of_folder(
    fs, folder: str, suffixes: tuple[str, ...], left_out: SkippedFiles
) -> list[str]:
    """The shards in a folder; empty if it contains no file with one of these suffixes.

    Raises
    ------
    ShardError
        When the folder is an interrupted export, differs from its manifest, or uses a format
        with other suffixes.
    OptionError
        When the folder contains both shards and, in a subfolder, an export.
    """
    manifest = current_manifest(fs, folder) or _manifest_in_parent(fs, folder)
    if manifest is not None:
        return _parts_with_suffix(fs, folder, manifest, suffixes)
    if fs.isfile(f"{folder}/{UNFINISHED}"):
        raise ShardError(
            f"{folder} contains an export that was interrupted before its manifest was written. "
            "Export there again."
        )
    below = files_below(fs, folder, left_out)
    left_out.searched.append(fs.unstrip_protocol(folder))
    files = taken(below, suffixes, left_out)
    marks = (e.folder for e in below if e.path.endswith(_MARKS) and _marks_export(fs, e.path))
    exports = [e for e in dict.fromkeys(marks) if not is_hidden(e[len(folder) + 1 :])]
    exported = {f for f in files if any(f.startswith(f"{e}/") for e in exports)}
    if not exported:
        return files
    if len(exported) < len(files):
        raise _mixed(folder, exports[0], suffixes)
    return [file for export in exports for file in files_of_folder(fs, export, suffixes, left_out)]


def _parts_with_suffix(fs, folder: str, manifest: Manifest, suffixes: tuple[str, ...]) -> list[str]:
    """The paths of an export's parts; raises if the export has a different format.

    For a reader of arrays, the arrays beside the parts, if there are any.
    """
    arrays = _arrays_beside(fs, manifest) if _ARRAYS in suffixes else []
    if arrays:
        return arrays
    for part in manifest.parts:
        if not part.name.lower().endswith(suffixes):
            raise ShardError(
                f"{folder} is an export of files such as {part.name}. Expected "
                f"{' or '.join(suffixes)}. Export in that format, or open these files with a "
                "reader of their format."
            )
    return [part.path for part in manifest.parts]


def _arrays_beside(fs, manifest: Manifest) -> list[str]:
    """The arrays beside the parts of an export; raises if there are several sets of them."""
    beside = [
        [file.path for file in part.companions if file.name.endswith(_ARRAYS)]
        for part in manifest.parts
    ]
    if max(map(len, beside), default=0) > 1:
        local = isinstance(fs, LocalFileSystem)
        folder = manifest.folder if local else fs.unstrip_protocol(manifest.folder)
        ends = [path.rpartition("/")[2].partition(".")[2] for path in beside[0]]
        raise ShardError(
            f"{folder} has {len(ends):,} sets of embeddings beside its rows. Expected one: name "
            f"{' or '.join(f'{folder}/*.{end}' for end in ends)}."
        )
    return [path for paths in beside for path in paths]


def listed_in_manifests(
    fs, files: list[str], suffixes: tuple[str, ...], left_out: SkippedFiles
) -> list[str]:
    """The files that a pattern matches, without files in exports that are not in the manifest.

    Raises
    ------
    OptionError
        When some files are in an export and others are not.
    """
    folders = dict.fromkeys(file.rpartition("/")[0] for file in files)
    exports = {f: manifest for f in folders if (manifest := _manifest_for(fs, f)) is not None}
    if not exports:
        return files
    if len(exports) < len(folders):
        other = next(folder for folder in folders if folder not in exports)
        raise _mixed(other, next(iter(exports)), suffixes)
    listed = {file.path for manifest in exports.values() for file in manifest.files}
    left_out.add("not in the manifest of its export", (f for f in files if f not in listed))
    return [file for file in files if file in listed]


def _manifest_for(fs, folder: str) -> Manifest | None:
    """The manifest of the export that a folder of files belongs to, or None."""
    if _marks_export(fs, f"{folder}/{FLAT_MANIFEST}"):
        return current_manifest(fs, folder)
    return _manifest_in_parent(fs, folder)


def _manifest_in_parent(fs, folder: str) -> Manifest | None:
    """The manifest of an export if the folder is its folder of parts, or None."""
    parent, _, name = folder.rpartition("/")
    return current_manifest(fs, parent) if name == PARTS and _has_manifest(fs, parent) else None


def _has_manifest(fs, folder: str) -> bool:
    return any(fs.isfile(f"{folder}/{name}") for name in MANIFESTS if name != FLAT_MANIFEST)


def _mixed(folder: str, export: str, suffixes: tuple[str, ...]) -> OptionError:
    return OptionError(
        f"{folder} holds shards, and {export} in it is an export, whose rows may be the same ones. "
        f"Name the one that you mean, such as {folder}/*{suffixes[0]}."
    )


def _marks_export(fs, path: str) -> bool:
    """Whether a file marks its folder as a complete or interrupted export."""
    name = path.rpartition("/")[2]
    if name != FLAT_MANIFEST:
        return name == UNFINISHED or name in MANIFESTS
    if not fs.isfile(path):
        return False
    try:
        read_manifest(fs, path)
    except ShardError:
        return False
    return True


def shards_only(files: Sequence[str], suffixes: Sequence[str], left_out: SkippedFiles) -> list[str]:
    """The named files that may be shards; all of them if no name has a shard suffix."""
    others = [file for file in files if _is_not_a_shard(file, tuple(suffixes))]
    if len(others) == len(files):
        return list(files)
    if not others:
        return list(files)
    left_out.add("that lie beside shards but are not shards", others)
    return [file for file in files if file not in set(others)]


def _is_not_a_shard(path: str, suffixes: tuple[str, ...]) -> bool:
    if path.lower().endswith(suffixes):
        return False
    name = path.rpartition("/")[2].lower()
    other = SIDECAR.search(name) or name.endswith(PICTURED)
    return bool(_NO_SHARD.search(path) or other)
