"""A sample is what the verb `sample` draws, whatever partitions and workers did."""

import os
import shutil
import time

import dask
import distributed
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.partitionings import small_shards_combined
from support.shards import laion_table

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError, ProvenanceError, ShardError
from laion_dask.explorer.frame_digest import frame_digest
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.sample_cache import is_complete
from laion_dask.explorer.sample_writer import write_sample
from laion_dask.io.parquet import footer_cache
from laion_dask.io.storage.real_files import Mark


@pytest.fixture
def paths(write) -> list[str]:
    return [write(f"part_{i}.parquet", laion_table(n, i)) for i, n in enumerate((30, 1, 45))]


def rows_of(sample) -> list[tuple[int, int]]:
    return list(zip(sample.shard.tolist(), sample.row.tolist(), strict=True))


def test_a_sample_is_that_of_the_verb_in_the_order_of_shard_and_row(paths, partitioning):
    frame = ld.read_shards(paths)
    sample = draw_sample(frame, 20, seed=3)
    drawn = frame.laion.sample(n=20, seed=3).compute().sort_values(["shard", "row"])
    assert rows_of(sample) == list(zip(drawn["shard"], drawn["row"], strict=True))
    assert (sample.n, sample.n_rows, sample.is_whole) == (20, 76, False)
    page = sample.page(np.arange(20))
    for name in ("text", "url", "language", "similarity", "width", "punsafe"):
        pd.testing.assert_series_equal(
            page[name].reset_index(drop=True), drawn[name].reset_index(drop=True)
        )
    assert page["hash"].tolist() == [str(value) for value in drawn["hash"]]


def test_a_second_start_reads_no_shard(paths, no_compute):
    frame = ld.read_shards(paths)
    with pytest.raises(AssertionError, match="something was computed"):
        draw_sample(frame, 20)
    with dask.config.set(scheduler="synchronous"):
        first = draw_sample(frame, 20)
    again = draw_sample(ld.read_shards(paths), 20)
    assert rows_of(again) == rows_of(first)
    assert again.folder == first.folder


def test_a_sample_of_no_rows(paths):
    sample = draw_sample(ld.read_shards(paths, where="similarity > 5"))
    assert (sample.n, sample.n_rows) == (0, 0)
    assert len(sample.page(np.arange(0))) == 0


def assert_same(one, other) -> None:
    assert rows_of(one) == rows_of(other)
    assert one.n_rows == other.n_rows
    assert list(one.columns) == list(other.columns)
    for name, column in one.columns.items():
        np.testing.assert_array_equal(column.codes, other.columns[name].codes)
        if hasattr(column, "labels"):
            assert list(column.labels) == list(other.columns[name].labels)
        else:
            np.testing.assert_array_equal(column.edges, other.columns[name].edges)
            np.testing.assert_array_equal(column.values, other.columns[name].values)
    positions = np.arange(one.n)[::-1]
    pd.testing.assert_frame_equal(one.page(positions), other.page(positions))


def test_partitions_and_their_order_do_not_matter(paths):
    frame = ld.read_shards(paths)
    for n in (40, 1000):
        sample = draw_sample(frame, n)
        assert_same(sample, draw_sample(frame.shuffle("language", npartitions=3), n))
        assert_same(sample, draw_sample(frame.partitions[[2, 0, 1]], n))
        with small_shards_combined():
            assert_same(sample, draw_sample(ld.read_shards(paths), n))


def test_workers_draw_the_same(paths, worker_processes):
    frame = ld.read_shards(paths)
    sample = draw_sample(frame, 40)
    shutil.rmtree(sample.folder)
    with distributed.Client(worker_processes):
        assert_same(sample, draw_sample(frame, 40))


def test_large_partitions_are_written_in_parts(paths, monkeypatch):
    frame = ld.read_shards(paths)
    sample = draw_sample(frame, 60)
    shutil.rmtree(sample.folder)
    monkeypatch.setattr("laion_dask.explorer.sample_pass.PART_ROWS", 7)
    monkeypatch.setattr("laion_dask.io.parquet.scan_duckdb.BATCH_ROWS", 5)
    monkeypatch.setattr("laion_dask.explorer.sample_writer.BATCH", 11)
    assert_same(sample, draw_sample(frame, 60))
    monkeypatch.setattr("laion_dask.explorer.sample_cache.kept", lambda digest: None)
    assert_same(sample, draw_sample(frame.shuffle("language", npartitions=2), 60))


