"""Removal lists: the rows that a set of the entries finds, in every format of a list."""

from __future__ import annotations

import gzip
import hashlib

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.curation.exclude import Listed
from laion_dask.errors import ColumnError, OptionError

N = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exclude")
    for number, n in enumerate((200, 0, 100)):
        at = range(number * 1000, number * 1000 + n)
        urls = [f"http://a.example/{i % 170}?é" if i % 10 else None for i in at]
        texts = [f"caption {i}" for i in at]
        table = {
            "url": pa.array(urls, pa.string()),
            "text": texts,
            "uid": [hashlib.md5(text.encode()).hexdigest() for text in texts],
            "md5": [hashlib.md5(text.encode()).hexdigest().upper() for text in texts],
        }
        pq.write_table(pa.table(table), folder / f"{number}.parquet", row_group_size=80)
    return folder


@pytest.fixture
def frame(folder):
    return ld.read_shards(folder, max_rows_per_partition=80)


def kept(frame) -> list:
    return frame["text"].compute().tolist()


def test_urls_in_every_kind_of_list(frame, tmp_path):
    rows = frame.compute()
    removed = [*rows["url"].dropna().iloc[::7].tolist(), "http://elsewhere"]
    expected = rows[rows["url"].notna() & ~rows["url"].isin(removed)]["text"].tolist()
    (tmp_path / "list.txt").write_text("\n".join(removed) + "\n\n")
    (tmp_path / "list.txt.gz").write_bytes(gzip.compress("\r\n".join(removed).encode()))
    pq.write_table(pa.table({"n": range(len(removed)), "URL": removed}), tmp_path / "list.parquet")
    (tmp_path / "list.csv").write_text("url\n" + "\n".join(removed))
    files = [tmp_path / f"list.{end}" for end in ("txt", "txt.gz", "parquet", "csv")]
    for entries in (removed, *files, str(files[0])):
        subset = frame.laion.exclude(entries, by="url")
        assert kept(subset) == expected
        counted = subset.laion.rows()
        assert counted.unscored == rows["url"].isna().sum() and counted.kept == len(expected)
    without = rows[~rows["url"].isin(removed)]["text"].tolist()
    assert kept(frame.laion.exclude(removed, missing="keep")) == without


def test_hashed_urls_and_digests(frame):
    rows = frame.compute()
    removed = set(rows["url"].dropna().iloc[:9])
    for name in ("md5", "sha256"):
        digests = [hashlib.new(name, url.encode()).hexdigest().upper() for url in removed]
        subset = frame.laion.exclude(digests, by="url", hashed=name, missing="keep")
        assert kept(subset) == rows[~rows["url"].isin(removed)]["text"].tolist()
    some = rows["md5"].iloc[:5].str.lower().tolist()
    assert len(frame.laion.exclude(some, by="md5")) == len(rows) - 5


def test_uids_of_datacomp_and_hashes_of_laion(frame, tmp_path):
    rows = frame.compute()
    pairs = [(int(uid[:16], 16), int(uid[16:], 16)) for uid in rows["uid"].iloc[:40]]
    np.save(tmp_path / "uids.npy", np.array(pairs, "u8,u8"))
    assert kept(frame.laion.exclude(tmp_path / "uids.npy", by="uid")) == rows["text"].tolist()[40:]
    both = rows[rows["url"].notna()]
    hashes = [mmh3.hash64(u + t)[0] for u, t in zip(both["url"], both["text"], strict=True)]
    subset = frame.laion.exclude(hashes[:25], by="hash")
    assert kept(subset) == both["text"].tolist()[25:]


def test_no_plain_text_in_the_manifest_and_steps_are_counted(frame, tmp_path):
    url = frame["url"].dropna().head(1, npartitions=-1).iloc[0]
    subset = frame.laion.exclude([url]).laion.where("text != 'caption 5'").laion.exclude([url])
    subset.laion.export(tmp_path / "out")
    manifest = (tmp_path / "out" / "_recipe.json").read_text()
    assert url not in manifest and "exclude(1 entries of sha256" in manifest
    assert len(subset) + len(subset.laion.excluded()) == N
    assert subset.laion.funnel()["after"].iloc[-1] == len(subset)


def test_an_empty_list_excludes_nothing(frame, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    assert len(frame.laion.exclude(tmp_path / "empty.txt", missing="keep")) == N
    assert len(frame.laion.exclude([], by="uid")) == N


def test_membership_of_hashes_whose_first_halves_collide():
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 6, (400, 2)).astype(np.uint64)
    listed = Listed.of(hashes[:15])
    entries = set(map(tuple, hashes[:15].tolist()))
    assert listed.has(hashes).tolist() == [tuple(one) in entries for one in hashes.tolist()]


def test_wrong_lists_are_refused_before_data_is_read(frame, tmp_path, no_compute):
    (tmp_path / "two.csv").write_text("a,b\n1,2\n")
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3)))
    with pytest.raises(OptionError, match="no column 'url'"):
        frame.laion.exclude(tmp_path / "two.csv")
    with pytest.raises(OptionError, match="cannot be read"):
        frame.laion.exclude(tmp_path / "absent.txt")
    with pytest.raises(OptionError, match="DataComp"):
        frame.laion.exclude(tmp_path / "wrong.npy", by="uid")
    with pytest.raises(OptionError, match="not like the column"):
        frame.assign(hash=1).laion.exclude(["x"], by="hash")
    with pytest.raises(OptionError, match="hashed"):
        frame.laion.exclude(["x"], hashed="crc")
    with pytest.raises(ColumnError):
        frame.laion.exclude(["x"], by="sha256")
