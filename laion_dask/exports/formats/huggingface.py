"""A data set as the Hugging Face Hub has it: ``data/train-00000-of-00003.parquet`` and a card.

The folder of parts is a complete repository; ``datasets.load_dataset`` opens it, and the export's
own folder. The card, ``README.md``, has the YAML header that the Hub reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from laion_dask.exports.formats.base import Part, PartWriter, WrittenPart
from laion_dask.exports.formats.parquet import write_parquet
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder


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
    """The table in types that ``datasets`` has; without pandas' metadata, which it also reads."""
    fields = [pa.field(field.name, _hub_type(field.type)) for field in table.schema]
    return table.replace_schema_metadata(None).cast(pa.schema(fields))


def _hub_type(type_: pa.DataType) -> pa.DataType:
    """A type in which maps are lists of keys and values, and binary values have any length."""
    if pa.types.is_map(type_):
        entries = [("key", _hub_type(type_.key_type)), ("value", _hub_type(type_.item_type))]
        return pa.list_(pa.struct(entries))
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(f.name, _hub_type(f.type)) for f in type_])
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(_hub_type(type_.value_type), type_.list_size)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return pa.list_(_hub_type(type_.value_type))
    return pa.binary() if pa.types.is_fixed_size_binary(type_) else type_
