"""One Lance data set, ``dataset.lance``; needs the extra ``lance``, and a local folder.

Lance names its own files at random, so their names differ from run to run; their rows do not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.errors import SchemaError
from laion_dask.exports.formats.base import Part, PartWriter, WrittenPart
from laion_dask.exports.formats.parquet import write_parquet
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.extras import require_extra
from laion_dask.io.storage.files_below import names_below
from laion_dask.io.storage.local_file import file_system
from laion_dask.runtime import cancellation

_NAME = "dataset.lance"
_BATCH_ROWS = 8192


@dataclass(frozen=True)
class LanceWriter(PartWriter):
    staging: StagingFolder

    is_local = True

    def write(self, part: Part) -> list[StagedFile]:
        return [write_parquet(self.staging, f"{part.stem}.parquet", part.table)]

    def merge(self, parts: Sequence[WrittenPart]) -> list[WrittenPart]:
        import lance

        fs, folder = file_system(self.staging.url)
        paths = [self.staging.locate(part.files[0].staged) for part in parts]
        schema = pq.read_schema(paths[0])
        lance.write_dataset(_batches(paths), f"{folder}/{_NAME}", schema=schema, mode="create")
        names = names_below(fs, f"{folder}/{_NAME}")
        # The manifest lists the rows with the first file.
        names.sort(key=lambda name: not name.startswith("data/"))
        files = tuple(_staged(folder, f"{_NAME}/{name}") for name in names)
        return [WrittenPart(0, sum(part.rows for part in parts), files)]


def open(staging: StagingFolder, schema: pa.Schema) -> LanceWriter:
    """A writer of one Lance data set.

    Raises
    ------
    MissingExtraError
        When pylance is not installed.
    SchemaError
        When the name of a column contains a dot, which Lance does not allow.
    """
    require_extra("lance", "The format 'lance'")
    dotted = next((name for name in schema.names if "." in name), None)
    if dotted is not None:
        raise SchemaError(
            f"The column {dotted!r} has a dot in its name. Expected names without dots, as Lance "
            "demands; rename it: frame.rename(columns={...})."
        )
    return LanceWriter(staging)


def _batches(paths: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                cancellation.check()
                yield batch


def _staged(folder: str, name: str) -> StagedFile:
    path = f"{folder}/{name}"
    with Path(path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return StagedFile(name, os.path.getsize(path), digest, name=name)
