"""Check, before an export becomes visible, that each of its parts stands once, and is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.formats.staged_files import StagedFile


def check_complete(
    fs: fsspec.AbstractFileSystem,
    path: str,
    folders: Sequence[str],
    parts: Sequence[WrittenPart],
    index: Sequence[StagedFile],
    manifest: Mapping[str, Any],
) -> None:
    """Raise unless every part stands exactly once, whole, and the rows add up.

    Parameters
    ----------
    fs : file system
    path : str
        The export's folder as the user named it.
    folders : sequence of str
        Where its files are staged.
    parts : sequence of WrittenPart
    index : sequence of StagedFile
    manifest : mapping
        The manifest, with the number of rows kept in ``counts`` if it is known.

    Raises
    ------
    ExportError
        When a part is missing, is there twice, or does not have its size, or the rows differ.
    FileNotFoundError
        When a store lacks a file.
    """
    numbers, rows = [part.number for part in parts], sum(part.rows for part in parts)
    counts = manifest.get("counts", {})
    kept = counts.get("records", counts.get("kept", rows))
    if numbers != list(range(len(parts))) or rows != kept:
        raise ExportError(
            f"{path} would have {len(parts):,} parts with {rows:,} rows, but {kept:,} were kept. "
            "Nothing was made visible. This is a fault of laion_dask: please report it, with the "
            "steps of the frame."
        )
    sizes = _sizes(fs, folders)
    for file in [*(file for part in parts for file in part.files), *index]:
        if file.staged not in sizes and not isinstance(fs, LocalFileSystem):
            raise FileNotFoundError(file.staged)  # on a disk, renaming it will raise
        if sizes.get(file.staged, file.bytes) != file.bytes:
            raise ExportError(
                f"{path}: the file {file.staged} has {sizes[file.staged]:,} bytes, but "
                f"{file.bytes:,} were written. Nothing was made visible. Export again."
            )


def _sizes(fs: fsspec.AbstractFileSystem, folders: Sequence[str]) -> dict[str, int]:
    """The sizes of the files in some folders, by name."""
    fs.invalidate_cache()
    listed = (info for folder in folders if fs.isdir(folder) for info in fs.ls(folder, detail=True))
    return {i["name"].rpartition("/")[2]: i["size"] for i in listed if i["type"] == "file"}
