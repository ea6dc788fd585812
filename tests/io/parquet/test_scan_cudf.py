"""The row-group scan that cuDF uses, here decoded by pyarrow, against DuckDB's scan."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.decoders import PandasDecoder
from support.property_tests import examples
from support.where_language import TYPES, expressions, tables

from laion_dask.errors import (
    BackendWarning,
    DeviceLostError,
    DeviceMemoryError,
    SchemaError,
    ShardError,
)
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet import scan as scans
from laion_dask.io.parquet import scan_cudf
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.io.parquet.shard import ScanPartition
from laion_dask.predicate import parse


def opened(path, **options):
    """A scan, and its pieces."""
    scan, partitions = Provenance.of(read_shards(path, backend="pandas", **options)).as_read
    return scan, [piece for partition in partitions for piece in partition.pieces]


def check(scan, piece, names, decoder=None):
    """Check that both scans agree; return the frame and the number of undecided rows."""
    decoder = decoder or PandasDecoder()
    partition = ScanPartition((piece,))
    wanted = scan.read(partition, names)
    frame, unscored = scan_cudf.read(piece, names, scan, decoder, counted=True)
    pd.testing.assert_frame_equal(frame, scan(partition, names))
    assert unscored == wanted.unscored
    again, none = scan_cudf.read(piece, names, scan, decoder, counted=False)
    pd.testing.assert_frame_equal(again, frame)
    assert none == 0 or scan.where is not None
    return frame, unscored


@examples(25)
@given(table=tables, chosen=st.lists(expressions, min_size=1, max_size=3), size=st.integers(1, 5))
def test_the_same_rows_as_duckdb(table, chosen, size):
    columns = {n: pa.array([row[n] for row in table], t) for n, t in TYPES.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "a.parquet")
        pq.write_table(pa.table(columns), path, row_group_size=size)
        scan, [piece] = opened(path)
        check(scan, piece, list(scan.column_types))
        for text, meaning in chosen:
            narrowed = scan.and_where(parse(text, scan.column_types))
            frame, unscored = check(narrowed, piece, ["row", "text", "f32", "shard"])
            truth = [meaning(row) for row in table]
            assert frame["row"].tolist() == [i for i, value in enumerate(truth) if value is True]
            assert unscored == truth.count(None)


def test_types_that_differ_from_shard_to_shard(write):
    write("s/0.parquet", {"WIDTH": pa.array([1, None, 3], pa.int32()), "n": pa.array([1, 2, 3])})
    floats = pa.array([4.0, np.nan, None], pa.float64())
    path = write("s/1.parquet", {"WIDTH": floats, "extra": ["a", None, "c"]})
    for where in (None, "width > 1", "width is None", "n > 1 or width > 3"):
        scan, pieces = opened(Path(path).parent, where=where)
        for piece in pieces:
            check(scan, piece, list(scan.column_types))
    bad = write("t/1.parquet", {"WIDTH": pa.array([4.0, 4.5])})
    scan, [piece] = opened(bad)
    with pytest.raises(SchemaError, match=r"Row 1 of shard .* has width = 4.5"):
        scan_cudf.read(piece, ["width"], scan, PandasDecoder(), counted=False)


def numbered(write, **options):
    n = np.arange(40)
    words = pa.array([f"w{i // 10}" for i in n])
    columns = {"a": n, "x": n / 10, "text": words, "none": pa.nulls(40, pa.int64())}
    return write("n.parquet", columns, row_group_size=10, **options)


@pytest.mark.parametrize(
    "text, groups",
    [
        ("a < 10", [0]),
        ("a >= 30", [3]),
        ("30 <= a", [3]),
        ("not (a < 30)", [3]),
        ("a == 15 or a == 25", [1, 2]),
        ("a in (5, 35)", [0, 3]),
        ("a > 5 and x < 1.0", [0]),
        ("not (a > 5 or x > 9)", [0]),
        ("text == 'w2'", [2]),
        ("text >= 'w2'", [2, 3]),
        ("row in (7, 31)", [0, 3]),
        ("row >= 39 and shard == 0", [3]),
        ("shard == 1", []),
        ("none > 0", []),
        ("none is None", [0, 1, 2, 3]),
        ("a not in (1, 2)", [0, 1, 2, 3]),
        ("a != 3", [0, 1, 2, 3]),
        ("a + 0 < 10", [0, 1, 2, 3]),
        ("text.startswith('w0')", [0, 1, 2, 3]),
        ("a > 99", []),
    ],
)
def test_row_groups_are_left_out_by_their_statistics(write, text, groups):
    scan, [piece] = opened(numbered(write), where=text)
    decoder = PandasDecoder()
    scan_cudf.read(piece, ["a", "row"], scan, decoder, counted=False)
    assert decoder.groups == groups
    check(scan, piece, ["a", "row"])


def test_without_statistics_and_in_parts(write):
    path = numbered(write, write_statistics=False)
    scan, pieces = opened(path, where="a >= 15 and a < 25", max_rows_per_partition=20)
    assert len(pieces) == 2
    for piece in pieces:
        assert check(scan, piece, ["a", "row", "text"])[0]["a"].between(15, 24).all()


def test_some_row_groups_at_a_time(write, monkeypatch):
    scan, [piece] = opened(numbered(write), where="a > 3")
    whole = check(scan, piece, ["a", "text"])[0]
    monkeypatch.setattr(scan_cudf, "_BATCH_BYTES", 1)
    pd.testing.assert_frame_equal(check(scan, piece, ["a", "text"])[0], whole)


class Small(PandasDecoder):
    """Runs out of memory beyond `most` row groups at a time."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def read(self, path, columns, groups):
        if len(groups) > self.most:
            raise MemoryError("std::bad_alloc: out_of_memory: RMM failure: maximum pool size")
        return super().read(path, columns, groups)


