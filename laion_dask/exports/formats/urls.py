"""Addresses only: one URL per line in text files, in the order of the rows.

A row without a URL has no line, and the manifest counts such rows. Control characters and spaces,
which no URL may contain (RFC 3986), are percent-encoded, so that each URL is one line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from laion_dask.exports.formats.base import Part, PartWriter
from laion_dask.exports.formats.columns import need_text
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder

#: The columns that are read.
READS = ("url",)
#: Everything that some reader takes for a line end is among these.
_NO_URL = re.compile("[\x00-\x20\x7f\x85\u2028\u2029]")
_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class UrlWriter(PartWriter):
    staging: StagingFolder

    def write(self, part: Part) -> list[StagedFile]:
        column, without = part.table["url"], 0
        with self.staging.create(f"{part.stem}.txt") as sink:
            for start in range(0, len(column), _BATCH_ROWS):
                values = column.slice(start, _BATCH_ROWS).to_pylist()
                lines = [_line(value) for value in values if value]
                without += len(values) - len(lines)
                sink.write("".join(lines).encode())
        staged = sink.staged
        return [staged.counted(rows_without_url=without) if without else staged]


def open(staging: StagingFolder, schema: pa.Schema) -> UrlWriter:
    """A writer of lists of URLs.

    Raises
    ------
    ColumnError, SchemaError
        When the frame has no column ``url`` of strings.
    """
    need_text(schema, "url", "urls")
    return UrlWriter(staging)


def _line(url: str) -> str:
    return _NO_URL.sub(_encoded, url) + "\n"


def _encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