def test_sites_are_those_of_the_groupings(paths):
    frame = ld.read_shards(paths)
    sample = draw_sample(frame)
    assert list(sample.columns["domain"].labels) == sorted(
        sample.columns["domain"].labels,
        key=lambda label: (-counts_of(sample, "domain")[label], label),
    )
    for name, grouping in (("domain", ld.domains()), ("tld", ld.tlds())):
        table = ld.statistics(frame, ld.rates(None, by=grouping), min_n=0)
        rows = table[table["axis"] == name]
        expected = dict(zip(rows["group"], rows["k"].astype(int), strict=True))
        assert expected.pop("(none)") == (sample.columns[name].codes < 0).sum()
        assert counts_of(sample, name) == expected


def counts_of(sample, name: str) -> dict[str, int]:
    column = sample.columns[name]
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.labels))
    return dict(zip(column.labels, counts.tolist(), strict=True))


def test_a_function_of_the_user_is_kept_until_the_process_ends(paths):
    frame = ld.read_shards(paths)
    mine = frame.map_partitions(lambda part: part.assign(width=1), meta=frame._meta)
    sample = draw_sample(mine)
    assert sample.folder.parent != draw_sample(frame).folder.parent
    assert set(sample.columns["width"].values.tolist()) == {1}
    other = frame.map_partitions(lambda part: part.assign(width=2), meta=frame._meta)
    assert set(draw_sample(other).columns["width"].values.tolist()) == {2}


@pytest.mark.parametrize("name", ["values.arrow", "content.json", "row.arrow"])
def test_a_damaged_sample_is_written_again(paths, name):
    frame = ld.read_shards(paths)
    sample = draw_sample(frame, 30)
    before = sample.page(np.arange(30))
    (sample.folder / name).unlink()
    (sample.folder / name).write_bytes(b"x")
    pd.testing.assert_frame_equal(draw_sample(frame, 30).page(np.arange(30)), before)


def flip(path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))


