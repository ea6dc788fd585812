"""Folders of small shards that are stored alike or not, and how their values compare."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.frame.provenance import Provenance

D = decimal.Decimal
UUIDS = [uuid.UUID(int=i + 1).bytes for i in range(3)]
#: Floats whose bits a conversion may change: NaN with a payload, -0.0, and a subnormal number.
ODD_FLOATS = np.array([0x7FF8_0000_0000_0123, 1 << 63, 1, 0x7FF0 << 48], np.uint64).view(np.float64)
DURATION = pa.array([1, None, 3], pa.duration("s"))
MOMENT = pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5, 678), None])


def shard(number: int, n_rows: int = 3, **columns) -> dict:
    """A shard whose texts tell its number and row; columns may replace others."""
    table = {
        "URL": pa.array([f"u{number}-{row}" for row in range(n_rows)], pa.string()),
        "TEXT": pa.array(
            [None if row == 1 else f"a bird {row}" for row in range(n_rows)], pa.string()
        ),
        "WIDTH": pa.array([100 * number + row for row in range(n_rows)], pa.int32()),
    }
    return {**table, **columns}


def shards_with(column: str, *arrays) -> list[tuple[dict, dict]]:
    """A shard for each array, which is one of its columns; without the column for None."""
    return [
        (shard(i) if a is None else shard(i, len(a), **{column: a}), {})
        for i, a in enumerate(arrays)
    ]


def _other_order(table: dict) -> dict:
    return dict(reversed(table.items()))


def _required(table: dict) -> pa.Table:
    table = pa.table(table)
    return table.cast(pa.schema([f.with_nullable(f.name != "WIDTH") for f in table.schema]))


#: Shards that read_shards accepts together, each with options of `pyarrow.parquet.write_table`; and
#: the number of files that each query of a scan reads. Shards that DuckDB does not read are not
#: among them.
FOLDERS = {
    "alike": ([(shard(i), {}) for i in range(6)], [6]),
    "empty shards between": ([(shard(i, n), {}) for i, n in enumerate((0, 2, 0, 0, 3, 0))], [6]),
    "row groups": ([(shard(i, 40), {"row_group_size": 7}) for i in range(4)], [4]),
    "columns missing": (shards_with("n", [1, 2, 3], None, None, [4, 5, 6]), [1, 2, 1]),
    "another order": ([(shard(0), {}), (_other_order(shard(1)), {}), (shard(2), {})], [1, 1, 1]),
    "required columns": ([(shard(0), {}), (_required(shard(1)), {}), (shard(2), {})], [1, 1, 1]),
    "bytes": (shards_with("URL", ["u", "v"], [b"w", "\u00e9".encode()], ["x", "y"]), [1, 1]),
    "integers and floats": (
        shards_with(
            "WIDTH",
            pa.array([1, None, 3], pa.int32()),
            pa.array([4, 5, None], pa.int64()),
            pa.array([7.0, math.nan, None]),
            pa.array([8.0, -0.0, 1.0]),
            pa.array([1, 2, 3], pa.int8()),
        ),
        [1, 1, 2, 1],
    ),
    "floats": (
        shards_with(
            "similarity",
            pa.array(np.array([0.1, np.nan, -0.0], np.float16)),
            pa.array([0.1, None, 1e-45], pa.float32()),
            pa.array(ODD_FLOATS),
            pa.array(ODD_FLOATS[::-1].copy()),
        ),
        [1, 1, 2],
    ),
    "halves": (
        shards_with("x", *[pa.array(np.array([i, np.nan, -0.0], np.float16)) for i in range(3)]),
        [3],
    ),
    "dictionaries": (
        shards_with(
            "c",
            pa.array(["a", None, "a"]).dictionary_encode(),
            pa.array(["b", "b"]).dictionary_encode(),
            ["a", "c"],
        ),
        [2, 1],
    ),
    "null columns": (shards_with("c", pa.nulls(3), [1, 2, None], pa.nulls(2)), [1, 1, 1]),
    "INT96": (
        [
            (shard(i, 2, t=MOMENT), {"use_deprecated_int96_timestamps": i == 1})
            for i in range(3)
        ],
        [1, 1],
    ),
    "durations": (shards_with("d", DURATION, DURATION, None), [1]),
    "timestamps": (
        shards_with("t", MOMENT, MOMENT.cast(pa.timestamp("ms"), safe=False), MOMENT), [1, 1, 1]
    ),
    "file_index": (shards_with("file_index", [7, 8, 9], [4, 5, 6]), [1, 1]),
    "File_Index": (shards_with("File_Index", [7, 8, 9], [4, 5, 6], None, None), [1, 1, 2]),
    "file_row_number": (shards_with("file_row_number", [7, 8, 9], [4, 5, 6], None, None), [2]),
    "filename": (shards_with("filename", ["a", "b"], ["c", None]), [2]),
    "lists": (shards_with("l", [[1], [], None], [[2, 3], None]), [2]),
    "structs": (shards_with("s", [{"a": 1}, None], [{"a": 2}], [{"a": None}]), [2, 1]),
    "decimals": (shards_with("d", [D("1.5"), None], [D("2.5")], [D("1.125")]), [2, 1]),
    "identifiers": (
        shards_with("id", pa.array(UUIDS, pa.uuid()), pa.array(UUIDS, pa.uuid()), ["a", "b"]),
        [2, 1],
    ),
    "GZIP": ([(shard(i), {"compression": "GZIP"} if i == 1 else {}) for i in range(3)], [3]),
    "checksums": ([(shard(i), {"write_page_checksum": i != 1}) for i in range(3)], [3]),
}  # fmt: skip


def write_folder(folder: Path, shards) -> list[str]:
    """Write shards as 0.parquet, 1.parquet, ...; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(folder / f"{i}.parquet") for i in range(len(shards))]
    for path, (table, options) in zip(paths, shards, strict=True):
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return paths


