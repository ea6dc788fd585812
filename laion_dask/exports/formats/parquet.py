"""Parquet with zstd compression: one file per part; `read_shards` reads it back.

With ``names="laion"``, columns are named as in LAION's own files (``URL``, ``TEXT``, ``WIDTH``,
``HEIGHT``, ``LANGUAGE``), for tools that expect them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.errors import one_of
from laion_dask.exports.formats.base import Part, PartWriter
from laion_dask.exports.formats.columns import new_names
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.memory_pool import POOL

#: Maximum rows of a row group.
_GROUP_ROWS = 1 << 20
#: The columns that LAION-5B names in upper case.
LAION_NAMES = {name: name.upper() for name in ("url", "text", "width", "height", "language")}


@dataclass(frozen=True)
class ParquetWriter(PartWriter):
    staging: StagingFolder
    renamed: tuple[tuple[str, str], ...] = ()

    def write(self, part: Part) -> list[StagedFile]:
        table = part.table
        if self.renamed:
            renamed = dict(self.renamed)
            table = table.rename_columns([renamed[name] for name in table.column_names])
        return [write_parquet(self.staging, f"{part.stem}.parquet", table)]


def open(staging: StagingFolder, schema: pa.Schema, *, names: str = "canonical") -> ParquetWriter:
    """A writer of Parquet files; each file has the schema of its table.

    Parameters
    ----------
    staging : StagingFolder
    schema : pyarrow.Schema
    names : {"canonical", "laion"}

    Raises
    ------
    OptionError
        When ``names`` is neither.
    SchemaError
        When two columns would have the same name.
    """
    if names not in ("canonical", "laion"):
        raise one_of("names", names, ["canonical", "laion"])
    if names == "canonical":
        return ParquetWriter(staging)
    return ParquetWriter(staging, tuple(new_names(schema.names, LAION_NAMES).items()))


def write_parquet(staging: StagingFolder, name: str, table: pa.Table) -> StagedFile:
    """Write a table as one Parquet file, whose bytes do not depend on the table's chunks."""
    with (
        staging.create(name) as sink,
        pq.ParquetWriter(sink, table.schema, compression="zstd", memory_pool=POOL) as writer,
    ):
        for group in _row_groups(table):
            writer.write_table(group, row_group_size=_GROUP_ROWS)
    return sink.staged


def _row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """Consecutive rows with one chunk per column, since each chunk would start a new page.

    None if there are no rows: ``datasets`` cannot read a row group without rows.
    """
    for start in range(0, len(table), _GROUP_ROWS):
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