def test_a_damaged_byte_is_never_an_error_or_a_wrong_answer(paths):
    frame = ld.read_shards(paths)
    sample = draw_sample(frame, 30)
    order, texts = sample.order("text"), sample.texts("text", np.arange(30))
    for name in sorted(path.name for path in sample.folder.iterdir()):
        file = sample.folder / name
        size = file.stat().st_size
        for at in (*range(0, size, size // 5), size - 1):
            flip(file, at)
            assert name.endswith(".npy") or not is_complete(sample.folder)
            flip(file, at)
        flip(file, size // 2)
        again = draw_sample(frame, 30)
        assert_same(again, sample)
        assert again.texts("text", np.arange(30)) == texts
        np.testing.assert_array_equal(again.order("text"), order)


def test_a_folder_that_cannot_be_replaced_is_not_opened(paths, monkeypatch):
    """As one of another user: the rows are kept until the process ends."""
    frame = ld.read_shards(paths)
    sample = draw_sample(frame, 30)
    before = sample.page(np.arange(30))
    flip(sample.folder / "row.arrow", 400)
    monkeypatch.setattr("laion_dask.explorer.sample_cache.shutil.rmtree", lambda *a, **k: None)
    again = draw_sample(frame, 30)
    assert again.folder != sample.folder
    pd.testing.assert_frame_equal(again.page(np.arange(30)), before)


def test_only_the_last_samples_are_kept(paths, monkeypatch):
    frame = ld.read_shards(paths)
    folders = [draw_sample(frame, 30, seed).folder for seed in range(3)]
    size = sum(file.stat().st_size for file in folders[0].iterdir())
    for age, folder in enumerate(folders[::-1]):
        os.utime(folder / "content.json", (10**9 - age, 10**9 - age))
    draw_sample(ld.read_shards(paths), 30, 0)  # used again
    monkeypatch.setattr("laion_dask.explorer.sample_cache.MAX_BYTES", 2.5 * size)
    newest = draw_sample(frame, 30, 3).folder
    assert [folder.exists() for folder in (*folders, newest)] == [True, False, False, True]
    assert newest.stat().st_mode & 0o777 == 0o700


def test_without_a_folder_that_can_be_written(paths, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    sample = draw_sample(ld.read_shards(paths), 30)
    assert sample.n == 30
    assert sample.folder.name.startswith("laion_dask-explorer-")


def test_rows_of_an_outer_merge_without_identity_are_counted_and_not_drawn(paths):
    frame = ld.read_shards(paths)
    table = pd.DataFrame({"hash": pd.array([1], "Int64"), "extra": [2.5]})
    sample = draw_sample(frame.merge(table, on="hash", how="outer"))
    assert (sample.n, sample.n_rows) == (76, 77)


def test_wrong_arguments_are_refused_before_anything_is_read(paths, no_compute):
    frame = ld.read_shards(paths)
    for wrong in (0, -1, 2.5, "all", True):
        with pytest.raises(OptionError, match="sample is"):
            draw_sample(frame, wrong)
    with pytest.raises(ProvenanceError, match="shard and row"):
        draw_sample(frame[["url"]])
    with pytest.raises(ProvenanceError, match="explode_captions"):
        draw_sample(frame.assign(alt=frame["text"]).laion.explode_captions(["text", "alt"]))


def test_a_page_is_bounded_and_names_columns(paths):
    sample = draw_sample(ld.read_shards(paths))
    with pytest.raises(OptionError, match="at most 1,000"):
        sample.page(np.zeros(1001, int))
    with pytest.raises(ColumnError, match="widht"):
        sample.page(np.arange(3), ["widht"])
    assert sample.texts("row", np.array([2, 0])) == ["2", "0"]


def permuted(path, seed: int) -> bytes:
    """Write the rows of a file in another order, with the same footer; returns the footer."""
    table = pq.read_table(path)
    order = np.random.default_rng(seed).permutation(len(table))
    pq.write_table(table.take(order), path, compression="none")
    with open(path, "rb") as file:
        data = file.read()
    return data[-int.from_bytes(data[-8:-4], "little") - 8 :]


@pytest.fixture
def rewritten(tmp_path) -> str:
    """A file whose footer does not depend on the order of its rows."""
    path = str(tmp_path / "one.parquet")
    texts = [f"caption {i:04d}" for i in range(200)]
    urls = [f"http://h{i:04d}.example/a.jpg" for i in range(200)]
    pq.write_table(pa.table({"url": urls, "text": texts}), path)
    permuted(path, 0)
    return path


def test_a_shard_written_again_with_an_equal_footer_is_read_again(rewritten):
    old = draw_sample(ld.read_shards(rewritten))
    assert draw_sample(ld.read_shards(rewritten)).folder == old.folder
    before = old.page(np.arange(200))["text"].tolist()
    assert permuted(rewritten, 1) == permuted(rewritten, 2)
    frame = ld.read_shards(rewritten)
    now = draw_sample(frame).page(np.arange(200))["text"].tolist()
    assert now == frame.compute()["text"].tolist() == pq.read_table(rewritten)["text"].to_pylist()
    assert now != before


def test_a_shard_written_again_while_a_sample_is_drawn_is_an_error(rewritten, monkeypatch):
    def write(*arguments):
        write_sample(*arguments)
        permuted(rewritten, 3)

    monkeypatch.setattr("laion_dask.explorer.sample.write_sample", write)
    with pytest.raises(ShardError, match="written again"):
        draw_sample(ld.read_shards(rewritten))
    monkeypatch.undo()
    assert draw_sample(ld.read_shards(rewritten)).n == 200


def test_files_in_a_store_are_told_apart_by_their_etags(rewritten, monkeypatch):
    fs = fsspec.filesystem("memory")
    fs.put(rewritten, "/versions/one.parquet")
    tag, info = {}, type(fs).info
    monkeypatch.setattr(type(fs), "info", lambda *a, **k: {**info(*a, **k), **tag})
    frame = ld.read_shards("memory://versions/one.parquet")
    assert frame_digest(frame) is None
    tag["ETag"] = "1"
    first = frame_digest(frame)
    tag["ETag"] = "2"
    assert None is not first != frame_digest(frame) is not None
    footer_cache.clear()
    tag.clear()
    tag["blob_id"] = "1"  # of the Hugging Face Hub
    assert frame_digest(frame) is not None


def test_a_file_written_just_now_on_a_file_system_with_coarse_times(rewritten, monkeypatch):
    frame = ld.read_shards(rewritten)
    now = time.time_ns() // 10**9 * 10**9
    mark = Mark(os.path.getsize(rewritten), now, (1, 2, now))
    monkeypatch.setattr("laion_dask.io.parquet.shard_version.mark_of", lambda path: mark)
    assert frame_digest(frame) is None
    mark = mark._replace(changed_ns=now - 10 * 10**9)
    assert frame_digest(frame) is not None
