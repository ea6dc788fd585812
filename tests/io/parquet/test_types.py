"""Arrow types of many writers, alone or mixed, with either reader, against pyarrow."""

from __future__ import annotations

import datetime
import decimal
import uuid

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import SchemaError
from laion_dask.io.parquet.common_types import frame_type, merged
from laion_dask.io.parquet.read_shards import read_shards

pytestmark = pytest.mark.usefixtures("partitioning")

HERE = {"scheduler": "sync"}
UUIDS = [uuid.UUID(int=i + 1) for i in range(3)]
BYTES = [u.bytes for u in UUIDS]
D = decimal.Decimal
ALONE = {
    "uuid": pa.array(BYTES, pa.uuid()),
    "list of uuid": pa.ListArray.from_arrays([0, 1, 2, 3], pa.array(BYTES, pa.uuid())),
    "struct of uuid": pa.StructArray.from_arrays([pa.array(BYTES, pa.uuid())], ["a"]),
    "fixed bytes": pa.array(BYTES, pa.binary(16)),
    "binary view": pa.array([b"a", None, b"\xff"], pa.binary_view()),
    "string view": pa.array(["a", None, "c"], pa.string_view()),
    "list of views": pa.array([["a"], None, []], pa.list_(pa.string_view())),
    "list view": pa.array([[1], [], None], pa.list_view(pa.int64())),
    "fixed list": pa.array([[1.0], [2.0], None], pa.list_(pa.float64(), 1)),
    "decimal": pa.array([D("0.30"), None, D("1.20")]),
    "wide decimal": pa.array([D(1), None, D(2)], pa.decimal256(50, 2)),
    "narrow decimal": pa.array([D(1), None, D(2)], pa.decimal32(5, 2)),
    "half": pa.array(np.array([1, 2, 3], np.float16)),
    "date": pa.array([datetime.date(2020, 1, 1), None, datetime.date(1, 1, 1)]),
    "time s": pa.array([1, None, 3], pa.time32("s")),
    "time ns": pa.array([1, None, 3], pa.time64("ns")),
    "timestamp s": pa.array([1, None, 3], pa.timestamp("s")),
    "timestamp ns": pa.array([1, None, 3], pa.timestamp("ns")),
    "moment": pa.array([1, None, 3], pa.timestamp("ms", "Europe/Berlin")),
    "duration": pa.array([1, None, 3], pa.duration("s")),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
    "null": pa.nulls(3),
    "list of null": pa.array([[], [], None], pa.list_(pa.null())),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
    "list of struct": pa.array([[{"a": 1}], None, []]),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "json": pa.array(['{"a":1}', None, "2"], pa.json_()),
    "bool8": pa.array([1, None, 0], pa.bool8()),
}


def cells(frame, name="c") -> list:
    """The values of a column as plain Python objects, with None for missing ones."""

    def plain(value):
        if isinstance(value, (np.ndarray, list, tuple)):
            return [plain(one) for one in value]
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if pd.isna(value):
            return None
        if isinstance(value, pd.Timedelta):
            return value.to_pytimedelta()
        return value.item() if hasattr(value, "item") else value

    return [plain(value) for value in frame[name]]


def right(array: pa.Array) -> list:
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return str(value) if isinstance(value, uuid.UUID) else value

    return [plain(value) for value in array.to_pylist()]


@pytest.mark.parametrize("kind", ALONE)
def test_every_type_by_both_readers(write, kind):
    array = ALONE[kind]
    path = write("a.parquet", {"URL": ["u", "v", "w"], "TEXT": ["a", "b", "c"], "c": array})
    assert read_shards(path, columns=["url"]).compute(**HERE)["url"].tolist() == ["u", "v", "w"]
    fast = read_shards(path)
    with ld.set_options(invalid_text="reject"):
        careful = read_shards(path)
    read = fast.compute(**HERE)
    assert {str(a) for a in fast.dtypes} == {str(a) for a in read.dtypes}
    assert cells(read) == cells(careful.compute(**HERE)) == right(array)
    assert len(fast.laion.where("c is None").compute(**HERE)) == array.null_count


