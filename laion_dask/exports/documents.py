"""The documents beside an export's manifest: Croissant, datasheet, card, audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from laion_dask.exports.about_recipe import AboutRecipe
from laion_dask.exports.card import Card
from laion_dask.exports.croissant import croissant
from laion_dask.exports.datasheet import datasheet, description, hub_card
from laion_dask.exports.formats.base import PartWriter, WrittenPart
from laion_dask.exports.formats.staged_files import StagedFile
from laion_dask.exports.manifest import file_entries
from laion_dask.exports.result import Export
from laion_dask.formatting import csv_text


def documents_of(
    writer: PartWriter,
    parts: Sequence[WrittenPart],
    index: Sequence[StagedFile],
    manifest: Mapping[str, Any],
    schema: pa.Schema,
    card: Card,
    format: str,
) -> dict[str, bytes]:
    """The documents of an export, by name; text that is not UTF-8 is escaped."""
    listed = {**manifest, **file_entries(parts, index)}
    recipe = AboutRecipe.of(manifest)
    name = "" if recipe is None else recipe.title or recipe.name
    card = card.named([one["path"] for one in manifest["inputs"]], name)
    texts = {
        "_croissant.json": croissant(card, listed, schema, format, description(manifest)),
        "_datasheet.md": datasheet(card, listed, format),
        **writer.documents(parts),
    }
    if writer.has_card:
        texts["README.md"] = hub_card(card, listed)
    return {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}


def audit_table(done: Export, by: bool | str | Sequence[str]) -> bytes:
    """The audit of the filters as CSV; reads the columns that it groups by again."""
    return as_csv(done.audit(None if isinstance(by, bool) else by))


def as_csv(table: pd.DataFrame) -> bytes:
    """A table as the content of a CSV file; spreadsheets run none of its cells."""
    return csv_text(pd.DataFrame(table)).encode("utf-8", "backslashreplace")


def checksums(parts: Sequence[WrittenPart]) -> str:
    """The digests of files whose names do not tell them, as ``sha256sum -c`` reads them.

    The name of this list has its own digest, so that two exports with the same names differ in the
    name of a file.
    """
    named = [file for part in parts for file in part.files if file.name is not None]
    return "".join(f"{file.sha256}  {file.name}\n" for file in named)
