"""A data set as the Hugging Face Hub has it: ``data/train-00000-of-00003.parquet`` and a card.

The folder of parts is a complete repository; ``datasets.load_dataset`` opens it, and the export's
own folder. The card, ``README.md``, has the YAML header that the Hub reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from laion_dask.exports.formats.base import (
    Part,
    PartWriter,
    StagedFile,
    StagingFolder,
    WrittenPart,
)
from laion_dask.exports.formats.parquet import write_parquet


@dataclass(frozen=True)
class HubWriter(PartWriter):
    staging: StagingFolder

    has_card = True

    def write(self, part: Part) -> list[StagedFile]:
        return [write_parquet(self.staging, f"{part.stem}.parquet", _plain(part.table))]

    def final_names(self, part: WrittenPart, n_parts: int) -> Sequence[str]:
        return [f"data/train-{part.number:05d}-of-{n_parts:05d}.parquet"]


def open(staging: StagingFolder, schema: pa.Schema) -> HubWriter:
    """A writer of a Hugging Face data set with one split, ``train``."""
    return HubWriter(staging)


def _plain(table: pa.Table) -> pa.Table:
    """The table without metadata of pandas, from which ``datasets`` would make an index column."""
    return table.replace_schema_metadata(None)