PAIRS = {
    "lists, one without an element": (
        pa.array([[], []], pa.list_(pa.list_(pa.null()))),
        pa.array([[[0.1]], []]),
    ),
    "struct, a field all null": (
        pa.array([{"a": None}] * 2, pa.struct([("a", pa.null())])),
        pa.array([{"a": 1}] * 2),
    ),
    "struct, a field more": (pa.array([{"b": b"a"}] * 2), pa.array([{"b": b"a", "p": "x"}] * 2)),
    "list of struct, a field more": (pa.array([[{"b": 1}], []]), pa.array([[{"c": "x"}], None])),
    "timestamps": (pa.array([1, 2], pa.timestamp("ms")), pa.array([1, 2], pa.timestamp("us"))),
    "moments": (
        pa.array([1, 2], pa.timestamp("ms", "UTC")),
        pa.array([1, 2], pa.timestamp("us", "Asia/Tokyo")),
    ),
    "decimals": (pa.array([D("1.5"), D("2.5")]), pa.array([D("1.125"), D("200")])),
    "decimal and integer": (pa.array([D("1.5"), D("2.5")]), pa.array([2**62, 1])),
    "bytes": (pa.array([b"a", b"b"]), pa.array([b"a", b"b"], pa.binary(1))),
    "large bytes": (pa.array([b"a", b"b"]), pa.array([b"a", b"b"], pa.large_binary())),
    "views": (pa.array([b"a", b"b"], pa.binary_view()), pa.array([b"a", b"b"])),
    "fixed lists": (pa.array([[1.0], [2.0]], pa.list_(pa.float64(), 1)), pa.array([[1.0], []])),
    "times": (pa.array([1, 2], pa.time32("ms")), pa.array([1, 2], pa.time64("ns"))),
    "durations": (pa.array([1, 2], pa.duration("s")), pa.array([1, 2], pa.duration("us"))),
    "uuid and text": (pa.array(BYTES[:2], pa.uuid()), pa.array(["a", "b"])),
    "categories and text": (pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", "b"])),
    "maps": (
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32())),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_two_types_of_which_one_holds_both(write, tmp_path, kind):
    for number, array in enumerate(PAIRS[kind]):
        write(f"d/{number}.parquet", {"URL": ["u", "v"], "TEXT": ["a", "b"], "c": array})
    read = read_shards(tmp_path / "d").compute(**HERE)
    type_ = merged([array.type for array in PAIRS[kind]])
    expected = []
    for array in PAIRS[kind]:
        own = array if pa.types.is_map(array.type) else right(array)
        expected += right(pa.array(own, frame_type(array.type)).cast(type_))
    assert cells(read) == cells({"c": expected})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.string()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.decimal128(38, 0), pa.decimal256(76, 60)),
        (pa.decimal128(5, 2), pa.float64()),
        (pa.binary(), pa.string()),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.string())])),
        (pa.list_(pa.int64()), pa.int64()),
        (pa.date32(), pa.timestamp("us")),
    ],
    ids=str,
)
def test_two_types_of_which_none_holds_both(one, other):
    assert merged([one, other]) is merged([other, one]) is None


def test_decimal_scores_are_the_nearest_numbers(write):
    scores = [D(i).scaleb(-2) for i in range(100)]
    table = {"URL": ["u"] * 100, "TEXT": ["t"] * 100, "similarity": pa.array(scores)}
    path = write("a.parquet", table)
    assert read_shards(path).compute(**HERE)["similarity"].tolist() == [float(s) for s in scores]
    assert len(read_shards(path, where="similarity <= 0.29")) == 30
    with ld.set_options(invalid_text="reject"):
        assert len(read_shards(path, where="similarity <= 0.29")) == 30


def test_uids_of_uuid_type_are_their_digits(write, tmp_path):
    base = {"url": ["u"] * 3, "text": ["t"] * 3, "clip_b32_similarity_score": [0.1] * 3}
    path = write("d/0.parquet", {"uid": pa.array(BYTES, pa.uuid()), **base})
    digits = [u.hex for u in UUIDS]
    for source in (path, tmp_path / "d"):
        assert read_shards(source).compute(**HERE)["uid"].tolist()[:3] == digits
        result = read_shards(source, where=f"uid == '{digits[1]}'").compute(**HERE)
        assert result["row"].tolist() == [1]
        write("d/1.parquet", {"uid": ["x"] * 3, **base})
    with ld.set_options(invalid_text="reject"):
        assert read_shards(path).compute(**HERE)["uid"].tolist() == digits


