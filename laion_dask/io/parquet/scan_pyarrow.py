"""The careful reader, which reports or rejects rows whose text is not valid UTF-8.

It reads row groups with pyarrow, which does not validate strings, and filters in memory. It is used
only for shards that the fast reader cannot read, and for all shards if invalid rows are to be
rejected. In that case all text is validated, whichever columns are requested, so the rows of a
frame do not depend on its columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from laion_dask.backend import frame_from_arrow
from laion_dask.errors import SchemaError, ShardError, argument
from laion_dask.io.parquet.common_types import family, frame_type
from laion_dask.io.parquet.exact_cast import cast_exactly
from laion_dask.io.parquet.footer import groups_between
from laion_dask.io.parquet.scan_spec import ScanSpec
from laion_dask.io.parquet.shard import Piece, Read
from laion_dask.io.storage.local_file import open_bytes
from laion_dask.predicate import certain_and_possible
from laion_dask.schema import PROVENANCE


def is_about_text(error: Exception) -> bool:
    """Whether DuckDB's error says that a string is not UTF-8."""
    message = str(error).lower()
    return "utf8" in message or "utf-8" in message or "string encoding" in message


def read(piece: Piece, names: list[str], scan: ScanSpec) -> Read:
    """Read a piece; rows whose text is not valid UTF-8 are rejected or raise an error.

    Raises
    ------
    ShardError
        With ``invalid_text="raise"``; the message names shard, column and row.
    """
    needed = dict.fromkeys([*names, *(scan.where.columns if scan.where else ())])
    to_validate = dict.fromkeys(needed)
    if scan.invalid_text == "reject":
        to_validate.update(
            (new, None)
            for _, new, stored in piece.shard.columns
            if holds_text(stored) or is_text_in_bytes(stored, dict(scan.types).get(new))
        )
    types = dict(scan.types)
    raw = _row_groups(piece, [n for n in to_validate if n not in PROVENANCE])
    raw = _bytes_as_text(raw, types)
    valid = _valid_rows(raw, piece, scan.invalid_text)
    raw = raw.filter(pa.array(valid))
    rows = raw["row"]
    columns = {"row": rows, "shard": pa.repeat(pa.scalar(piece.shard.index, pa.int32()), len(rows))}
    for name in needed:
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
    """The piece's rows with their position in the file; strings are not validated."""
    stored = {new: old for old, new, _ in piece.shard.columns}
    present = [n for n in names if n in stored]
    table = _read_columns(piece, [stored[n] for n in present], "us").rename_columns(present)
    timestamps = [n for n in present if stored[n] in piece.shard.int96]
    if timestamps:
        in_ns = _read_columns(piece, [stored[n] for n in timestamps], "ns")
        for name, column in zip(timestamps, in_ns.columns, strict=True):
            _check_whole_microseconds(table[name], column, name, piece)
    return table.append_column("row", pa.array(np.arange(piece.start, piece.stop)))


def _read_columns(piece: Piece, names: list[str], int96_unit: str) -> pa.Table:
    with open_bytes(piece.shard.path) as source:
        file = pq.ParquetFile(
            source, page_checksum_verification=True, coerce_int96_timestamp_unit=int96_unit
        )
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        groups = [number for number, *_ in groups_between(groups, piece.start, piece.stop)]
        return file.read_row_groups(groups, columns=names, use_threads=False).select(names)


def _check_whole_microseconds(
    in_us: pa.ChunkedArray, in_ns: pa.ChunkedArray, name: str, piece: Piece
) -> None:
    """Raise if INT96 timestamps, which are read as microseconds, have nanoseconds.

    Values read as nanoseconds are correct modulo 2**64, which suffices for the comparison.
    """
    for one, other in zip(_leaves(in_us), _leaves(in_ns), strict=True):
        if pa.types.is_timestamp(one.type) and one.type != other.type:
            scaled = pc.multiply(one.cast(pa.int64()), 1000)
            cut = pc.not_equal(scaled, other.cast(pa.int64()))
            if pc.any(cut).as_py():
                at = pc.index(cut, True).as_py()
                row = f"Row {piece.start + at}" if len(one) == len(in_us) else "A row"
                raise SchemaError(
                    f"{row} of shard {piece.shard.path} has {name} = "
                    f"{other[at].cast(pa.string())}, an INT96 with nanoseconds. INT96 is read in "
                    "microseconds, as Spark writes it. Write the column as an int64 timestamp, or "
                    f"leave it out with {argument('columns')}."
                )


def _leaves(column: pa.ChunkedArray | pa.Array) -> Iterator[pa.Array]:
    """The leaf values of a column inside lists and structs, in file order."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_struct(array.type):
        inside = [array.field(i) for i in range(array.type.num_fields)]
    elif pa.types.is_map(array.type):
        inside = [array.keys, array.items]
    else:
        inside = [array.values] if array.type.num_fields else []
    if not inside:
        yield array
    for one in inside:
        yield from _leaves(one)


def is_text_in_bytes(stored: pa.DataType, type_: pa.DataType | None) -> bool:
    """Whether a column is bytes in its file but text in the frame."""
    return type_ is not None and family(stored) == "binary" and family(type_) == "string"


def _bytes_as_text(table: pa.Table, types: dict[str, pa.DataType]) -> pa.Table:
    """Cast bytes that are text in the frame without validation: old writers do not mark text.

    Views are also cast, because Arrow cannot select their rows.
    """
    for number, name in enumerate(table.column_names):
        stored = table[name].type
        type_ = frame_type(stored) if "view" in str(stored) else None
        if is_text_in_bytes(stored, types.get(name)):
            type_ = types[name]
        if type_ is not None:
            unvalidated = pc.CastOptions(target_type=type_, allow_invalid_utf8=True)
            table = table.set_column(number, name, table[name].cast(options=unvalidated))
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
                "have such rows left out and counted as rejected with "
                "ld.set_options(invalid_text='reject') around read_shards (laion-dask "
                "--invalid-text reject …)."
            )
    return valid


def holds_text(type_: pa.DataType) -> bool:
    """Whether a type is or contains strings."""
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
