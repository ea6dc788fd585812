"""Input of img2dataset: Parquet files, and ``img2dataset.sh``, the command that downloads them.

img2dataset refuses additional columns with the names that it uses itself (its ``main.py``,
``forbidden_columns``), such as ``width`` and ``status``: here they are named ``source_width`` and
so on. If every row has a ``sha256`` or an ``md5``, the command verifies it; if some rows lack it,
it does not, and says so, since img2dataset would count them as failures: export the rows that have
a digest on their own to verify them. Columns that JSON cannot hold, such as
times and bytes, are in the files and not in the command.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.exports.formats.base import Part, PartWriter, WrittenPart
from laion_dask.exports.formats.columns import is_text, need_text, new_names, unused_name
from laion_dask.exports.formats.parquet import write_parquet
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder

#: The columns that img2dataset refuses; source: its ``main.py``, ``arguments_validator``.
RESERVED = (
    *("key", "caption", "url", "width", "height", "original_width", "original_height", "status"),
    *("error_message", "exif", "md5", "sha256", "sha512"),
)
#: Digests that img2dataset can verify, the strongest first, and their digits.
_DIGESTS = {"sha512": 128, "sha256": 64, "md5": 32}
_SCRIPT = "img2dataset.sh"


@dataclass(frozen=True)
class DownloadWriter(PartWriter):
    staging: StagingFolder
    renamed: tuple[tuple[str, str], ...]
    caption: str | None
    digest: str | None
    additional: tuple[str, ...]

    def write(self, part: Part) -> list[StagedFile]:
        renamed = dict(self.renamed)
        table = part.table.rename_columns([renamed[name] for name in part.table.column_names])
        counts = {"rows_without_url": table["url"].null_count}
        if self.digest is not None:
            column = pc.utf8_lower(table[self.digest].cast(pa.large_string()))
            table = table.set_column(table.schema.get_field_index(self.digest), self.digest, column)
            counts["rows_without_digest"] = _without(column, _DIGESTS[self.digest])
        staged = write_parquet(self.staging, f"{part.stem}.parquet", table)
        return [staged.counted(**{name: count for name, count in counts.items() if count})]

    def final_names(self, part: WrittenPart, n_parts: int) -> Sequence[str]:
        return [f"{part.number:05d}.parquet"]

    def documents(self, parts: Sequence[WrittenPart]) -> Mapping[str, str]:
        without = sum(part.files[0].counts.get("rows_without_digest", 0) for part in parts)
        return {_SCRIPT: _script(self._words(without), self.digest if without else None, without)}

    def _words(self, without_digest: int) -> list[str]:
        """The arguments of img2dataset."""
        words = ["--url_list=shards", "--input_format=parquet", "--url_col=url"]
        words += [] if self.caption is None else [f"--caption_col={self.caption}"]
        words += ["--output_format=webdataset"]
        if self.additional:
            words.append(f"--save_additional_columns={_listed(self.additional)}")
        if self.digest is not None and not without_digest:
            words.append(f"--compute_hash={self.digest}")
            words.append(f"--verify_hash={_listed([self.digest, self.digest])}")
        return words


def open(staging: StagingFolder, schema: pa.Schema) -> DownloadWriter:
    """A writer of input for img2dataset.

    Raises
    ------
    ColumnError, SchemaError
        When the frame has no column ``url`` of strings.
    """
    need_text(schema, "url", "img2dataset")
    has_text = "text" in schema.names and is_text(schema.field("text").type)
    digest = next((name for name in _DIGESTS if _is_column_of_text(schema, name)), None)
    kept = {"url", *([digest] if digest else [])}
    taken = [name for name in schema.names if name.lower() not in RESERVED or name in kept]
    renamed: dict[str, str] = {}
    for name in schema.names:
        if name not in taken:
            renamed[name] = unused_name(f"source_{name}", [*taken, *renamed.values()])
    names = new_names(schema.names, renamed)
    own = {*kept, *(["text"] if has_text else [])}
    additional = [names[f.name] for f in schema if f.name not in own and _is_plain(f.type)]
    caption = "text" if has_text else None
    return DownloadWriter(staging, tuple(names.items()), caption, digest, tuple(additional))


def _is_column_of_text(schema: pa.Schema, name: str) -> bool:
    return name in schema.names and is_text(schema.field(name).type)


def _is_plain(type_: pa.DataType) -> bool:
    """Whether img2dataset, which writes JSON, can write values of a type."""
    if pa.types.is_struct(type_):
        return all(_is_plain(field.type) for field in type_)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return _is_plain(type_.value_type)
    is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_)
    return bool(is_number or pa.types.is_boolean(type_) or is_text(type_))


def _listed(names: Sequence[str]) -> str:
    return json.dumps(list(names), ensure_ascii=False)


def _without(column: pa.ChunkedArray, digits: int) -> int:
    """The number of values that are no digest of so many hexadecimal digits."""
    fits = pc.match_substring_regex(column, f"^[0-9a-f]{{{digits}}}$")
    return len(column) - int(pc.sum(pc.fill_null(fits, False)).as_py() or 0)


def _script(words: Sequence[str], unverified: str | None, without: int) -> str:
    """A shell script; a name that an interpreter of options could misread is quoted."""
    lines = [
        "#!/bin/sh",
        "# Downloads the images to the folder $IMAGES (pip install img2dataset). Further options,",
        "# such as --processes_count=16 and --image_size=512, are passed on.",
    ]
    if unverified is not None:
        lines.append(
            f"# Not verified: {without:,} rows have no {unverified}, and img2dataset would count "
            "them as failures. Export the rows that have one on their own to verify them."
        )
    lines += ['cd "$(dirname "$0")" || exit 1', "exec img2dataset \\"]
    lines += [f"  {shlex.quote(re.sub(chr(0), '', word))} \\" for word in words]
    return "\n".join([*lines, '  "--output_folder=${IMAGES:-images}" "$@"', ""])