def test_bytes_that_a_writer_does_not_call_text(write, tmp_path):
    write("d/0.parquet", {"URL": pa.array([b"u", "\u00fc".encode()]), "TEXT": ["a", "b"]})
    write("d/1.parquet", {"URL": ["v", "w"], "TEXT": ["a", "b"]})
    read = read_shards(tmp_path / "d", where="url != 'u'").compute(**HERE)
    assert read["url"].tolist() == ["\u00fc", "v", "w"]
    bad = write("e.parquet", {"URL": pa.array([b"u", b"\xff"]), "TEXT": ["a", "b"]})
    with pytest.raises(ld.LaionDaskError, match=r"Row 1 of .* has a url that is not valid UTF-8"):
        read_shards(bad).compute(**HERE)
    with ld.set_options(invalid_text="reject"):
        assert ld.rows(read_shards(bad)).rejected == 1


def test_other_writers(tmp_path):
    out = str(tmp_path / "duck.parquet")
    duckdb.sql(
        "COPY (SELECT 'u' AS URL, 't' AS TEXT, 0.30 AS similarity, 7::HUGEINT AS hash, "
        "'00000000-0000-0000-0000-000000000001'::UUID AS id, [uuid()] AS ids, {'a': 1} AS s) "
        f"TO '{out}'"
    )
    with pytest.raises(SchemaError, match=r"'hash' of shard .* is stored as double"):
        read_shards(out)  # Parquet has no HUGEINT: DuckDB writes a double
    read = read_shards(out, columns=["url", "similarity", "id", "ids", "s"]).compute(**HERE)
    assert read.loc[0, ["similarity", "id"]].tolist() == [0.3, str(UUIDS[0])]
    frame = pl.DataFrame({"URL": ["u"], "TEXT": ["t"], "c": ["x"], "n": [None]})
    frame = frame.with_columns(pl.col("c").cast(pl.Categorical), pl.lit(b"b").alias("b"))
    frame.write_parquet(tmp_path / "polars.parquet")
    read = read_shards(tmp_path / "polars.parquet", where="c == 'x'").compute(**HERE)
    assert read.loc[0, ["url", "c"]].tolist() == ["u", "x"] and cells(read, "b") == [b"b"]


def test_a_zero_row_shard_beside_others(write, tmp_path):
    empty = {"URL": pa.array([], pa.string()), "TEXT": pa.array([], pa.string())}
    write("d/0.parquet", {**empty, "c": pa.array([], pa.null()), "similarity": pa.nulls(0)})
    write("d/1.parquet", {"URL": ["u"], "TEXT": ["t"], "c": [[1]], "similarity": [0.5]})
    read = read_shards(tmp_path / "d", where="similarity > 0").compute(**HERE)
    assert cells(read) == [[1]] and pq.read_metadata(tmp_path / "d/0.parquet").num_rows == 0


def test_hashes_beyond_int64(tmp_path):
    """DuckDB's hash() gives uint64; no type holds it and int64, so opening both fails."""
    values = [2**64 - 1, 2**63, 5]
    base = {"URL": ["u", "v", "w"], "TEXT": ["a", "b", "c"]}
    for name in ("hash", "other"):
        folder = tmp_path / name
        folder.mkdir()
        pq.write_table(
            pa.table({**base, name: pa.array(values, pa.uint64())}), folder / "0.parquet"
        )
        frame = ld.read_shards(folder)
        assert frame.compute()[name].tolist() == values
        assert len(frame.laion.where(f"{name} == {2**64 - 1}")) == 1
        pq.write_table(
            pa.table({**base, name: pa.array([1, 2, 3], pa.int64())}), folder / "1.parquet"
        )
        with pytest.raises(SchemaError, match=name):
            ld.read_shards(folder)