def test_fewer_row_groups_where_memory_does_not_suffice(write):
    scan, [piece] = opened(numbered(write), where="a > 3")
    check(scan, piece, ["a", "text"], Small(1))
    with pytest.raises(DeviceMemoryError, match=r"1 row groups.*smaller row groups"):
        scan_cudf.read(piece, ["a"], scan, Small(0), counted=False)
    check(scan, piece, ["a", "text"])


def test_text_that_is_no_utf8_is_not_taken(write):
    raw = pa.array([b"fine", b"\xff\xfe", None], pa.binary()).cast(pa.string(), safe=False)
    raw = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    scan, [piece] = opened(write("u.parquet", {"TEXT": raw, "a": [1, 2, 3]}))
    with pytest.raises(scan_cudf.NotText):
        scan_cudf.read(piece, ["text"], scan, PandasDecoder(), counted=False)
    check(scan, piece, ["a", "row"])


def test_a_footer_that_points_elsewhere(write, tmp_path):
    path = Path(numbered(write))
    scan, [piece] = opened(path)
    footer = path.read_bytes()
    cut = tmp_path / "cut.parquet"  # the same footer with fewer bytes of data
    length = int.from_bytes(footer[-8:-4], "little") + 8
    cut.write_bytes(b"PAR1" + footer[-length:])
    scan, [piece] = opened(cut)
    with pytest.raises(ShardError, match=r"cut.parquet is damaged: .*row group 0 spans"):
        scan_cudf.read(piece, ["a"], scan, PandasDecoder(), counted=False)


@pytest.mark.parametrize(
    "name, values, can",
    [
        ("plain", pa.array([1.5]), True),
        ("a.b", pa.array([1.5]), False),
        ("half", pa.array([1.5], pa.float16()), False),
        ("word", pa.array(["w"]).dictionary_encode(), True),
        ("list", pa.array([[1]]), False),
        ("time", pa.array([1], pa.timestamp("us")), False),
    ],
)
def test_what_cudf_is_not_to_read(write, name, values, can):
    scan, [piece] = opened(write("c.parquet", {name: values, "a": [1]}))
    assert scan_cudf.can_read(piece, [name], scan) is can
    assert scan_cudf.can_read(piece, ["a"], scan)
    if can:
        check(scan, piece, [name])


def test_a_name_with_a_star_is_no_pattern(write):
    scan, [piece] = opened(write("[*].parquet", {"a": [1]}))
    assert scan_cudf.can_read(piece, ["a"], scan)
    check(scan, piece, ["a"])
    remote = replace(piece, shard=replace(piece.shard, path="s3://bucket/a.parquet"))
    assert not scan_cudf.can_read(remote, ["a"], scan)


@pytest.mark.parametrize("name", [None, "url", "other"])
def test_an_index_of_pandas_is_a_column_or_nothing(tmp_path, name):
    frame = pd.DataFrame({"url": [f"u{i}" for i in range(10)], "width": range(10)})
    frame = frame.iloc[::2] if name is None else frame.set_index(name) if name == "url" else frame
    frame.index.name = name or frame.index.name
    path = tmp_path / "p.parquet"
    frame.to_parquet(path, row_group_size=2)
    for where in (None, "width > 3"):
        scan, [piece] = opened(path, where=where)
        check(scan, piece, list(scan.column_types))


def on_gpu(monkeypatch, path, decoder=PandasDecoder, **options):
    """A scan with backend="cudf" that uses `decoder`, a plain scan, and their only partition."""
    monkeypatch.setattr("laion_dask.io.parquet.scan_piece.CudfDecoder", decoder)
    scan, pieces = opened(path, **options)
    return replace(scan, backend="cudf"), scan, ScanPartition(tuple(pieces))


