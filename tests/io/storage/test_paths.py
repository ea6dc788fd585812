"""Expanding paths to files: order, patterns, folders, remote stores, hidden files."""

from __future__ import annotations

import random
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_dask.errors import DiscoveryWarning, OptionError, ShardNotFoundError
from laion_dask.io.embeddings.shard_keys import shard_key
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.io.storage.paths import expand, natural

SUFFIX = (".parquet",)


@pytest.fixture
def files(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return tmp_path

    return make


@pytest.fixture
def memory():
    """A folder in the memory:// store with three shards, deleted after the test."""
    fs = fsspec.filesystem("memory")
    for i in (2, 10, 1):
        with fs.open(f"/laion/part[{i}].parquet", "wb") as file:
            pq.write_table(pa.table({"URL": [f"u{i}"], "TEXT": [f"t{i}"]}), file)
    yield "memory://laion"
    fs.rm("/laion", recursive=True)


def names(paths):
    return [Path(p).name for p in paths]


def test_natural_order_is_numeric():
    right = [f"part_{i}.parquet" for i in range(120)]
    mixed = right[:]
    random.Random(0).shuffle(mixed)
    assert sorted(mixed, key=natural) == right
    assert sorted(["a10b2", "a10b10", "a9b99"], key=natural) == ["a9b99", "a10b2", "a10b10"]
    assert sorted(["a1", "a01"], key=natural) == sorted(["a01", "a1"], key=natural)


def test_a_digit_that_is_no_number_sorts_as_text():
    assert sorted(["1²2", "1²1", "1x"], key=natural)[0] == "1x"


def test_a_file_a_pattern_a_folder_and_a_list_name_the_same(files):
    root = files("part_10.parquet", "part_2.parquet", "part_1.parquet", "readme.txt")
    right = [f"part_{i}.parquet" for i in (1, 2, 10)]
    for source in (root, str(root), f"{root}/", f"{root}/*.parquet", f"file://{root}"):
        assert names(expand(source, SUFFIX)) == right, source
    assert names(expand([root / n for n in reversed(right)], SUFFIX)) == right
    assert names(expand((str(root / n) for n in right), SUFFIX)) == right
    assert names(expand(f"{root}/part_[12].parquet", SUFFIX)) == right[:2]
    assert names(expand(root / "readme.txt", SUFFIX)) == ["readme.txt"]


def test_folders_are_read_in_depth_without_hidden_files(files):
    root = files(
        "b/1.parquet", "a/c/2.parquet", ".hidden.parquet", "_temporary/3.parquet",
        "a/.git/4.parquet", "_SUCCESS", "a/_5.parquet", "a/6.parquet.crc",
        "_metadata", "_common_metadata", "a/readme.md", "0_stats.json",
    )  # fmt: skip
    for source in (root, f"{root}/**", f"{root}/**/*.parquet", f"{root}/*"):
        with pytest.warns(DiscoveryWarning, match="hidden") as caught:
            result = [Path(p).relative_to(root).as_posix() for p in expand(source, SUFFIX)]
        assert caught[0].filename == __file__ and len(caught) == 1
        assert result == ["a/c/2.parquet", "b/1.parquet"]


def test_a_folder_below_a_hidden_one_is_still_readable(files):
    root = files("_out/.cache/1.parquet")
    assert names(expand(root / "_out" / ".cache", SUFFIX)) == ["1.parquet"]


def test_a_folder_named_like_a_file_is_read_however_it_is_named(files):
    root = files("x.parquet/part-0.parquet", "y.parquet", "other/z.parquet")
    assert names(expand(root / "x.parquet", SUFFIX)) == ["part-0.parquet"]
    assert names(expand(f"{root}/*.parquet", SUFFIX)) == ["part-0.parquet", "y.parquet"]
    assert names(expand(f"{root}/*", SUFFIX)) == ["z.parquet", "part-0.parquet", "y.parquet"]


@pytest.mark.parametrize(
    "name",
    ["a[1].parquet", "a*b.parquet", "a?.parquet", "a]b.parquet", "[[x.parquet", "ü '\"%20;.parquet",
     "a\\b.parquet", "[!a].parquet", "{a,b}.parquet", "#1.parquet", "$HOME.parquet"],
)  # fmt: skip
def test_names_with_characters_of_patterns(write, tmp_path, name):
    path = write(f"d/{name}", {"URL": ["right"], "TEXT": ["t"]})
    write("d/ab.parquet", {"URL": ["wrong"], "TEXT": ["t"]})
    write("d/a1.parquet", {"URL": ["wrong too"], "TEXT": ["t"]})
    assert read_shards(path).compute(scheduler="sync")["url"].tolist() == ["right"]
    assert len(read_shards(tmp_path / "d").compute(scheduler="sync")) == 3


def test_memory_store(memory):
    for source in (
        memory,
        f"{memory}/*.parquet",
        [f"{memory}/part[{i}].parquet" for i in (1, 2, 10)],
    ):
        frame = read_shards(source, where="text.startswith('t')").compute(scheduler="sync")
        assert frame["url"].tolist() == ["u1", "u2", "u10"]
        assert frame["shard"].tolist() == [0, 1, 2] and frame["row"].tolist() == [0, 0, 0]
    assert all(path.startswith("memory://") for path in expand(memory, SUFFIX))


def test_what_is_not_there(files):
    root = files("metadata_0.parquet", "empty/readme.txt")
    with pytest.raises(ShardNotFoundError, match=r"Did you mean 'metadata_0.parquet'"):
        expand(root / "metdata_0.parquet", SUFFIX)
    with pytest.raises(FileNotFoundError, match="Nothing matches"):
        expand(f"{root}/*.parq", SUFFIX)
    with pytest.raises(ShardNotFoundError, match=r"contains no \.parquet file"):
        expand(root / "empty", SUFFIX)
    with pytest.raises(ShardNotFoundError, match="No path"):
        expand([], SUFFIX)
    with pytest.raises(ShardNotFoundError, match="Nothing matches"):
        expand([root, root / "nowhere" / "x.parquet"], SUFFIX)
    with pytest.raises(ShardNotFoundError):
        expand("memory://nowhere/x.parquet", SUFFIX)
    with pytest.raises(ShardNotFoundError):
        read_shards(root / "no.parquet")


def test_a_file_named_twice(files):
    root = files("a.parquet", "b.parquet")
    for source in (
        [root, root / "a.parquet"],
        [root / "a.parquet"] * 2,
        [f"{root}/*.parquet", f"{root}/a*"],
        [root / "a.parquet", f"file://{root}/a.parquet"],
        [root / "a.parquet", f"{root}/../{root.name}/a.parquet"],
    ):
        with pytest.raises(OptionError, match=r"a\.parquet is named twice"):
            expand(source, SUFFIX)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("laion/metadata/metadata_0012.parquet", "laion/img_emb/img_emb_12.npy"),
        ("s/part-00003-2256f782-126f-4dc6-b9c6-e6757637749d-c000.snappy.parquet", "s/x_3.npy"),
        ("00000.parquet", "00000.npy"),
        (f"dc/{'a1' * 16}.parquet", f"dc/{'a1' * 16}.npz"),
        ("d/birds.parquet", "d/birds.npy"),
    ],
)
def test_shard_keys_pair(one, other):
    assert shard_key(one) == shard_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("laion2B/metadata/m_3.parquet", "laion1B/metadata/m_3.parquet"),
        ("d/m_1.parquet", "d/m_10.parquet"),
        ("d/birds.parquet", "d/boats.parquet"),
    ],
)
def test_shard_keys_tell_apart(one, other):
    assert shard_key(one) != shard_key(other)