@pytest.mark.only_pandas
@pytest.mark.parametrize(
    "value", ["{}", "[{}]", "{{'a': {}}}", "MAP {{1: {}}}", "[MAP {{1: [{}]}}]"]
)
def test_intervals_are_refused_at_open_by_their_name(tmp_path, value):
    import duckdb

    path = str(tmp_path / "a.parquet")
    column = value.format("INTERVAL 3 DAY")
    duckdb.sql(f"COPY (SELECT 'u' AS URL, {column} AS age, uuid() AS id) TO '{path}'")
    with pytest.raises(SchemaError, match=r"'age' of shard .* holds intervals.*columns="):
        read_shards(path)
    assert len(read_shards(path, columns=["url", "id"]).compute()["id"][0]) == 36


@pytest.mark.only_pandas
@pytest.mark.parametrize("value", ["{}", "[{}]", "{{'a': {}}}", "MAP {{'x': {}}}"])
def test_maps_that_hold_nothing(tmp_path, value):
    """DuckDB writes their keys with type null, which Arrow forbids in maps."""
    (tmp_path / "d").mkdir()
    for number, inside in enumerate(["MAP {}", "MAP {7: 8}"]):
        path = tmp_path / "d" / f"{number}.parquet"
        column = value.format(inside)
        duckdb.sql(
            f"COPY (SELECT 'u' AS URL, {column} AS c UNION ALL SELECT 'v', null) TO '{path}'"
        )
    for source, last in ((tmp_path / "d" / "0.parquet", "[]"), (tmp_path / "d", "[(7, 8)]")):
        frame = read_shards(source)
        with ld.set_options(invalid_text="reject"):
            careful = read_shards(source)
        for way in (frame, frame.laion.where("url >= 'a'"), careful):
            read = way.compute(**HERE)["c"]
            assert last in str(read.iloc[-2]) and pd.isna(read.iloc[-1])
            assert read.dtype == frame.dtypes["c"]


@pytest.mark.parametrize("listed", [pa.large_list, lambda type_: pa.list_(type_, 1), pa.list_view])
def test_int96_in_lists_of_any_kind_beside_an_extension_type(write, listed):
    date = datetime.datetime(1600, 1, 1)
    columns = {
        "URL": ["u", "v"],
        "between": pa.array(pd.interval_range(0, 2)),
        "c": pa.array([[date], None], listed(pa.timestamp("us"))),
    }
    path = write("a.parquet", columns, use_deprecated_int96_timestamps=True)
    read = read_shards(path).compute(**HERE)
    assert cells(read) == [[date], None]
    assert cells(read, "between") == [{"left": 0, "right": 1}, {"left": 1, "right": 2}]


@pytest.mark.parametrize("nested", [False, True])
def test_int96_timestamps_are_microseconds(write, nested):
    """As written by Spark, whose placeholder dates exceed the range of int64 nanoseconds."""
    dates = [
        datetime.datetime(*day)
        for day in ((1600, 1, 1), (2026, 11, 29, 1, 2, 3, 4567), (9999, 12, 31))
    ]
    values = [[date] for date in dates] if nested else dates
    type_ = pa.list_(pa.timestamp("us")) if nested else pa.timestamp("us")
    columns = {"URL": ["a", "b", "c"], "c": pa.array(values, type_)}
    path = write("a.parquet", columns, use_deprecated_int96_timestamps=True)
    frame = read_shards(path)
    for way in (frame, frame.laion.where("url >= 'a'")):
        read = way.compute(**HERE)["c"]
        assert [list(c) if nested else c.to_pydatetime() for c in read] == values
    fine = pa.array(
        [[1000], [1]] if nested else [1000, 1],
        pa.list_(pa.timestamp("ns")) if nested else pa.timestamp("ns"),
    )
    options = {"use_deprecated_int96_timestamps": True, "row_group_size": 1}
    path = write("b.parquet", {"URL": ["a", "b"], "c": fine}, **options)
    message = "has c = 1970-01-01 00:00:00.000000001, an INT96 with nanoseconds"
    with pytest.raises(SchemaError, match=message):
        read_shards(path).compute(**HERE)
    if not nested:
        with pytest.raises(SchemaError, match="Row 1 of shard"):
            read_shards(path, max_rows_per_partition=1).compute(**HERE)
    assert len(read_shards(path, columns=["url"]).compute(**HERE)) == 2
