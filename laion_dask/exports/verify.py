"""Verify an export against its manifest: size, rows and digest of every part."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.display.overview import Displayed
from laion_dask.errors import ExportError, ShardError, must_be
from laion_dask.formatting import counted
from laion_dask.io.parquet.footer import read_footers
from laion_dask.io.parquet.manifest_check import check_footers
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.export_manifest import (
    ListedFile,
    Manifest,
    altered_error,
    current_manifest,
)
from laion_dask.io.storage.paths import filesystem, reached

_THREADS = 8


@dataclass(frozen=True)
class Verification(Displayed):
    """The size of a verified export.

    Attributes
    ----------
    folder : str
    parts, rows, bytes : int
        Totals over all parts.
    """

    folder: str
    parts: int
    rows: int
    bytes: int

    def __str__(self) -> str:
        return (
            f"{self.folder}: {counted(self.parts, 'part')}, {counted(self.rows, 'row')} and "
            f"{counted(self.bytes, 'byte')} match the manifest in size, rows and sha256"
        )


def verify(folder: str | os.PathLike[str]) -> Verification:
    """Verify every part of an export against its manifest. Eager.

    Reads every byte of every part, with little memory. `read_shards` compares only sizes and row
    counts, which requires no further reads.

    Parameters
    ----------
    folder : str or path
        A folder written by `export`: a local path, or an address that fsspec knows.

    Raises
    ------
    ExportError
        When the folder is not an export, or its manifest lists no digest for a part.
    ShardError
        When the manifest is damaged, or a part is missing or altered; the message names it.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/shards")
    >>> exported = frame.laion.where("width >= 128").laion.export("wide")
    >>> ld.verify(exported.path)
    Verification(...)
    """
    must_be("folder", folder, (str, os.PathLike), "the folder of an export")
    folder = os.fspath(folder)
    fs, inner = filesystem(folder)
    with reached(folder):
        manifest = current_manifest(fs, inner.rstrip("/"))
        if manifest is None:
            raise ExportError(
                f"{folder} holds no manifest of an export. Name the folder of an export."
            )
        files = [*manifest.files, *_documents(fs, manifest)]
        with ThreadPoolExecutor(_THREADS) as pool:
            sizes = list(pool.map(lambda file: _check(fs, file, manifest), files))
        rows = _count_rows(fs, manifest)
    return Verification(folder, len(manifest.parts), rows, sum(sizes))


def _documents(fs: fsspec.AbstractFileSystem, manifest: Manifest) -> Sequence[ListedFile]:
    """The documents that the manifest lists; raises if one is missing."""
    for file in manifest.documents:
        if not fs.isfile(file.path):
            raise altered_error(file, manifest, "does not exist")
    return manifest.documents


def _check(fs: fsspec.AbstractFileSystem, file: ListedFile, manifest: Manifest) -> int:
    """Compare a file's digest with the listed one and return the file's size in bytes."""
    if file.sha256 is None:
        raise ExportError(f"{manifest.path} lists no sha256 for {file.path}. Export again.")
    with fs.open(file.path, "rb") as opened:
        actual = hashlib.file_digest(opened, "sha256").hexdigest()
        size: int = opened.seek(0, os.SEEK_END)  # a file in memory was not read to its end
    if actual != file.sha256:
        raise ShardError(
            f"{file.path} has sha256 {actual}, but {manifest.path} lists {file.sha256}. It was "
            "altered or damaged: copy it again, or export there again."
        )
    return size


def _count_rows(fs: fsspec.AbstractFileSystem, manifest: Manifest) -> int:
    """The total number of rows; those of Parquet files are compared with their footers."""
    parquet = [part for part in manifest.parts if part.name.lower().endswith(PARQUET)]
    local = isinstance(fs, LocalFileSystem)
    paths = [part.path if local else fs.unstrip_protocol(part.path) for part in parquet]
    footers = read_footers(paths) if paths else []
    check_footers(footers)
    n_others = sum(part.rows or 0 for part in set(manifest.parts) - set(parquet))
    return sum(footer.n_rows for footer in footers) + n_others
