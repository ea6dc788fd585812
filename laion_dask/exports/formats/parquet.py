"""Parquet with zstd compression: one file per part; `read_shards` reads it back."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.exports.formats.base import Part, PartWriter, StagedFile, StagingFolder


@dataclass(frozen=True)
class ParquetWriter(PartWriter):
    staging: StagingFolder

    def write(self, part: Part) -> list[StagedFile]:
        sink = pa.BufferOutputStream()
        pq.write_table(part.table, sink, compression="zstd")
        return [self.staging.write(f"{part.stem}.parquet", sink.getvalue().to_pybytes())]


def open(staging: StagingFolder, schema: pa.Schema) -> ParquetWriter:
    """A writer of Parquet files; each file has the schema of its table."""
    return ParquetWriter(staging)
