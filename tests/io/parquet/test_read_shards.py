"""Reading shards: partitioning, row numbers, and which columns are read."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.frames import both
from support.laion_columns import laion_columns

from laion_dask.errors import (
    ColumnError,
    OptionError,
    ProvenanceError,
    SchemaError,
    ShardError,
)
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.rows import rows
from laion_dask.frame.where import where
from laion_dask.io.parquet.read_shards import _check_backend_types as check_backend_types
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.io.parquet.scan import Scan
from laion_dask.options import set_options
from laion_dask.runtime import worker_backends

pytestmark = both

HERE = {"scheduler": "sync"}


def places(frame: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(frame["shard"].tolist(), frame["row"].tolist(), strict=True))


def test_values_are_the_stored_ones(laion_shards, partitioning):
    paths = laion_shards(7, 5)
    frame = read_shards(paths).compute(**HERE)
    stored = pa.concat_tables([pq.read_table(p) for p in paths])
    names = {"URL": "url", "TEXT": "text", "WIDTH": "width", "HEIGHT": "height"}
    for name in stored.column_names:
        assert frame[names.get(name, name)].tolist() == stored[name].to_pylist()


def test_the_session_says_what_auto_means(laion_shards, frames, monkeypatch):
    paths = laion_shards(2)
    assert Provenance.of(read_shards(paths)).as_read[0].backend == frames
    requested = []
    monkeypatch.setattr(
        worker_backends, "choose_backend", lambda name: requested.append(name) or "pandas"
    )
    for backend in ("auto", "pandas", "cudf"):
        with set_options(backend=backend):
            read_shards(paths)
            read_shards(paths, backend="pandas")
    assert requested == ["auto", "pandas", "pandas", "pandas", "cudf", "pandas"]
    with pytest.raises(OptionError, match="backend"):
        set_options(backend="panda")


def test_rows_are_in_the_order_of_the_shards(laion_shards, partitioning):
    frame = read_shards(laion_shards(4, 0, 1, 9))
    sizes = [4, 0, 1, 9] if partitioning == "by_shard" else [14]
    assert [len(part) for part in frame.partitions] == sizes
    read = frame.compute(**HERE)
    assert places(read) == [(s, r) for s, n in enumerate((4, 0, 1, 9)) for r in range(n)]
    assert read["shard"].dtype == np.int32 and read["row"].dtype == np.int64


@pytest.mark.parametrize("most", [1, 3, 4, 5, 8, 100])
def test_large_shards_are_cut_between_row_groups(laion_shards, most):
    paths = laion_shards(10, 3, row_group_size=3)
    frame = read_shards(paths, max_rows_per_partition=most)
    sizes = [len(part) for part in frame.partitions]
    groups = [[3, 3, 3, 1], [3]]
    expected = []
    for shard in groups:
        run = 0
        for n in shard:
            if run and run + n > most:
                expected.append(run)
                run = 0
            run += n
        expected.append(run)
    assert sizes == expected
    assert places(frame.compute(**HERE)) == [(s, r) for s, n in ((0, 10), (1, 3)) for r in range(n)]


@pytest.mark.parametrize("where_", [None, "width > 104", "similarity <= 0.3", "text.contains('1')"])
@pytest.mark.parametrize("most", [2, 1000])
def test_row_is_the_place_in_the_file_under_every_filter(laion_shards, where_, most, partitioning):
    paths = laion_shards(20, 0, 13, row_group_size=4)
    frame = read_shards(paths, where=where_, max_rows_per_partition=most)
    read = frame.compute(**HERE)
    stored = [pq.read_table(p)["URL"].to_pylist() for p in paths]
    assert [stored[s][r] for s, r in places(read)] == read["url"].tolist()
    assert len(set(places(read))) == len(read) == len(frame)
    if where_ is None:
        assert len(read) == 33
    only = frame[["row"]].compute(**HERE)
    assert only["row"].tolist() == read["row"].tolist()


def test_zero_rows_and_zero_row_groups(tmp_path, write, partitioning):
    schema = pa.schema({"URL": pa.string(), "TEXT": pa.string(), "similarity": pa.float32()})
    pq.ParquetWriter(tmp_path / "none.parquet", schema).close()
    assert pq.read_metadata(tmp_path / "none.parquet").num_row_groups == 0
    write("one.parquet", schema.empty_table())
    assert pq.read_metadata(tmp_path / "one.parquet").num_row_groups == 1
    with pq.ParquetWriter(tmp_path / "holes.parquet", schema) as writer:
        full = pa.table({"URL": ["u"], "TEXT": ["t"], "similarity": pa.array([0.5], pa.float32())})
        for table in (schema.empty_table(), full, schema.empty_table(), full):
            writer.write_table(table)
    for where_ in (None, "similarity > 0.1"):
        frame = read_shards(tmp_path, where=where_, max_rows_per_partition=1)
        read = frame.compute(**HERE)
        assert places(read) == [(0, 0), (0, 1)]
        assert str(rows(frame)) == "2 read = 2 kept + 0 dropped + 0 unscored + 0 rejected"
        empty = read_shards(tmp_path / "none.parquet", where=where_).compute(**HERE)
        assert empty.dtypes.to_dict() == frame._meta.dtypes.to_dict() and len(empty) == 0


class Spy:
    """Records the shards and columns that the scan reads."""

    def __init__(self, monkeypatch):
        self.reads: list[tuple[int, tuple[str, ...]]] = []
        real = Scan._read

        def read(scan, pieces, columns, query):
            self.reads.extend((piece.shard.index, tuple(columns)) for piece in pieces)
            return real(scan, pieces, columns, query)

        monkeypatch.setattr(Scan, "_read", read)


@pytest.mark.only_pandas
def test_only_the_declared_columns_are_read(laion_shards, monkeypatch, partitioning):
    frame = read_shards(laion_shards(3, 3))
    spy = Spy(monkeypatch)
    frame[["text", "row"]].compute(**HERE)
    assert sorted(spy.reads) == [(0, ("text", "row")), (1, ("text", "row"))]
    spy.reads.clear()
    frame["similarity"].mean().compute(**HERE)
    assert sorted(spy.reads) == [(0, ("similarity",)), (1, ("similarity",))]
    spy.reads.clear()
    added = frame.assign(new=frame["width"] * 2)
    kept = where(added, "new > 204")[["new", "row"]].compute(**HERE)
    assert kept["new"].tolist() == [206, 208, 210]
    assert {i for i, _ in spy.reads} == {0, 1}
    assert set().union(*(names for _, names in spy.reads)) == {"width", "row"}
    spy.reads.clear()
    pushed = where(frame, "similarity > 0.2 and text.contains('bird')")[["hash"]]
    pushed.compute(**HERE)
    assert sorted(spy.reads) == [(0, ("hash",)), (1, ("hash",))]
    spy.reads.clear()
    chosen = read_shards(laion_shards(2, folder="b"), columns=["url"], where="width > 0")
    assert chosen.columns.tolist() == ["url", "shard", "row"]
    chosen.compute(**HERE)
    assert sorted(spy.reads) == [(0, ("url", "shard", "row"))]


def test_building_a_frame_computes_nothing(laion_shards, no_compute, monkeypatch):
    spy = Spy(monkeypatch)
    frame = read_shards(laion_shards(5, 5), where="similarity > 0.1", columns=["text", "width"])
    frame = where(frame.assign(area=frame["width"] * 2), "area > 210 and text.contains('b')")
    frame = where(read_shards(laion_shards(5, folder="b")), "punsafe < 0.5")[["url"]]
    assert frame.columns.tolist() == ["url"]
    assert spy.reads == []
    with pytest.raises(AssertionError, match="lazy"):
        frame.compute()


def test_frames_and_scans_pickle(laion_shards, partitioning):
    frame = read_shards(laion_shards(4, 4), where="similarity >= 0.2")
    scan, pieces = Provenance.of(frame).as_read
    copy = pickle.loads(pickle.dumps(scan))
    assert copy == scan
    assert copy(pieces[0], ["text"]).equals(scan(pieces[0], ["text"]))
    again = cloudpickle.loads(cloudpickle.dumps(frame))
    assert again.compute(**HERE).equals(frame.compute(**HERE))
    assert again._name == frame._name


PRINT_KEYS = """
import sys
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.frame.where import where
frame = read_shards(sys.argv[1:], where="similarity > 0.2 and hash in (1, 2)")
print(frame.optimize()._name, where(frame.assign(z=1), "z == 1").optimize()._name)
"""


def test_the_same_call_gives_the_same_keys(laion_shards, write):
    paths = laion_shards(4, 4)
    one, other = (read_shards(paths, where="similarity > 0.2") for _ in range(2))
    assert set(one.__dask_graph__()) == set(other.__dask_graph__())
    assert where(read_shards(paths), "similarity > 0.2")._name == one._name
    assert read_shards(paths, where="similarity > 0.3")._name != one._name
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINT_KEYS, *paths], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1
    before = read_shards(paths)._name
    write("shards/part_1.parquet", laion_columns(4, 100))
    assert read_shards(paths)._name != before


def test_wrong_arguments(laion_shards):
    paths = laion_shards(2)
    with pytest.raises(ColumnError, match="Did you mean 'similarity'"):
        read_shards(paths, columns=["similarty"])
    with pytest.raises(ColumnError, match="Did you mean 'url'"):
        read_shards(paths, where="URL == 'x'")
    with pytest.raises(OptionError, match="max_rows_per_partition is 0"):
        read_shards(paths, max_rows_per_partition=0)
    with pytest.raises(OptionError, match="max_rows_per_partition is True"):
        read_shards(paths, max_rows_per_partition=True)
    with pytest.raises(OptionError, match="Did you mean 'pandas'"):
        read_shards(paths, backend="panda")


@pytest.mark.only_pandas
def test_rows_needs_a_frame_that_leads_back(laion_shards):
    frame = read_shards(laion_shards(6, 6))
    with pytest.raises(ProvenanceError, match="read_shards"):
        rows(frame.persist(**HERE))
    assert rows(frame.partitions[1]).read == 6
    assert str(rows(frame[frame["width"] > 105])) == (
        "12 read = 6 kept + 6 dropped + 0 unscored + 0 rejected"
    )
    doubled = frame.merge(
        pd.DataFrame({"width": pd.array([100] * 20, "Int32")}), on="width", how="left"
    )
    with pytest.raises(ProvenanceError, match="duplicated rows"):
        rows(doubled)


def test_a_column_named_as_the_engine_names_the_place(write):
    table = {"file_row_number": [70, 80, 90], "text": ["a", "b", None]}
    path = write("a.parquet", table, row_group_size=1)
    for where_ in (None, "file_row_number > 75", "row >= 1"):
        frame = read_shards(path, where=where_, max_rows_per_partition=2)
        read = frame.compute(**HERE)
        first = 0 if where_ is None else 1
        assert read["row"].tolist() == [0, 1, 2][first:]
        assert read["file_row_number"].tolist() == [70, 80, 90][first:]
    assert rows(read_shards(path, where="text == 'a'")).unscored == 1


# --- files that are not valid shards -----------------------------------------------------------


def test_files_that_are_not_parquet(tmp_path):
    for name, content, message in (
        ("empty", b"", "is empty: 0 bytes"),
        ("text", b"URL,TEXT\n" * 50, "is not Parquet"),
        ("magic", b"PAR1", "is truncated"),
        ("zeros", bytes(5000), "is not Parquet"),
        ("long", b"PAR1" + bytes(50) + (2**31 - 1).to_bytes(4, "little") + b"PAR1", "claims"),
        ("huge", b"PAR1" + bytes(50) + b"\xff\xff\xff\xffPAR1", "claims"),
        ("nothing", b"PAR1" + bytes(4) + b"PAR1", "cannot be read as Parquet"),
        ("noise", b"PAR1" + bytes(range(200)) + (200).to_bytes(4, "little") + b"PAR1", "Parquet"),
        ("secret", b"PARE" + bytes(50) + b"PARE", "is not Parquet"),
    ):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(ShardError, match=message) as caught:
            read_shards(path)
        assert str(path) in str(caught.value) and "Fetch the file again" in str(caught.value)


def test_truncated_anywhere(tmp_path, laion_shards):
    whole = Path(laion_shards(50, row_group_size=10)[0]).read_bytes()
    path = tmp_path / "cut.parquet"
    for size in np.linspace(1, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:size])
        with pytest.raises(ShardError, match=r"cut\.parquet"):
            read_shards(path)


def test_bytes_lost_in_the_middle_or_overwritten(tmp_path, laion_shards):
    """With an intact footer and damaged pages, reading fails or returns the stored rows."""
    whole = Path(laion_shards(50)[0]).read_bytes()
    path = tmp_path / "hurt.parquet"
    right = read_shards(tmp_path / "shards").compute(**HERE)
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    data = len(whole) - footer
    for at in np.linspace(4, data - 64, 12).astype(int):
        for hurt in (whole[:at] + whole[at + 32 :], whole[:at] + b"\xff" * 32 + whole[at + 32 :]):
            path.write_bytes(hurt)
            try:
                read = read_shards(path).compute(**HERE)
            except ShardError as error:
                assert "hurt.parquet" in str(error)
            else:
                assert read.shape == right.shape
    path.write_bytes(whole[-footer:])
    with pytest.raises(ShardError, match=r"hurt\.parquet"):
        read_shards(path).compute(**HERE)


def test_a_file_that_changes_or_goes_after_it_was_opened(tmp_path, laion_shards):
    import os

    path = laion_shards(5)[0]
    frame = read_shards(path)
    os.remove(path)
    with pytest.raises(ShardError, match="part_0"):
        frame.compute(**HERE)


def test_columns_that_cudf_does_not_hold(write):
    types = {"url": pa.large_string(), "blob": pa.binary(), "boxes": pa.list_(pa.float32())}
    assert check_backend_types(types, "pandas", None) == types
    assert list(check_backend_types(types, "cudf", ["url"])) == ["url", "boxes"]
    for columns in (None, ["url", "blob"]):
        with pytest.raises(SchemaError, match=r"'blob' is binary.*columns=.*backend='pandas'"):
            check_backend_types(types, "cudf", columns)


def test_rows_are_counted_without_reading_columns(laion_shards, monkeypatch):
    paths = laion_shards(7, 5, 4)
    call, read = Scan.__call__, []

    def spy(self, partition, columns):
        read.append(list(columns))
        return call(self, partition, columns)

    monkeypatch.setattr(Scan, "__call__", spy)
    frame, wide = read_shards(paths), read_shards(paths, where="width >= 5")
    kept = [n for path in paths for n in pq.read_table(path)["WIDTH"].to_pylist() if n >= 5]
    assert len(frame) == len(frame[["url"]]) == len(frame["url"]) == frame.shape[0].compute() == 16
    assert len(wide) == len(wide["url"]) == len(wide.index.compute()) == len(kept) > 0
    assert len(frame.partitions[1:]) == 9
    assert set(map(len, read)) == {0}
    assert len(frame[frame["width"] >= 5]) == len(kept)
    assert [] in read and ["width"] in read and max(map(len, read)) == 1
    read.clear()
    assert len(frame.assign(at=frame.index).compute()) == 16
    assert len(read) == 3  # not once for the index and once for the columns
    read.clear()
    rows, lengths = dask.compute(frame.shape[0], frame.map_partitions(len))
    assert rows == sum(lengths) == 16 and len(read) == 3
