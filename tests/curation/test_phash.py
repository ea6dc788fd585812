"""Perceptual hashes: those of imagehash, null where there is no image, for any partitioning."""

from __future__ import annotations

import hashlib
import io

import imagehash
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.small_clip import picture, write_tar

import laion_dask as ld
from laion_dask.errors import ColumnError, ImageError, OptionError, ProvenanceError


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Images of several modes and formats, copies of one of them, and rows without an image."""
    folder = tmp_path_factory.mktemp("phash")
    draw = np.random.default_rng(0)
    photo = Image.fromarray(draw.integers(0, 255, (6, 8, 3), np.uint8)).resize((160, 120))
    files = {
        "0.jpg": encoded(photo, "JPEG"),
        "1.png": encoded(photo.resize((80, 60)), "PNG"),
        "2.webp": encoded(photo.convert("L").convert("RGB"), "WEBP"),
        "3.png": encoded(Image.fromarray(draw.integers(0, 255, (40, 40, 4), np.uint8)), "PNG"),
        "4.gif": encoded(photo.rotate(90).convert("P"), "GIF"),
        "5.png": picture(3),
        "6.png": picture(3)[:80],
        "7.jpg": b"",
        "8.png": encoded(Image.new("RGB", (30, 30)), "PNG"),
    }
    write_tar(folder / "00000.tar", files)
    keys = [*(name.partition(".")[0] for name in files), "missing", None]
    table = pa.table({"id": range(len(keys)), "key": pa.array(keys, pa.string())})
    (folder / "metadata").mkdir()
    pq.write_table(table.slice(0, 4), folder / "metadata/0.parquet")
    pq.write_table(table.slice(4), folder / "metadata/1.parquet", row_group_size=3)
    return folder, files


def test_the_hashes_of_imagehash(corpus):
    folder, files = corpus
    expected = []
    for name, data in files.items():
        broken = name in ("6.png", "7.jpg")
        expected.append(None if broken else str(imagehash.phash(Image.open(io.BytesIO(data)))))
    expected += [None, None]
    for most in (2, 1000):
        frame = ld.read_shards(folder / "metadata", max_rows_per_partition=most)
        hashed = frame.laion.phash(ld.open_images(folder / "00000.tar")).compute()
        found = [None if h is None or h != h else h for h in hashed["phash"].astype(object)]
        assert [h if isinstance(h, str) else None for h in found] == expected


def test_copies_of_an_image_are_dropped_and_rows_without_one_unscored(corpus):
    folder, _ = corpus
    frame = ld.read_shards(folder / "metadata")
    hashed = frame.laion.phash(str(folder / "00000.tar"), to="look")
    kept = hashed.laion.dedup(by="look", radius=4)
    assert kept["id"].compute().tolist() == [0, 3, 4, 5, 8]
    rows = kept.laion.rows()
    assert (rows.dropped, rows.unscored) == (2, 4)


def test_an_image_that_rows_of_two_data_sets_name_is_nobodys(tmp_path):
    """Two runs of img2dataset number their images alike: names alone do not tell them apart."""
    for source, urls in (("a", ["u0", "u1", "u2"]), ("b", ["u3", "u4"])):
        (tmp_path / source).mkdir()
        keys = [f"{n:09d}" for n in range(len(urls))]
        table = pa.table({"url": urls, "key": keys, "n": range(len(urls))})
        pq.write_table(table, tmp_path / source / "00000.parquet", row_group_size=2)
    write_tar(tmp_path / "images.tar", {f"{n:09d}.png": picture(n) for n in range(3)})
    shards = [str(tmp_path / source / "00000.parquet") for source in "ab"]
    for most in (1, 1000):
        both = ld.read_shards(shards, max_rows_per_partition=most)
        hashed = both.laion.phash(tmp_path / "images.tar").compute()
        assert hashed["phash"].isna().tolist() == [True, True, False, True, True]
        rows = both.laion.phash(tmp_path / "images.tar").laion.dedup("phash", radius=0)
        assert rows.laion.rows().unscored == 4
    one = ld.read_shards(shards[:1]).laion.phash(tmp_path / "images.tar")
    assert one["phash"].compute().notna().all()
    few = both.laion.where("url in ('u0', 'u4')").laion.phash(tmp_path / "images.tar")
    assert few["phash"].compute().notna().all()  # of different names
    digests = [hashlib.sha256(picture(n)).hexdigest() for n in range(3)] + ["0" * 64] * 2
    table = pa.table({"key": [f"{n:09d}" for n in (0, 1, 2, 0, 1)], "image_sha256": digests})
    (tmp_path / "c").mkdir()
    for n, start in enumerate((0, 3)):
        pq.write_table(table.slice(start, 3 - n), tmp_path / "c" / f"{n}.parquet")
    known = ld.read_shards(tmp_path / "c").laion.phash(tmp_path / "images.tar").compute()
    assert known["phash"].isna().tolist() == [False] * 3 + [True] * 2


def test_names_in_either_column(tmp_path):
    write_tar(tmp_path / "images.tar", {f"{n}.png": picture(n) for n in range(3)})
    table = pa.table({"image_path": ["images.tar/0.png", None, None], "key": ["0", "1", None]})
    (tmp_path / "m").mkdir()
    pq.write_table(table, tmp_path / "m" / "0.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "m" / "1.parquet")
    frame = ld.read_shards(tmp_path / "m")
    found = frame.laion.phash(tmp_path / "images.tar").compute()
    assert found["phash"].isna().tolist() == [False, False, True]
    with pytest.raises(ProvenanceError, match="row"):
        frame[["key", "shard"]].laion.phash(tmp_path / "images.tar")


def test_arguments_that_do_not_fit(corpus):
    folder, _ = corpus
    frame = ld.read_shards(folder / "metadata")
    with pytest.raises(OptionError, match="a column already"):
        frame.laion.phash(folder / "00000.tar", to="key")
    with pytest.raises(ColumnError, match="identify an image"):
        frame[["id", "shard", "row"]].laion.phash(folder / "00000.tar")
    with pytest.raises(ImageError):
        frame.laion.phash(folder / "metadata")
