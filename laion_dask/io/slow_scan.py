"""The careful reader, for a shard whose text is not UTF-8: names the rows, or rejects them.

It reads the piece's row groups with pyarrow, which does not look into strings, and filters in
memory. Only a shard on which the fast reader stumbled is read this way, and every shard where rows
are to be rejected: then all text is looked at, whichever columns are asked for, so that the rows of
a frame do not depend on its columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from laion_dask.backend import frame_from_arrow
from laion_dask.errors import ShardError
from laion_dask.io.common_types import family, frame_type
from laion_dask.io.exact_cast import cast_exactly
from laion_dask.io.footer import groups_between
from laion_dask.io.local_file import open_bytes
from laion_dask.io.pieces import Piece, Read
from laion_dask.predicate import certain_and_possible
from laion_dask.schema import PROVENANCE

if TYPE_CHECKING:
    from laion_dask.io.scan import Scan


def is_about_text(error: Exception) -> bool:
    """Whether DuckDB refused a shard because a string in it is not UTF-8."""
    message = str(error).lower()
    return "utf8" in message or "utf-8" in message or "string encoding" in message


def read(piece: Piece, names: list[str], scan: Scan) -> Read:
    """Read a piece, rejecting (or refusing) rows whose text is not UTF-8.

    Raises
    ------
    ShardError
        Under ``invalid_text="raise"``, naming shard, column and row.
    """
    wanted = dict.fromkeys([*names, *(scan.where.columns if scan.where else ())])
    looked_at = dict.fromkeys(wanted)
    if scan.invalid_text == "reject":
        looked_at.update(
            (new, None)
            for _, new, stored in piece.shard.columns
            if holds_text(stored) or is_text_in_bytes(stored, dict(scan.types).get(new))
        )
    types = dict(scan.types)
    raw = _row_groups(piece, [n for n in looked_at if n not in PROVENANCE])
    raw = _bytes_as_text(raw, types)
    valid = _valid_rows(raw, piece, scan.invalid_text)
    raw = raw.filter(pa.array(valid))
    rows = raw["row"]
    columns = {"row": rows, "shard": pa.repeat(pa.scalar(piece.shard.index, pa.int32()), len(rows))}
    for name in wanted:
        if name not in columns:
            columns[name] = _column(raw, name, types[name], piece, rows)
    table = pa.table(columns)
    unscored = 0
    if scan.where is not None:
        frame = frame_from_arrow(table.select(list(scan.where.columns)), "pandas")
        certain, possible = certain_and_possible(scan.where, frame)
        unscored = int((possible & ~certain).sum())
        table = table.filter(pa.array(certain.to_numpy()))
    return Read(table, unscored, int((~valid).sum()))


def _row_groups(piece: Piece, names: list[str]) -> pa.Table:
    """The piece's rows with their position in the file, strings unlooked at."""
    stored = {new: old for old, new, _ in piece.shard.columns}
    with open_bytes(piece.shard.path) as source:
        file = pq.ParquetFile(source, page_checksum_verification=True)
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        groups = [number for number, *_ in groups_between(groups, piece.start, piece.stop)]
        have = [n for n in names if n in stored]
        table = file.read_row_groups(groups, columns=[stored[n] for n in have], use_threads=False)
        table = table.select([stored[n] for n in have]).rename_columns(have)
    return table.append_column("row", pa.array(np.arange(piece.start, piece.stop)))


def is_text_in_bytes(stored: pa.DataType, type_: pa.DataType | None) -> bool:
    """Whether a column is bytes in its file and text in the frame."""
    return type_ is not None and family(stored) == "binary" and family(type_) == "string"


def _bytes_as_text(table: pa.Table, types: dict[str, pa.DataType]) -> pa.Table:
    """Bytes that the frame has as text, unlooked at: old writers do not say that they are text.

    And no views, of which Arrow takes no rows.
    """
    for number, name in enumerate(table.column_names):
        stored = table[name].type
        type_ = frame_type(stored) if "view" in str(stored) else None
        if is_text_in_bytes(stored, types.get(name)):
            type_ = types[name]
        if type_ is not None:
            unlooked = pc.CastOptions(target_type=type_, allow_invalid_utf8=True)
            table = table.set_column(number, name, table[name].cast(options=unlooked))
    return table


def _valid_rows(table: pa.Table, piece: Piece, invalid_text: str) -> np.ndarray:
    valid = np.ones(len(table), dtype=bool)
    for name in table.column_names:
        column = table[name]
        if not holds_text(column.type) or _is_utf8(column):
            continue
        valid &= np.fromiter((_is_utf8(column[i]) for i in range(len(column))), bool, len(column))
        if invalid_text == "raise" and not valid.all():
            row = int(table["row"][int(np.flatnonzero(~valid)[0])].as_py())
            raise ShardError(
                f"Row {row} of shard {piece.shard.path} has a {name} that is not valid UTF-8 "
                f"({int((~valid).sum()):,} such rows in this partition). Correct the file, or "
                "leave such rows out and have them counted as rejected with "
                "ld.set_options(invalid_text='reject') around read_shards (laion-dask "
                "--invalid-text reject …)."
            )
    return valid


def holds_text(type_: pa.DataType) -> bool:
    """Whether values of a type are strings, or have strings in them."""
    if pa.types.is_dictionary(type_):
        return holds_text(type_.value_type)
    inside = [type_.field(i).type for i in range(type_.num_fields)]
    if isinstance(type_, pa.BaseExtensionType):
        return holds_text(type_.storage_type)
    return family(type_) == "string" or any(holds_text(t) for t in inside)


def _is_utf8(values: pa.ChunkedArray | pa.Scalar) -> bool:
    try:
        if isinstance(values, pa.Scalar):
            values.as_py()
        else:
            values.validate(full=True)
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return False
    return True


def _column(raw: pa.Table, name: str, type_: pa.DataType, piece: Piece, rows) -> pa.ChunkedArray:
    if name not in raw.column_names:
        value = piece.shard.value_of(name)
        if value is not None:
            return pa.repeat(pa.scalar(value).cast(type_), len(raw))
        return pa.nulls(len(raw), type_)
    return cast_exactly(raw[name], type_, name=name, path=piece.shard.path, rows=rows)