def scanned(frame, names: list[str] | None = None):
    """The Arrow table, unscored rows and rejected rows of all partitions, one after another."""
    scan, partitions = Provenance.of(frame).as_read
    names = names or list(frame.columns)
    results = [scan.read(partition, names) for partition in partitions]
    unscored, rejected = (sum(getattr(r, n) for r in results) for n in ("unscored", "rejected"))
    counts = [scan.counts(partition) for partition in partitions]
    assert (unscored, rejected) == tuple(map(sum, zip(*counts, strict=True)))
    return pa.concat_tables([result.table for result in results]), unscored, rejected


def bits(table: pa.Table) -> list:
    """The schema and values of a table; floats as integers with the same bits."""
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_floating(field.type):
            integers = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[field.type.bit_width]
            column = pa.chunked_array([c.view(integers) for c in column.chunks], integers)
        columns.append((field.name, field.type, column.to_pylist()))
    return columns


def plain(value):
    """A value of a file as a frame holds it: bytes as text, NaN as null, identifiers as text."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, uuid.UUID):
        return str(value)
    return value.decode() if isinstance(value, bytes) else value


def by_hand(paths: list[str], renamed: dict[str, str]) -> dict[str, list]:
    """The values of all shards, read by pyarrow one by one: lists by canonical name."""
    names = {"URL": "url", "TEXT": "text", "WIDTH": "width", **renamed}
    tables = [pq.ParquetFile(path).read() for path in paths]
    stored = dict.fromkeys(name for table in tables for name in table.column_names)
    values: dict[str, list] = {names.get(name, name): [] for name in stored}
    for table in tables:
        for name in stored:
            column = table[name].to_pylist() if name in table.column_names else [None] * len(table)
            values[names.get(name, name)] += map(plain, column)
    values["shard"] = [i for i, table in enumerate(tables) for _ in range(len(table))]
    values["row"] = [row for table in tables for row in range(len(table))]
    return values
