"""Check an export against its recipe: every part's size, rows and digest."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError, ShardError, must_be
from laion_dask.io.parquet.footer import read_footers
from laion_dask.io.parquet.manifest_check import check_footers
from laion_dask.io.storage.export_manifest import Part, in_place
from laion_dask.io.storage.paths import filesystem, reached

_THREADS = 8


@dataclass(frozen=True)
class Verification:
    """Counts of a verified export.

    Attributes
    ----------
    folder : str
    parts, rows, bytes : int
        All of them were read.
    """

    folder: str
    parts: int
    rows: int
    bytes: int

    def __str__(self) -> str:
        return (
            f"{self.folder}: {self.parts:,} parts, {self.rows:,} rows and {self.bytes:,} bytes "
            "are as the recipe says, by size, rows and sha256"
        )


def verify(folder: str | os.PathLike) -> Verification:
    """Verify every part of an export against its recipe. Eager.

    Reads every byte of every part, in little memory. `read_shards` compares sizes and rows alone,
    which costs no further read.

    Parameters
    ----------
    folder : str or path
        A folder written by `export`: a local path, or an address that fsspec knows.

    Raises
    ------
    ExportError
        When the folder is no export, or its recipe lists no digest of a part.
    ShardError
        When the recipe is damaged, or a part is missing or not as it says; the message names it.

    Examples
    --------
    >>> str(ld.verify(exported.path))  # doctest: +SKIP
    'subset: 2 parts, 96 rows and 12,345 bytes are as the recipe says, by size, rows and sha256'
    """
    must_be("folder", folder, (str, os.PathLike), "the folder of an export")
    folder = os.fspath(folder)
    fs, inner = filesystem(folder)
    with reached(folder):
        recipe = in_place(fs, inner.rstrip("/"))
        if recipe is None:
            raise ExportError(
                f"{folder} holds no recipe of an export. Name the folder of an export."
            )

        def check(part: Part) -> None:
            if part.sha256 is None:
                raise ExportError(f"{recipe.path} lists no sha256 of {part.path}. Export again.")
            found = _sha256(fs, part.path)
            if found != part.sha256:
                raise ShardError(
                    f"{part.path} has sha256 {found}, not {part.sha256} as {recipe.path} lists. "
                    "It was altered or damaged: copy it again, or export there again."
                )

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(check, recipe.parts))
        local = isinstance(fs, LocalFileSystem)
        paths = [p.path if local else fs.unstrip_protocol(p.path) for p in recipe.parts]
        footers = read_footers(paths) if paths else []
        check_footers(footers)
    rows, size = sum(f.n_rows for f in footers), sum(f.size for f in footers)
    return Verification(folder, len(footers), rows, size)


def _sha256(fs, path: str) -> str:
    with fs.open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