def test_a_scan_with_cudf_asks_the_decoder(write, monkeypatch):
    cudf_scan, plain, partition = on_gpu(monkeypatch, numbered(write), where="a > 12 and x < 3")
    for names in (["a", "text"], ["row"], []):
        pd.testing.assert_frame_equal(cudf_scan(partition, names), plain(partition, names))
        result, wanted = cudf_scan.read(partition, names), plain.read(partition, names)
        assert result.table.equals(wanted.table) and result.unscored == wanted.unscored
    assert cudf_scan.counts(partition) == plain.counts(partition) == (0, 0)


@pytest.mark.usefixtures("combined_shards")
def test_a_partition_of_several_shards_with_cudf(write, monkeypatch):
    """Shards that libcudf reads, and one that it cannot read, in their order."""
    for i in range(3):
        write(f"s/{i}.parquet", {"a": [10 * i + 1, None, 10 * i + 3], "text": ["x", None, "z"]})
    write("s/3.parquet", {"a": [31, 32], "text": ["x", "y"], "INTERVAL": [[1], [2]]})
    folder = Path(write("s/4.parquet", {"a": [41.0, None], "text": ["x", "y"]})).parent
    of_pandas = scans.frame_from_arrow
    monkeypatch.setattr(
        scans, "frame_from_arrow", lambda table, backend: of_pandas(table, "pandas")
    )
    for where in (None, "a > 11", "a > 99", "shard == 2 or text == 'y'"):
        cudf_scan, plain, partition = on_gpu(monkeypatch, folder, where=where)
        assert len(partition.pieces) == 5
        for names in (["a", "text"], ["text", "shard", "row"], []):
            pd.testing.assert_frame_equal(cudf_scan(partition, names), plain(partition, names))
            result, wanted = cudf_scan.read(partition, names), plain.read(partition, names)
            assert result.table.equals(wanted.table) and result.unscored == wanted.unscored
        assert cudf_scan.counts(partition) == plain.counts(partition)


class Failing(PandasDecoder):
    error = RuntimeError("CUDF failure at: reader_impl.cu:1: malformed page header")

    def read(self, path, columns, groups):
        raise self.error


@pytest.mark.parametrize(
    "error, raised, message",
    [
        (
            RuntimeError("CUDA error: illegal memory access"),
            DeviceLostError,
            "no longer use its GPU",
        ),
        (MemoryError("std::bad_alloc: out_of_memory"), DeviceMemoryError, "smaller row groups"),
    ],
)
def test_what_a_scan_with_cudf_says_of_a_gpu(write, monkeypatch, error, raised, message):
    cudf_scan, _, partition = on_gpu(monkeypatch, numbered(write), Failing)
    monkeypatch.setattr(Failing, "error", error)
    for act in (lambda: cudf_scan(partition, ["a"]), lambda: cudf_scan.read(partition, ["a"])):
        with pytest.raises(raised, match=message):
            act()


def test_memory_that_is_full_once_all_is_decoded(write, monkeypatch):
    cudf_scan, _, partition = on_gpu(monkeypatch, numbered(write))

    def full(frames, **options):
        raise MemoryError("std::bad_alloc: out_of_memory: RMM failure")

    monkeypatch.setattr(scan_cudf, "_BATCH_BYTES", 1)
    monkeypatch.setattr(scan_cudf.methods, "concat", full)
    with pytest.raises(DeviceMemoryError):
        cudf_scan(partition, ["row"])


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDF failure: bad page"), IndexError("map::at"), TypeError("type_id")],
)
def test_what_libcudf_does_not_read_the_processor_does(write, monkeypatch, error):
    path = numbered(write)
    cudf_scan, plain, partition = on_gpu(monkeypatch, path, Failing)
    monkeypatch.setattr(Failing, "error", error)
    of_pandas = scans.frame_from_arrow
    monkeypatch.setattr(
        scans, "frame_from_arrow", lambda table, backend: of_pandas(table, "pandas")
    )
    with pytest.warns(BackendWarning, match=r"libcudf cannot read .*n.parquet.*on the CPU"):
        result = cudf_scan(partition, ["a", "text"])
    pd.testing.assert_frame_equal(result, plain(partition, ["a", "text"]))
    data = bytearray(Path(path).read_bytes())
    data[40:600] = bytes(560)  # a damaged page raises the same error as on the CPU
    Path(path).write_bytes(data)
    for act in (cudf_scan, cudf_scan.read):
        with pytest.raises(ShardError, match=r"n.parquet cannot be read as Parquet"):
            act(partition, ["a", "text"])


def test_a_scan_with_cudf_names_the_row_that_is_no_text(write, monkeypatch):
    raw = pa.array([b"fine", b"\xff\xfe"], pa.binary())
    raw = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    cudf_scan, _, partition = on_gpu(monkeypatch, write("u.parquet", {"TEXT": raw}))
    with pytest.raises(ShardError, match=r"Row 1 of shard .* text that is not valid UTF-8"):
        cudf_scan(partition, ["text"])
