"""Mixed shards: either one schema that keeps every value, or an error that names both types."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.frames import both, on_host

from laion_dask.errors import ColumnError, SchemaError
from laion_dask.io.parquet.read_shards import read_shards

pytestmark = pytest.mark.usefixtures("partitioning")

HERE = {"scheduler": "sync"}
EXTREME = [-(2**63), -(2**63) + 1, -(2**53) - 1, -1, 0, None, 2**53 + 1, 2**63 - 2, 2**63 - 1]


def cells(series) -> list:
    return [None if c is pd.NA or (isinstance(c, float) and math.isnan(c)) else c for c in series]


@both
@pytest.mark.parametrize("name", ["hash", "uid", "SAMPLE_ID"])
def test_identifiers_survive_exactly(write, tmp_path, name):
    base = {"URL": ["u"] * 9, "TEXT": ["t"] * 9}
    write("d/1.parquet", {**base, name: pa.array(EXTREME, pa.int64())})
    write("d/2.parquet", {**base, name: pa.nulls(9)})
    write("d/3.parquet", base)
    write("d/4.parquet", {**base, name: pa.array([None] * 8 + [7], pa.int32())})
    frame = read_shards(tmp_path / "d")
    assert str(on_host(frame._meta).dtypes[name]) == "Int64"
    read = cells(frame.compute(**HERE)[name])
    assert read == EXTREME + [None] * 26 + [7]
    assert all(isinstance(cell, (int, np.integer)) for cell in read if cell is not None)
    for value in (2**63 - 1, 2**53 + 1, -(2**63)):
        for way in (frame, frame.assign(one=1)):
            result = way.laion.where(f"{name} == {value}").compute(**HERE)
            assert (result["shard"].tolist(), result["row"].tolist()) == (
                [0],
                [EXTREME.index(value)],
            )
    assert len(frame.laion.where(f"{name} == {2**63}")) == 0
    assert len(frame.laion.where(f"{name} == {2**53}")) == 0


def test_hash_never_comes_from_a_float(write):
    base = {"URL": ["u"], "TEXT": ["t"]}
    one = write("1.parquet", {**base, "hash": pa.array([1], pa.int64())})
    two = write("2.parquet", {**base, "hash": pa.array([1.0])})
    with pytest.raises(
        SchemaError, match=r"'hash' is int64 in shard .*1\.parquet but double in"
    ) as e:
        read_shards([one, two])
    assert "2.parquet" in str(e.value)
    with pytest.raises(SchemaError, match=r"'hash' of shard .*2\.parquet is stored as double"):
        read_shards(two)
    three = write("3.parquet", {**base, "uid": ["a"]})
    four = write("4.parquet", {**base, "uid": [4]})
    with pytest.raises(SchemaError, match=r"'uid' is string in shard .* but int64 in shard"):
        read_shards([three, four])


STRINGS = ["a", "", None, "ü"]


@both
@pytest.mark.parametrize(
    "arrays",
    [
        [pa.array(STRINGS, pa.string()), pa.array(STRINGS, pa.large_string())],
        [pa.array(STRINGS), pa.array(STRINGS).dictionary_encode(), pa.nulls(4)],
        [pa.array(STRINGS).dictionary_encode()],
        [pa.array([1, None, 3, 4], pa.int8()), pa.array([2**40, None, 0, 1], pa.int64())],
        [pa.array([1, None, 3, 4], pa.uint8()), pa.array([-1, None, 0, 1], pa.int16())],
        [pa.array([2**64 - 1, None, 3, 4], pa.uint64())],
        [pa.array([1, None, 3, 4], pa.int64()), pa.array([0.5, None, 2.0, -1.0])],
        [pa.array([1, 2, 3, 4]).dictionary_encode(), pa.array([0.5, 1, 2, 3]).dictionary_encode()],
        [pa.array([0.5, None], pa.float32()), pa.array([0.1, None], pa.float64())],
        [pa.array([0.5, None], pa.float16()), pa.array([0.25, None], pa.float32())],
        [pa.array([True, None, False]), pa.nulls(3)],
        [pa.nulls(3), pa.nulls(2)],
        [pa.array([["a"], None, []]), pa.nulls(2)],
    ],
    ids=lambda arrays: " and ".join(str(a.type) for a in arrays),
)
@pytest.mark.parametrize("name", ["own", "other column missing"])
def test_types_that_meet(write, tmp_path, arrays, name):
    for i, array in enumerate(arrays):
        write(f"d/{i}.parquet", {name: array, "n": range(len(array))})
    write("d/9.parquet", {"n": [0, 1]})
    frame = read_shards(tmp_path / "d")
    read = frame.compute(**HERE)
    meta = on_host(frame._meta)
    assert read.dtypes.astype(str).to_dict() == meta.dtypes.astype(str).to_dict()
    stored = [value for array in arrays for value in array.to_pylist()] + [None, None]
    result = [c.tolist() if isinstance(c, np.ndarray) else c for c in cells(read[name])]
    assert result == stored
    missing = frame.laion.where(f"col({name!r}) is None").compute(**HERE)
    assert len(missing) == stored.count(None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array(["1"]), pa.array([1])),
        (pa.array([True]), pa.array([1])),
        (pa.array([["a"]]), pa.array(["a"])),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
        (pa.array([{"a": 1}]), pa.array([{"a": "x"}])),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["own", "text"])
def test_types_that_do_not_meet(write, tmp_path, name, one, other):
    write("d/one.parquet", {name: one, "n": [1]})
    write("d/two.parquet", {name: other, "n": [2]})
    with pytest.raises(SchemaError) as caught:
        read_shards(tmp_path / "d")
    message = str(caught.value)
    assert repr(name) in message and ".parquet" in message and "columns=" in message
    if name == "own":
        assert "one.parquet" in message and "two.parquet" in message
        assert str(one.type).replace("item", "element") in message and str(other.type) in message
    with pytest.raises(SchemaError):
        read_shards(tmp_path / "d", columns=["n", name])
    apart = read_shards(tmp_path / "d", columns=["n"], where="n > 0").compute(**HERE)
    assert apart["n"].tolist() == [1, 2]
    with pytest.raises(SchemaError):
        read_shards(tmp_path / "d", columns=["n"], where=f"n > 1 or col({name!r}) is None")
    with pytest.raises(ColumnError):
        read_shards(tmp_path / "d", columns=["n"]).laion.where(f"{name} is None")


@both
@pytest.mark.parametrize("bad", [640.5, math.inf, 2.0**31, -1e300])
def test_a_float_that_is_no_integer_is_never_cut(write, tmp_path, bad):
    base = {"URL": ["u"] * 4, "TEXT": ["t"] * 4}
    write("d/1.parquet", {**base, "WIDTH": pa.array([1, 2, 3, 4], pa.int32())})
    write("d/2.parquet", {**base, "WIDTH": [1.0, math.nan, bad, None]}, row_group_size=1)
    frame = read_shards(tmp_path / "d", max_rows_per_partition=2)
    with pytest.raises(SchemaError) as caught:
        frame[["width"]].compute(**HERE)
    for part in ("Row 2 of shard", "2.parquet", f"width = {bad!r}", "int32"):
        assert part in str(caught.value)
    assert len(frame[["url"]].compute(**HERE)) == 8


@both
def test_integers_too_large_for_their_column(write):
    path = write("a.parquet", {"URL": ["u", "v"], "TEXT": ["t", "t"], "WIDTH": [1, 2**40]})
    with pytest.raises(SchemaError, match=rf"Row 1 of shard .* has width = {2**40}"):
        read_shards(path).compute(**HERE)
    large, half = {"URL": ["u"], "n": [2**53 + 1]}, {"URL": ["v"], "n": [0.5]}
    mixed = [write("d/1.parquet", large), write("d/2.parquet", half)]
    message = (
        rf"'n' is int64 with a value of {2**53 + 1} in shard .*1\.parquet but double in .*2\.p"
    )
    with pytest.raises(SchemaError, match=message):
        read_shards(mixed)
    assert cells(read_shards(mixed, columns=["url"]).compute(**HERE)["url"]) == ["u", "v"]
    mixed[0] = write("s/1.parquet", large, write_statistics=False)
    with pytest.raises(SchemaError, match=rf"Row 0 of shard .*1\.parquet has n = {2**53 + 1}"):
        read_shards(mixed).compute(**HERE)


LARGE = 2**53 + 1
NANOSECONDS = pa.timestamp("ns", "UTC")
OLD = -11_676_096_000_000  # 1600-01-01 in milliseconds, before the first nanosecond of an int64


@pytest.mark.parametrize(
    ("wide", "other"),
    [
        (pa.array([1, LARGE]), pa.array([0.5, 1])),
        (pa.array([1, -LARGE]), pa.array([0.5, 1], pa.float32())),
        (pa.array([2**63 + 1, 1], pa.uint64()), pa.array([0.5, 1])),
        (pa.array([[LARGE], []]), pa.array([[0.5], []])),
        (pa.array([{"a": [{"b": LARGE}]}] * 2), pa.array([{"x": "y", "a": [{"b": 0.5}]}] * 2)),
        (pa.array([OLD, 0], pa.timestamp("ms")), pa.array([0, 1], pa.timestamp("ns"))),
        (pa.array([OLD, 0], pa.timestamp("ms", "UTC")), pa.array([0, 1], NANOSECONDS)),
        (pa.array([OLD, 0], pa.timestamp("ms", "Mars/Base")), pa.array([0, 1], NANOSECONDS)),
        (pa.array([2**60, 0], pa.duration("s")), pa.array([0, 1], pa.duration("ns"))),
        (
            pa.array([[OLD], []], pa.list_(pa.timestamp("ms", "UTC"))),
            pa.array([[0], []], pa.list_(NANOSECONDS)),
        ),
    ],
    ids=str,
)
def test_a_value_that_no_common_type_holds_is_refused_when_the_shards_are_opened(
    write, tmp_path, wide, other
):
    for number, array in enumerate([wide, other]):
        write(f"d/{number}.parquet", {"URL": ["u", "v"], "c": array}, row_group_size=1)
    message = (
        r"'c' is .* a value of .* in shard .*0\.parquet but .* in shard .*1\.parquet; no single"
    )
    with pytest.raises(SchemaError, match=message):
        read_shards(tmp_path / "d")
    apart = [read_shards(tmp_path / "d" / f"{n}.parquet").compute(**HERE) for n in (0, 1)]
    assert [len(part) for part in apart] == [2, 2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1, 2**53]), pa.array([0.5, -(2.0**53)])),
        (pa.array([[3], []]), pa.array([[0.5], []])),
        (pa.array([0, 1], pa.timestamp("ms")), pa.array([0, 1], pa.timestamp("ns"))),
    ],
    ids=str,
)
def test_values_that_the_common_type_holds(write, tmp_path, one, other):
    for number, array in enumerate([one, other]):
        write(f"d/{number}.parquet", {"URL": ["u", "v"], "c": array}, row_group_size=1)
    read = read_shards(tmp_path / "d").compute(**HERE)["c"]
    for got, right in zip(read, [*one.to_pylist(), *other.to_pylist()], strict=True):
        assert (list(got) if isinstance(right, list) else got) == right


@both
def test_reordered_and_missing_columns(write, tmp_path):
    write("d/1.parquet", {"URL": ["a"], "TEXT": ["b"], "similarity": [0.5], "extra": [1]})
    write(
        "d/2.parquet", {"similarity": pa.array([0.25], pa.float32()), "TEXT": ["d"], "URL": ["c"]}
    )
    write("d/3.parquet", {"TEXT": ["f"], "late": ["x"], "URL": ["e"], "similarity": pa.nulls(1)})
    frame = read_shards(tmp_path / "d")
    read = frame.compute(**HERE)
    assert read.columns.tolist() == ["url", "text", "similarity", "extra", "late", "shard", "row"]
    assert read["url"].tolist() == ["a", "c", "e"] and read["text"].tolist() == ["b", "d", "f"]
    assert (
        cells(read["similarity"]) == [0.5, 0.25, None]
        and str(read["similarity"].dtype) == "float64"
    )
    assert cells(read["extra"]) == [1, None, None] and cells(read["late"]) == [None, None, "x"]
    for expression, right in {
        "similarity >= 0.25": [0, 1],
        "not (similarity > 0.3)": [1],
        "extra is None": [1, 2],
        "extra == 1": [0],
        "late is not None or similarity > 0.4": [0, 2],
        "not (late == 'y')": [2],
    }.items():
        for way in (frame, frame.assign(one=1)):
            assert way.laion.where(expression).compute(**HERE)["shard"].tolist() == right, (
                expression
            )


@both
def test_a_threshold_means_the_same_in_float32_and_double_shards(write, tmp_path):
    write("d/1.parquet", {"text": ["t"], "similarity": pa.array([0.3], pa.float32())})
    write("d/2.parquet", {"text": ["t"], "similarity": pa.array([0.3], pa.float64())})
    frame = read_shards(tmp_path / "d")
    assert frame.laion.where("similarity == 0.3").compute(**HERE)["shard"].tolist() == [0, 1]
    assert len(frame.laion.where("similarity > 0.3").compute(**HERE)) == 0
    alone = read_shards(tmp_path / "d" / "1.parquet")
    assert len(alone.laion.where("similarity == 0.3")) == 1


@both
def test_lists_of_one_thing_are_one_type_whoever_wrote_them(write, tmp_path):
    captions = [["a bird", "a boat"], None, []]
    kinds = [
        pa.list_(pa.field("element", pa.string())),
        pa.list_(pa.field("item", pa.string())),
        pa.large_list(pa.large_string()),
    ]
    for i, kind in enumerate(kinds):
        columns = {"TEXT": ["t"] * 3, "all_captions": pa.array(captions, kind)}
        write(f"d/{i}.parquet", {"URL": ["u"] * 3, "top_caption": ["t"] * 3, **columns})
    frame = read_shards(tmp_path / "d")
    read = frame.compute(**HERE)["all_captions"]
    assert [None if c is pd.NA or c is None else list(c) for c in read] == captions * 3
    assert read.dtype == on_host(frame._meta).dtypes["all_captions"]
    assert frame.laion.where("row == 0").compute(**HERE)["shard"].tolist() == [0, 1, 2]
    for i, name in enumerate("ab"):
        stamps = pa.array([[0]], pa.list_(pa.field(name, pa.timestamp("s"))))
        write(f"t/{i}.parquet", {"URL": ["u"], "when": stamps}, use_compliant_nested_type=False)
    assert len(read_shards(tmp_path / "t").compute(**HERE)) == 2
    write("d/3.parquet", {"URL": ["u"], "top_caption": ["t"], "all_captions": pa.array([[1]])})
    with pytest.raises(SchemaError, match=r"no single type holds both"):
        read_shards(tmp_path / "d")


@both
def test_a_shard_without_rows_says_nothing_of_types(tmp_path):
    """Pandas writes the columns of an empty frame as floats, whatever their type should be."""
    (tmp_path / "d").mkdir()
    full = {"URL": ["u", "v"], "TEXT": ["a", "b"], "boxes": [[1.0], [2.0, 3.0]], "n": [2**60, 1]}
    pd.DataFrame(full).to_parquet(tmp_path / "d" / "0.parquet", index=False)
    pd.DataFrame(full)[:0].astype(float).to_parquet(tmp_path / "d" / "1.parquet", index=False)
    frame = read_shards(tmp_path / "d")
    for way in (frame, frame.laion.where("row >= 0"), frame.assign(one=1)):
        read = way.compute(**HERE)
        assert cells(read["url"]) == ["u", "v"] and cells(read["text"]) == ["a", "b"]
        assert [list(c) for c in read["boxes"]] == full["boxes"] and cells(read["n"]) == full["n"]
    for where, kept in (("text == 'b'", 1), ("url >= 'v'", 1), ("n > 1", 1)):
        assert len(frame.laion.where(where)) == kept, where
    assert read_shards(tmp_path / "d" / "1.parquet").compute(**HERE)["text"].tolist() == []
    other = pd.DataFrame({"URL": ["w"], "TEXT": ["x"], "boxes": [0.5]})
    other.to_parquet(tmp_path / "d" / "2.parquet", index=False)
    with pytest.raises(SchemaError, match=r"'boxes' is list.* no single type holds both"):
        read_shards(tmp_path / "d")


def _by_pandas(path, column):
    pd.DataFrame({"URL": ["x", "y"], "c": column}).to_parquet(path, index=False)


def _by_polars(path, column):
    pl.DataFrame({"URL": ["x", "y"], "c": pl.Series(column, dtype=pl.Float32)}).write_parquet(path)


def _by_duckdb(path, column):
    rows = "select 'x' as URL, null as c union all select 'y', null"
    duckdb.execute(f"copy ({rows}) to '{path}' (format parquet)")


def _by_arrow(path, column):
    table = pa.table({"URL": ["x", "y"], "c": pa.array([None, None], pa.string())})
    pq.write_table(table, path, row_group_size=1)


@both
@pytest.mark.parametrize("writer", [_by_pandas, _by_polars, _by_duckdb, _by_arrow])
@pytest.mark.parametrize(
    "values",
    [["a", "b"], [[1.0], [2.0, 3.0]], [2**60 + 1, 1], [True, False], [{"a": 1}, {"a": 2}]],
    ids=["text", "lists", "integers", "booleans", "structs"],
)
def test_a_column_without_values_says_nothing_of_its_type(write, tmp_path, writer, values):
    """Each writer uses a different type for a column that is entirely null."""
    write("d/0.parquet", {"URL": ["u", "v"], "c": values})
    writer(tmp_path / "d" / "1.parquet", [None, None])
    frame = read_shards(tmp_path / "d")
    for way in (frame, frame.laion.where("row >= 0"), frame.laion.where("c is None or row >= 0")):
        read = way.compute(**HERE)
        assert cells(read["url"]) == ["u", "v", "x", "y"]
        got = on_host(read["c"]).tolist()
        for one, right in zip(got, values, strict=False):
            assert (list(one) if isinstance(right, list) else one) == right
        assert cells(read["c"])[2:] == [None, None]
    assert len(frame.laion.where("c is None")) == 2
    both_null = read_shards(tmp_path / "d" / "1.parquet").compute(**HERE)
    assert cells(both_null["c"]) == [None, None]
