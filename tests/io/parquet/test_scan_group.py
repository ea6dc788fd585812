"""Many small shards read in one query: the same rows, to the last bit, as one by one."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.partitionings import read_combined
from support.shard_groups import FOLDERS, bits, by_hand, scanned, shard, write_folder

import laion_dask as ld
from laion_dask.errors import SchemaError, ShardError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet import duckdb_connection, scan_group, scan_piece
from laion_dask.io.parquet.read_shards import read_shards

HERE = {"scheduler": "sync"}
FILTERS = [
    "row >= 1",
    "shard == 1 or shard == 3",
    "shard > 0 and row in (0, 2)",
    "shard == 99",
    "text.contains('bird')",
    "not text == 'a bird 0'",
    "width > 1 and not text is None",
    "url != 'u1-0'",
]


@pytest.fixture
def queries(monkeypatch) -> list[list[str]]:
    """The files of each query."""
    made, query = [], duckdb_connection.query

    def spy(sql, paths, *others):
        made.append(list(paths))
        return query(sql, paths, *others)

    monkeypatch.setattr(duckdb_connection, "query", spy)
    return made


def same(paths, **options):
    """Check that shards read together and one by one are the same; return the pandas frame."""
    one_by_one, together = read_shards(paths, **options), read_combined(paths, **options)
    assert together.npartitions == 1 < one_by_one.npartitions
    wanted, result = scanned(one_by_one), scanned(together)
    assert bits(result[0]) == bits(wanted[0]) and result[1:] == wanted[1:]
    if "where" not in options:
        for name in wanted[0].column_names:
            assert bits(scanned(together, [name])[0]) == bits(wanted[0].select([name]))
    wanted, result = one_by_one.compute(**HERE), together.compute(**HERE)
    pd.testing.assert_frame_equal(
        result.reset_index(drop=True), wanted.reset_index(drop=True), check_exact=True
    )
    assert result.index.tolist() == list(range(len(result)))  # a partition counts its rows
    if "columns" not in options:  # Dask reads all columns to count the rows of some
        assert len(together) == len(one_by_one) == len(result)
    assert ld.rows(together) == ld.rows(one_by_one)
    return result


def missing_as_none(values) -> list:
    return [None if pd.api.types.is_scalar(v) and pd.isna(v) else v for v in values]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_same_as_one_by_one(tmp_path, folder):
    paths = write_folder(tmp_path / "d", FOLDERS[folder][0])
    result = same(paths)
    for name, values in by_hand(paths, {}).items():
        assert missing_as_none(result[name]) == values, name
    for where in FILTERS:
        filtered = same(paths, where=where)
        kept = result.merge(filtered[["shard", "row"]], on=["shard", "row"])
        pd.testing.assert_frame_equal(filtered, kept, check_exact=True, obj=where)


@pytest.mark.parametrize("folder", FOLDERS)
def test_as_many_as_are_alike_are_read_in_a_query(tmp_path, folder, queries):
    shards, sizes = FOLDERS[folder]
    paths = write_folder(tmp_path / "d", shards)
    frame = read_combined(paths).compute(**HERE)
    assert [len(files) for files in queries] == sizes
    assert len(frame) == sum(pq.read_metadata(path).num_rows for path in paths)


def test_columns_that_differ_in_case(tmp_path, queries):
    """DuckDB does not distinguish them, so that their shard is read by pyarrow, alone."""
    twins = [shard(0, x=[7, 8, 9]), shard(1, x=[1, 2, 3], X=[4, 5, 6]), shard(2, X=[0, 0, 1])]
    paths = write_folder(tmp_path / "d", [(table, {}) for table in [*twins, shard(3)]])
    for name, values in (("x", [7, 8, 9, 1, 2, 3]), ("X", [4, 5, 6, 0, 0, 1])):
        result = same(paths, columns=["url", name])
        assert result[name].dropna().tolist() == values
        result = same(paths, columns=["url", name], where=f"{name} > 1")
        assert result[name].tolist() == [value for value in values if value > 1]
    assert all(paths[1] not in files for files in queries)


def test_columns_of_hive_folders(tmp_path, queries):
    paths = []
    for folder, n in (("language=de", 3), ("language=en", 2), ("language=%5B%27%5D", 2)):
        paths += write_folder(tmp_path / folder, [(shard(i), {}) for i in range(n)])
    read_combined(tmp_path).compute(**HERE)
    assert sorted(len(files) for files in queries) == [2, 2, 3]
    result = same(tmp_path)
    assert result.groupby("language").size().to_dict() == {"de": 9, "en": 6, "[']": 6}
    assert len(same(tmp_path, where="language == 'en' and row > 0")) == 4
    queries.clear()
    assert len(read_combined(tmp_path, where="language != 'en'").compute(**HERE)) == 15
    assert sorted(len(files) for files in queries) == [2, 3]
    assert len(same(tmp_path, where='language == "[\']" and shard > 0')) in (3, 6)


def test_names_with_glob_characters_and_quotes(tmp_path, queries):
    names = ["a*b", "a?b", "[ab]", "it's", '"q"', "$paths", "a;b", "\u00e9 x", "100%", "{a,b}"]
    for i, name in enumerate(names):
        pq.write_table(pa.table(shard(i)), tmp_path / f"{name}.parquet")
    # Files that patterns would match
    decoys = [tmp_path / "decoys" / f"{name}.parquet" for name in ("axb", "aab", "a", "b")]
    for path in decoys:
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(shard(99)), path)
        (tmp_path / path.name).symlink_to(path)
    read = sorted(p for p in tmp_path.glob("*.parquet") if not p.is_symlink())
    result = same(read)
    order = [int(url[1:].split("-")[0]) for url in result["url"][::3]]
    assert sorted(order) == list(range(len(names)))
    assert [len(files) for files in queries].count(len(names)) >= 1


def test_files_of_a_store(tmp_path, queries):
    store = fsspec.filesystem("memory")
    paths = write_folder(tmp_path / "d", [(shard(i), {}) for i in range(4)])
    checked = [(shard(i), {"write_page_checksum": i == 2}) for i in range(4)]
    for name, local in (("plain", paths), ("checked", write_folder(tmp_path / "c", checked))):
        for path in local:
            store.put(path, f"/scan-group/{name}/{Path(path).name}")
    try:
        for name, sizes in (("plain", [4]), ("checked", [2, 1])):
            queries.clear()
            frame = read_combined(f"memory://scan-group/{name}/*.parquet").compute(**HERE)
            assert [len(files) for files in queries] == sizes  # a checked one is read by pyarrow
            pd.testing.assert_frame_equal(frame, read_combined(paths).compute(**HERE))
            same(f"memory://scan-group/{name}")
            same(f"memory://scan-group/{name}", where="width > 100 and row != 1")
    finally:
        store.rm("/scan-group", recursive=True)


# --- what cannot be read together ----------------------------------------------------------------


def damage(path: str, column: int) -> None:
    chunk = pq.read_metadata(path).row_group(0).column(column)
    content = bytearray(Path(path).read_bytes())
    end = min(chunk.dictionary_page_offset or 2**60, chunk.data_page_offset)
    end += chunk.total_compressed_size
    content[end - 6] ^= 8
    Path(path).write_bytes(content)


@pytest.mark.parametrize("options", [{"compression": "GZIP"}, {"write_page_checksum": True}])
def test_a_damaged_page_is_reported_with_its_file(tmp_path, options):
    paths = write_folder(tmp_path / "d", [(shard(i, 50), options) for i in range(4)])
    same(paths)
    damage(paths[2], 2)
    for act in (lambda f: f.compute(**HERE), ld.rows, lambda f: f.laion.export(tmp_path / "out")):
        with pytest.raises(ShardError, match=r"/2\.parquet is damaged: a page of column 'WIDTH'"):
            act(read_combined(paths, where="width > 0"))
    result = same(paths, columns=["url", "text"])  # the other columns are intact
    assert len(result) == 200


def test_a_page_that_duckdb_cannot_read_is_reported_with_its_file(tmp_path, queries):
    paths = write_folder(tmp_path / "d", [(shard(i, 50), {}) for i in range(4)])
    chunk = pq.read_metadata(paths[1]).row_group(0).column(0)
    with open(paths[1], "r+b") as file:
        file.seek(chunk.dictionary_page_offset + 20)
        file.write(bytes(200))
    with pytest.raises(ShardError, match=r"/1\.parquet"):
        read_combined(paths).compute(**HERE)
    assert [len(files) for files in queries] == [4, 1, 1]
    assert read_combined(paths, columns=["width"]).compute(**HERE)["width"].sum() == sum(
        pq.read_table(path, columns=["WIDTH"])["WIDTH"].to_numpy().sum() for path in paths
    )


def test_a_shard_that_was_rewritten_or_removed(tmp_path):
    paths = write_folder(tmp_path / "d", [(shard(i), {}) for i in range(4)])
    frame = read_combined(paths)
    pq.write_table(pa.table(shard(9)), paths[2])
    for act in (lambda: frame.compute(**HERE), lambda: len(frame), frame.laion.summary):
        with pytest.raises(ShardError, match=r"/2\.parquet was rewritten after it was opened"):
            act()
    frame = read_combined(paths)
    Path(paths[3]).unlink()
    with pytest.raises(ShardError, match=r"/3\.parquet"):
        frame.compute(**HERE)


def test_a_rewritten_shard_that_a_folder_name_excludes(tmp_path):
    for language in ("de", "en"):
        write_folder(tmp_path / f"language={language}", [(shard(i), {}) for i in range(2)])
    frame = read_combined(tmp_path, where="language == 'en'")
    assert len(frame.compute(**HERE)) == 6
    write_folder(tmp_path / "language=de", [(shard(5), {})])
    with pytest.raises(ShardError, match=r"language=de/0\.parquet was rewritten"):
        frame.compute(**HERE)


def invalid_text() -> pa.Array:
    raw = pa.array([b"fine", b"\xff\xfe", None], pa.binary())
    return pa.Array.from_buffers(pa.string(), 3, raw.buffers())


def test_text_that_is_not_utf8(tmp_path, queries):
    shards = [shard(i, TEXT=invalid_text()) if i in (1, 3) else shard(i) for i in range(5)]
    paths = write_folder(tmp_path / "d", [(table, {}) for table in shards])
    with pytest.raises(ShardError, match=r"Row 1 of shard .*/1\.parquet has a text that is not"):
        read_combined(paths).compute(**HERE)
    with pytest.raises(ShardError, match=r"Row 1 of shard .*/1\.parquet has a text that is not"):
        read_combined(paths, where="text.contains('i')").compute(**HERE)
    queries.clear()
    assert len(same(paths, columns=["url", "width"])) == 15
    with ld.set_options(invalid_text="reject"):
        queries.clear()
        frame = read_combined(paths)
        assert str(ld.rows(frame)) == "15 read = 13 kept + 0 dropped + 0 unscored + 2 rejected"
        result = same(paths)
        assert [(s, r) for s in range(5) for r in range(3) if (s, r) not in ((1, 1), (3, 1))] == [
            *zip(result["shard"], result["row"], strict=True)
        ]
        same(paths, columns=["url"], where="width > 1")
        same(paths, where="text.contains('bird') or width == 101")
        assert queries == []


def test_a_value_that_its_column_cannot_hold(tmp_path):
    tables = [shard(0), *(shard(i, WIDTH=pa.array([1.0, w, 2.0])) for i, w in ((1, 3.0), (2, 4.5)))]
    paths = write_folder(tmp_path / "d", [(table, {}) for table in tables])
    for where in (None, "width > 0"):
        with pytest.raises(SchemaError, match=r"Row 1 of shard .*/2\.parquet has width = 4\.5"):
            read_combined(paths, where=where).compute(**HERE)
    assert len(same(paths, columns=["url"], where="row > 0")) == 6


# --- counts --------------------------------------------------------------------------------------


def test_what_becomes_of_every_row(tmp_path):
    """Read, kept, dropped, unscored and rejected rows against a loop over the files."""
    paths = write_folder(tmp_path / "d", [(shard(i, n), {}) for i, n in enumerate((5, 0, 3, 7))])
    values = by_hand(paths, {})
    texts = values["text"]
    where = "text == 'a bird 2' or text == 'a bird 4'"
    kept = [text in ("a bird 2", "a bird 4") for text in texts]
    expected = {"read": 15, "kept": sum(kept), "unscored": texts.count(None), "rejected": 0}
    expected["dropped"] = 15 - sum(expected.values()) + 15
    for read in (read_shards, read_combined):
        frame = read(paths, where=where)
        assert vars(ld.rows(frame)) == vars(frame.laion.export(tmp_path / read.__name__).rows)
        assert vars(ld.rows(frame)) == vars(ld.rows(read(paths).laion.where(where))) == expected
        exported = read_shards(tmp_path / read.__name__).compute(**HERE)
        assert exported["url"].tolist() == [
            u for u, k in zip(values["url"], kept, strict=True) if k
        ]


def test_long_runs_are_read_in_several_queries(tmp_path, queries, monkeypatch):
    monkeypatch.setattr(scan_group, "_MAX_SHARDS", 4)
    paths = write_folder(tmp_path / "d", [(shard(i, 2), {}) for i in range(10)])
    frame = read_combined(paths)
    assert len(frame.compute(**HERE)) == 20
    assert [len(files) for files in queries] == [4, 4, 2]
    same(paths, where="width > 100")


def test_a_shard_with_a_large_footer_is_read_alone(tmp_path, queries, monkeypatch):
    shards = [(shard(i, 40), {"row_group_size": 1} if i == 1 else {}) for i in range(4)]
    paths = write_folder(tmp_path / "d", shards)
    sizes = [pq.read_metadata(path).serialized_size for path in paths]
    monkeypatch.setattr(scan_piece, "_LARGE_FOOTER", sizes[1] - 1)
    frame = read_combined(paths)
    assert len(frame.compute(**HERE)) == 160
    assert [len(files) for files in queries] == [1, 2]
    same(paths)


def test_selected_partitions_and_shards_that_are_not_consecutive(tmp_path, queries):
    paths = write_folder(tmp_path / "d", [(shard(i), {}) for i in range(6)])
    frame = read_combined(paths, max_rows_per_partition=9)
    assert [len(part) for part in frame.partitions] == [9, 9]
    queries.clear()
    part = frame.partitions[1].compute(**HERE)
    assert part["shard"].tolist() == [3] * 3 + [4] * 3 + [5] * 3 and len(queries) == 1
    assert part["url"].tolist() == [f"u{i}-{row}" for i in (3, 4, 5) for row in range(3)]


def test_some_shards_of_a_partition(tmp_path, queries):
    paths = write_folder(tmp_path / "d", [(shard(i), {}) for i in range(6)])
    scan, (partition,) = Provenance.of(read_combined(paths)).as_read
    table = scan.read(partition.of_shards({0, 2, 3, 5}), ["url", "shard", "row"]).table
    assert table["shard"].to_pylist() == [0] * 3 + [2] * 3 + [3] * 3 + [5] * 3
    assert table["url"].to_pylist() == [f"u{i}-{row}" for i in (0, 2, 3, 5) for row in range(3)]
    assert [len(files) for files in queries] == [1, 2, 1]
