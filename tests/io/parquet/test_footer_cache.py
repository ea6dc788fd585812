"""A footer is remembered exactly as long as its file is unchanged."""

import os
import shutil
from itertools import count

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import ShardError
from laion_dask.io.parquet import footer_cache, footer_tails
from laion_dask.io.parquet.footer import read_footer, read_footers
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.paths import expand
from laion_dask.io.storage.real_files import Mark, mark_of

NEVER = -(10**18)


@pytest.fixture(autouse=True)
def empty():
    footer_cache.clear()
    yield
    footer_cache.clear()


@pytest.fixture
def settled(monkeypatch):
    """Files count as settled at once; `rewrite` waits until the file system's clock advances."""
    monkeypatch.setattr(footer_cache, "_SETTLED_NS", NEVER)


@pytest.fixture
def reads(monkeypatch):
    """The paths whose footers are read."""
    paths = []
    original = footer_tails.TailReader._local

    def tail(self, path):
        paths.append(path)
        return original(self, path)

    monkeypatch.setattr(footer_tails.TailReader, "_local", tail)
    return paths


def write(path, n: int = 1, value: int = 0) -> str:
    """A file whose size does not depend on the value."""
    pq.write_table(pa.table({"url": ["a"] * n, "n": pa.array([value] * n)}), path)
    return str(path)


def rewrite(path, n: int = 1, value: int = 0) -> None:
    before = os.stat(path)
    for _ in count():
        write(path, n, value)
        if os.stat(path).st_ctime_ns != before.st_ctime_ns:
            return


def test_the_second_open_reads_nothing(tmp_path, settled, reads):
    paths = [write(tmp_path / f"{i}.parquet", i + 1) for i in range(5)]
    first = read_footers(paths)
    assert reads == paths
    assert read_footers(paths) == first
    assert read_footers(expand(tmp_path, PARQUET)) == first
    assert read_footers(paths[::-1]) == first[::-1]
    assert reads == paths


def test_new_files_share_the_schema_of_remembered_ones(tmp_path, settled, reads):
    paths = [write(tmp_path / f"{i}.parquet", i + 1) for i in range(3)]
    read_footers(paths)
    paths.append(write(tmp_path / "3.parquet", 4))
    assert len({id(footer.schema) for footer in read_footers(paths)}) == 1
    assert reads == paths


def test_a_file_that_just_changed_is_not_remembered(tmp_path, reads):
    paths = [write(tmp_path / "a.parquet")]
    read_footers(paths)
    size = os.stat(paths[0]).st_size
    write(tmp_path / "a.parquet", value=7)
    assert os.stat(paths[0]).st_size == size
    assert read_footers(paths) == [read_footer(paths[0])]
    assert reads == paths * 2


@pytest.mark.parametrize("how", ["list", "folder"])
def test_a_file_rewritten_with_the_same_size(tmp_path, settled, how):
    paths = [write(tmp_path / f"{i}.parquet") for i in range(3)]
    named = paths if how == "list" else expand(tmp_path, PARQUET)
    before = read_footers(named)
    old = os.stat(paths[1])
    rewrite(paths[1], value=7)
    os.utime(paths[1], ns=(old.st_atime_ns, old.st_mtime_ns))
    assert os.stat(paths[1]).st_size == old.st_size
    named = paths if how == "list" else expand(tmp_path, PARQUET)
    after = read_footers(named)
    assert after == [read_footer(path) for path in paths]
    assert after[1] != before[1]
    assert after[::2] == before[::2]


def test_a_file_replaced_by_another(tmp_path, settled):
    path, other = write(tmp_path / "a.parquet"), write(tmp_path / "b", value=9)
    read_footers([path])
    os.replace(other, path)
    assert read_footers([path]) == [read_footer(path)]


def test_a_file_deleted_and_created_again(tmp_path, settled):
    path = write(tmp_path / "a.parquet")
    read_footers([path])
    os.unlink(path)
    with pytest.raises(ShardError, match="No such file"):
        read_footers([path])
    write(path, 3)
    assert read_footers([path])[0].n_rows == 3


def test_a_file_that_became_damaged(tmp_path, settled):
    paths = [write(tmp_path / f"{i}.parquet") for i in range(3)]
    read_footers(paths)
    with open(paths[1], "r+b") as file:
        file.truncate(20)
    with pytest.raises(ShardError, match=r"1\.parquet"):
        read_footers(paths)


def test_a_link_that_leads_to_another_file(tmp_path, settled):
    a, b = write(tmp_path / "a"), write(tmp_path / "b", 5)
    link = tmp_path / "link.parquet"
    link.symlink_to(a)
    assert read_footers([str(link)])[0].n_rows == 1
    link.unlink()
    link.symlink_to(b)
    assert read_footers([str(link)])[0].n_rows == 5
    assert read_footers(expand(tmp_path, PARQUET))[0].n_rows == 5


def test_a_folder_that_is_replaced(tmp_path, settled):
    write_shard(tmp_path / "new" / "a.parquet", laion_table(5))
    path = write_shard(tmp_path / "data" / "a.parquet", laion_table(3))
    read_footers([path])
    shutil.move(tmp_path / "data", tmp_path / "old")
    shutil.move(tmp_path / "new", tmp_path / "data")
    assert read_footers([path])[0].n_rows == 5


def test_memory_is_bounded(tmp_path, settled, monkeypatch, reads):
    paths = [write(tmp_path / f"{i}.parquet") for i in range(10)]
    monkeypatch.setattr(footer_cache, "_MAX_BYTES", 5000)
    expected = read_footers(paths)
    assert 0 < len(footer_cache._entries) < 10
    assert footer_cache._n_bytes <= 5000
    assert read_footers(paths) == expected
    kept = list(footer_cache._entries.values())
    assert footer_cache._n_bytes == sum(footer_cache._size(footer) for _, footer in kept)


def test_a_time_in_the_future_is_never_settled(tmp_path):
    path = write(tmp_path / "a.parquet")
    mark = mark_of(path)
    later = Mark(mark.size, mark.changed_ns + 10**15, mark.version)
    footer_cache.remember(read_footer(path), later)
    assert footer_cache.recall(path, {path: later}) is None


def test_a_file_without_a_mark_is_not_remembered(tmp_path):
    path = write(tmp_path / "a.parquet")
    footer_cache.remember(read_footer(path), None, 10**30)
    assert footer_cache.recall(path, {}) is None


def test_a_frame_is_the_same_the_second_time(tmp_path, settled):
    for i in range(4):
        write_shard(tmp_path / f"language=en/{i}.parquet", laion_table(9 + i, i).drop("LANGUAGE"))
    first, second = ld.read_shards(tmp_path), ld.read_shards(tmp_path)
    assert first.npartitions == second.npartitions
    assert first.compute().equals(second.compute())
