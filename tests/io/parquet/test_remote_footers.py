"""Footers of files in stores: few requests, many of them at once."""

from dataclasses import replace

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.file_server import serving
from support.shards import laion_table, write_files, write_shard

import laion_dask as ld
from laion_dask.errors import ShardError
from laion_dask.io.parquet import footer_cache, footer_tails
from laion_dask.io.parquet.footer import read_footer, read_footers
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.paths import expand


@pytest.fixture(autouse=True)
def empty():
    footer_cache.clear()
    yield
    footer_cache.clear()


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as found:
        yield found


def local(footers, folder, url):
    """The same footers under local paths."""
    return [replace(f, path=f.path.replace(url, str(folder))) for f in footers]


def test_two_requests_per_file(tmp_path, server):
    names = write_files(tmp_path, 12)
    footers = read_footers([f"{server.url}/{name}" for name in names])
    assert local(footers, tmp_path, server.url) == [read_footer(f"{tmp_path}/{n}") for n in names]
    server.requests["GET", f"/{names[0]}"] -= 1  # whether the server answers ranges
    assert set(server.requests.values()) == {1}
    assert sum(server.requests.values()) == 2 * len(names)


def test_requests_are_in_flight_together(tmp_path, server):
    names = write_files(tmp_path, 12)
    server.delay = 0.05
    read_footers([f"{server.url}/{name}" for name in names])
    assert server.most_at_once > 4


def test_long_footers_take_one_more_request(tmp_path, server, monkeypatch):
    monkeypatch.setattr(footer_tails, "_FIRST_REQUEST", 64)
    names = write_files(tmp_path, 4)
    footers = read_footers([f"{server.url}/{name}" for name in names])
    assert local(footers, tmp_path, server.url) == [read_footer(f"{tmp_path}/{n}") for n in names]
    assert sum(server.requests.values()) == 3 * len(names) + 1


def failure(paths) -> str:
    with pytest.raises(ShardError) as one:
        [read_footer(path) for path in paths]
    with pytest.raises(ShardError) as many:
        read_footers(paths)
    assert str(many.value) == str(one.value)
    return str(one.value)


@pytest.mark.parametrize("kind", ["missing", "broken", "empty", "truncated", "pointer"])
def test_a_file_that_cannot_be_read(tmp_path, server, kind):
    names = write_files(tmp_path, 6)
    path = tmp_path / names[3]
    if kind == "missing":
        path.unlink()
    elif kind == "broken":
        server.broken.add(f"/{names[3]}")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 99)
    assert names[3] in failure([f"{server.url}/{name}" for name in names])


def test_a_server_without_ranges_is_not_asked_for_whole_files(tmp_path, server):
    draw = laion_table(20_000).drop(["URL", "TEXT"])
    pq.write_table(draw, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    write_shard(tmp_path / "b.parquet", laion_table(5))
    server.has_ranges = False
    reader = footer_tails.TailReader({})
    assert reader.read([f"{server.url}/{name}.parquet" for name in "ab"]) == [None, None]


def test_stores_without_asynchronous_requests(tmp_path):
    fs = fsspec.filesystem("memory")
    names = write_files(tmp_path, 5)
    for name in names:
        fs.pipe_file(f"/footers/{name}", (tmp_path / name).read_bytes())
    try:
        paths = expand("memory://footers", PARQUET)
        assert local(read_footers(paths), tmp_path, "memory:///footers") == [
            read_footer(f"{tmp_path}/{name}") for name in names
        ]
        fs.pipe_file("/footers/02.parquet", b"PAR1")
        assert "02.parquet" in failure(list(paths))
    finally:
        fs.rm("/footers", recursive=True)


def test_local_and_remote_files_together(tmp_path, server):
    names = write_files(tmp_path, 6)
    paths = [f"{server.url if i % 2 else tmp_path}/{name}" for i, name in enumerate(names)]
    footers = read_footers(paths)
    assert [footer.path for footer in footers] == paths
    assert [footer.n_rows for footer in footers] == list(range(20, 26))


def test_a_listing_with_etags_is_remembered(monkeypatch):
    """The footers of files that a listing shows to be unchanged are not read again."""
    fs, tags, opened = fsspec.filesystem("memory"), {}, []
    find, open_ = MemoryFileSystem.find, MemoryFileSystem._open

    def tagged(self, path, detail=False, **kwargs):
        found = find(self, path, detail=True, **kwargs)
        found = {name: {**info, "ETag": tags.get(name, "1")} for name, info in found.items()}
        return found if detail else list(found)

    def noted(self, path, *args, **kwargs):
        opened.append(path)
        return open_(self, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "find", tagged)
    monkeypatch.setattr(MemoryFileSystem, "_open", noted)
    for value in (1, 2, 3):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"n": [value]}), sink)
        fs.pipe_file(f"/tagged/{value}.parquet", sink.getvalue().to_pybytes())
    try:
        for address in ("memory://tagged", "memory://tagged/*.parquet"):
            footer_cache.clear()
            files = expand(address, PARQUET)
            assert set(files.marks) == set(files)
            first = read_footers(files)
            opened.clear()
            assert read_footers(expand(address, PARQUET)) == first
            assert opened == []
            tags["/tagged/2.parquet"] = address
            assert read_footers(expand(address, PARQUET)) == first
            assert set(opened) == {"/tagged/2.parquet"}
    finally:
        fs.rm("/tagged", recursive=True)


def test_a_listing_without_etags_is_not_remembered(tmp_path):
    fs = fsspec.filesystem("memory")
    for value in (b"a", b"b"):
        write_shard(tmp_path / "a.parquet", pa.table({"n": [value]}))
        fs.pipe_file("/plain/a.parquet", (tmp_path / "a.parquet").read_bytes())
        (footer,) = read_footers(expand("memory://plain", PARQUET))
        assert footer.sha256 == read_footer(str(tmp_path / "a.parquet")).sha256
    fs.rm("/plain", recursive=True)


@pytest.mark.parametrize("after", range(4))
def test_a_store_that_fails_while_a_shard_is_read_is_told(tmp_path, monkeypatch, after):
    fs = fsspec.filesystem("memory")
    write_shard(tmp_path / "a.parquet", laion_table(9))
    fs.pipe_file("/failing/a.parquet", (tmp_path / "a.parquet").read_bytes())
    frame = ld.read_shards("memory://failing")
    open_ = MemoryFileSystem._open
    left = [True] * after

    def failing(self, path, *args, **kwargs):
        if not left:
            raise OSError("no answer after 5 seconds")
        left.pop()  # the footer, and pages, are read by other openings
        return open_(self, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "_open", failing)
    with pytest.raises(
        ShardError, match=r"a\.parquet cannot be read.*: .*no answer after 5 seconds"
    ):
        for _ in range(4):
            frame.compute()
    monkeypatch.undo()
    assert len(frame.compute()) == 9
    fs.rm("/failing", recursive=True)


def test_a_frame_of_remote_files(tmp_path, server):
    names = write_files(tmp_path, 3)
    remote = ld.read_shards([f"{server.url}/{name}" for name in names])
    assert list(remote.columns) == list(ld.read_shards(tmp_path).columns)
