"""Parquet with zstd compression: one file per part; `read_shards` reads it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.exports.formats.base import Part, PartWriter, StagedFile, StagingFolder
from laion_dask.memory_pool import POOL

#: Maximum rows of a row group.
_GROUP_ROWS = 1 << 20


@dataclass(frozen=True)
class ParquetWriter(PartWriter):
    staging: StagingFolder

    def write(self, part: Part) -> list[StagedFile]:
        with (
            self.staging.create(f"{part.stem}.parquet") as sink,
            pq.ParquetWriter(
                sink, part.table.schema, compression="zstd", memory_pool=POOL
            ) as writer,
        ):
            for group in _row_groups(part.table):
                writer.write_table(group, row_group_size=_GROUP_ROWS)
        return [sink.staged]


def open(staging: StagingFolder, schema: pa.Schema) -> ParquetWriter:
    """A writer of Parquet files; each file has the schema of its table."""
    return ParquetWriter(staging)


def _row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """Consecutive rows with one chunk per column, since each chunk would start a new page."""
    for start in range(0, max(1, len(table)), _GROUP_ROWS):
        yield from _halved(table.slice(start, _GROUP_ROWS))


def _halved(group: pa.Table) -> Iterator[pa.Table]:
    """The group, halved until the text of each column fits in one chunk, which may be 2 GB."""
    combined = None
    with suppress(pa.ArrowException):
        combined = group.combine_chunks(memory_pool=POOL)
    if combined is not None and all(column.num_chunks == 1 for column in combined.columns):
        yield combined
    elif len(group) <= 1:
        yield group
    else:
        half = len(group) // 2
        yield from _halved(group.slice(0, half))
        yield from _halved(group.slice(half))
