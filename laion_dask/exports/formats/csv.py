"""CSV by RFC 4180, one file per part with a header; spreadsheets run none of its cells.

A text that starts with ``=``, ``+``, ``-``, ``@`` (also full-width ones), a tab or a line break
could be run as a formula (OWASP, "CSV injection"), so an apostrophe is put before it, and before a
text that starts with an apostrophe: removing one leading apostrophe from each text restores the
data. Numbers, which no spreadsheet runs, are unchanged. A null is an empty cell, an empty text is
``""``. Lists and structs are JSON, bytes base64, dates and times ISO 8601.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from laion_dask.exports.formats.base import Part, PartWriter
from laion_dask.exports.formats.cells import as_text
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.formatting import FORMULA_STARTS

#: The first characters of a text that gets an apostrophe.
_MARKED = (*FORMULA_STARTS, "'")
_QUOTED = frozenset('",\r\n')
_BATCH_ROWS = 16_384


@dataclass(frozen=True)
class CsvWriter(PartWriter):
    staging: StagingFolder

    def write(self, part: Part) -> list[StagedFile]:
        with self.staging.create(f"{part.stem}.csv") as sink:
            sink.write(_line(list(map(_text_cell, part.table.column_names))))
            for batch in part.table.to_batches(max_chunksize=_BATCH_ROWS):
                cells = [[_cell_of(c.type)(v) for v in c.to_pylist()] for c in batch.columns]
                sink.write(b"".join(_line(row) for row in zip(*cells, strict=True)))
        return [sink.staged]


def open(staging: StagingFolder, schema: pa.Schema) -> CsvWriter:
    """A writer of CSV files."""
    return CsvWriter(staging)


def _line(cells: Any) -> bytes:
    return (",".join(cells) + "\r\n").encode()


def _cell_of(type_: pa.DataType) -> Callable[[Any], str]:
    """The function that writes the values of a type."""
    is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_)
    return _number_cell if is_number or pa.types.is_decimal(type_) else _text_cell


def _number_cell(value: Any) -> str:
    return "" if value is None else as_text(value)


def _text_cell(value: Any) -> str:
    if value is None:
        return ""
    text = as_text(value)
    if not text:
        return '""'
    if text.startswith(_MARKED):
        text = f"'{text}"
    if _QUOTED.isdisjoint(text) and not text.isspace():
        return text
    return '"' + text.replace('"', '""') + '"'
