"""A row is shown only its own image, even if several sources use the same image name."""

from __future__ import annotations

import hashlib
import json
import pickle

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.small_clip import picture, write_tar

import laion_dask as ld
from laion_dask.errors import ColumnError, ImageError
from laion_dask.io.images.row_match import Match

OTHER, ABSENT, SHARED = Match.OTHER, Match.ABSENT, Match.SHARED
SPLITS = ("train", "val")


def sample(key: str, seed: int, caption: str | None = None, url: str | None = None) -> dict:
    members = {f"{key}.png": picture(seed)}
    if caption:
        members[f"{key}.txt"] = caption.encode()
    if url:
        members[f"{key}.json"] = json.dumps({"url": url, "key": key}).encode()
    return members


def write_split(folder, kind: str, samples: dict) -> None:
    """Write samples as an archive, a folder of files, or Parquet."""
    folder.mkdir(parents=True)
    if kind == "tar":
        write_tar(folder / "00000.tar", samples)
    elif kind == "folder":
        for name, data in samples.items():
            (folder / name).write_bytes(data)
    else:
        images = [data for name, data in samples.items() if name.endswith("png")]
        texts = [data.decode() for name, data in samples.items() if name.endswith("txt")]
        columns = {"key": [str(n) for n in range(len(images))], "jpg": images}
        pq.write_table(
            pa.table(columns | ({"caption": texts} if texts else {})), folder / "0.parquet"
        )


def shown(images, rows) -> list:
    return [image.data or image.match for image in images.read_rows(rows)]


@pytest.fixture(params=["tar", "folder", "parquet"])
def twins(request, tmp_path):
    """Two splits with the same file names, keys and captions, embedded separately."""
    for at, split in enumerate(SPLITS):
        members = sample("0", 10 * at, "a cat") | sample("1", 10 * at + 1, "a cat")
        write_split(tmp_path / split, request.param, members)
        ld.embed(tmp_path / split, tmp_path / f"out_{split}", "demo", progress=False)
    return tmp_path


def test_embed_notes_the_digest_of_each_image(twins):
    table = pq.read_table(next((twins / "out_val" / "metadata").glob("*.parquet")))
    assert table.column_names[:4] == ["key", "image_path", "image_sha256", "caption"]
    expected = [hashlib.sha256(picture(seed)).hexdigest() for seed in (10, 11)]
    assert table["image_sha256"].to_pylist() == expected


def test_a_row_of_another_split_is_not_shown_the_image_of_this_one(twins):
    frame = ld.read_shards([twins / f"out_{split}" / "metadata" for split in SPLITS])
    rows = frame.compute()
    own = [picture(0), picture(1), picture(10), picture(11)]
    train, val = (ld.open_images(twins / split) for split in SPLITS)
    assert shown(train, rows) == [*own[:2], OTHER, OTHER]
    assert shown(val, rows[::-1]) == [own[3], own[2], OTHER, OTHER]
    assert shown(val, frame[frame.shard == 1].compute()) == own[2:]
    assert shown(pickle.loads(pickle.dumps(train)), rows[:1]) == own[:1]
    both = ld.open_images([twins / split for split in SPLITS])
    if all(n in {"00000.tar/0.png", "00000.tar/1.png"} for n in rows["image_path"]):
        with pytest.raises(ImageError, match="2 images"):
            both.read(rows["image_path"][:1])
    assert shown(both, rows) == own
    assert shown(both, rows.drop(columns="image_path")) == own
    page = ld.gallery(rows.assign(punsafe=0.0), train).html
    assert page.count("<img") == 2 and page.count("another row&#39;s image<") == 2
    assert (
        "For 2 of these 4 rows, the image of that name" in page and "only by its name" not in page
    )


def test_an_export_of_two_splits_keeps_its_images_apart(twins):
    ld.read_shards([twins / f"out_{split}" / "metadata" for split in SPLITS]).laion.export(
        twins / "subset"
    )
    rows = ld.read_shards(twins / "subset").compute()
    images_shown = shown(ld.open_images(twins / "val"), rows)
    assert images_shown.count(OTHER) == 2 and {picture(10), picture(11)} < set(images_shown)


def test_an_image_that_changed_under_its_name_is_not_shown(tmp_path):
    write_split(tmp_path / "in", "folder", sample("0", 0) | sample("1", 1))
    rows = ld.read_shards(ld.embed(tmp_path / "in", tmp_path / "out", "demo").metadata).compute()
    (tmp_path / "in" / "1.png").write_bytes(picture(2))
    assert shown(ld.open_images(tmp_path / "in"), rows) == [picture(0), OTHER]
    (tmp_path / "in" / "0.png").unlink()
    assert shown(ld.open_images(tmp_path / "in"), rows) == [ABSENT, OTHER]


def img2dataset(folder, host: str, seed: int, **columns) -> pd.DataFrame:
    """Write an archive and its metadata in img2dataset's layout."""
    folder.mkdir()
    keys = ["000000000", "000000001"]
    urls = [f"https://{host}/{n}.jpg" for n in range(2)]
    members = {}
    for n, key in enumerate(keys):
        members |= sample(key, seed + n, "a cat", urls[n])
    write_tar(folder / "00000.tar", members)
    frame = pd.DataFrame({"url": urls, "caption": "a cat", "key": keys, "status": "success"})
    frame.to_parquet(folder / "00000.parquet")
    return frame


def test_two_runs_of_img2dataset_are_told_apart_by_url(tmp_path):
    for at, name in enumerate(["cc3m", "cc12m"]):
        img2dataset(tmp_path / name, f"{name}.example", 10 * at)
    frame = ld.read_shards([tmp_path / "cc3m", tmp_path / "cc12m"])
    rows = frame.compute()
    own = [picture(0), picture(1), picture(10), picture(11)]
    assert shown(ld.open_images(tmp_path / "cc12m"), rows) == [OTHER, OTHER, *own[2:]]
    both = ld.open_images([tmp_path / "cc3m", tmp_path / "cc12m"])
    assert shown(both, rows) == own
    # A rewritten caption does not matter, because the URL identifies the image.
    assert shown(both, rows.assign(text="a tabby asleep on a sofa")) == own
    # Overlapping subsets of one run contain a row twice.
    again = pd.concat([rows[:2], rows[:2].assign(shard=2)])
    assert shown(both, again) == own[:2] * 2


@pytest.mark.parametrize("kind", ["tar", "folder", "parquet"])
def test_what_is_found_by_its_name_alone_is_said_to_be(tmp_path, kind):
    for at, split in enumerate(SPLITS):
        write_split(tmp_path / split, kind, sample("0", 10 * at, "a cat"))
    train = ld.open_images(tmp_path / "train")
    rows = pd.DataFrame({"key": ["0"], "text": ["a cat"], "shard": 1, "row": 0, "punsafe": 0.0})
    assert [image.match for image in train.read_rows(rows)] == [Match.NAME]
    page = ld.gallery(rows, train).html
    assert page.count("<img") == 1 and "matched only by its name" in page
    both = ld.open_images([tmp_path / split for split in SPLITS])
    if kind == "folder":  # paths are relative to the common parent folder
        assert shown(both, rows) == [ABSENT]
        return
    with pytest.raises(ImageError, match="2 images"):
        both.read_rows(rows)


def test_rows_of_two_shards_with_one_name_are_not_shown_an_image_that_nothing_proves(tmp_path):
    write_tar(tmp_path / "a.tar", sample("0", 0, "a cat", "https://dataset.example"))
    digest = hashlib.sha256(picture(0)).hexdigest()
    images = ld.open_images(tmp_path)
    rows = pd.DataFrame({"key": "0", "shard": [0, 1], "row": [4, 7], "text": "a cat"})
    assert shown(images, rows) == [SHARED] * 2
    assert "share an image name" in ld.gallery(rows, images).html
    # A digest proves the match for one row; the other still gets no image.
    assert shown(images, rows.assign(image_sha256=[digest, None])) == [picture(0), SHARED]
    # A path may be written in two ways.
    spelled = rows.drop(columns="key").assign(image_path=["a.tar/0.png", "x/a.tar/0.png"])
    assert shown(images, spelled) == [picture(0), ABSENT]
    assert shown(images, rows.assign(image_path=[None, "a.tar/0.png"])) == [SHARED] * 2
    # A URL shared by all samples proves nothing if the captions differ.
    urls = rows.assign(url="https://dataset.example", text=["a cat", "a dog"])
    assert shown(images, urls) == [SHARED] * 2
    # Several captions of one image, and rows of unknown shards.
    assert shown(images, rows.assign(shard=0)) == [picture(0)] * 2
    assert shown(images, rows.drop(columns="shard")) == [picture(0)] * 2
    unknown = pd.array([0, None], dtype="Int64")
    assert shown(images, rows.assign(shard=unknown)) == [picture(0)] * 2


def test_a_file_in_the_root_does_not_hide_its_namesake_below(tmp_path):
    write_split(tmp_path / "q" / "val", "folder", sample("0", 1))
    (tmp_path / "q" / "0.png").write_bytes(picture(0))
    rows = ld.read_shards(ld.embed(tmp_path / "q/val", tmp_path / "o", "demo").metadata).compute()
    images = ld.open_images(tmp_path / "q")
    assert shown(images, rows) == [picture(1)]
    assert shown(images, rows.drop(columns="image_path")) == [picture(1)]
    # Without a digest a path is matched exactly and never guessed.
    (tmp_path / "q" / "0.png").unlink()
    assert shown(ld.open_images(tmp_path / "q"), rows[["key"]]) == [ABSENT]
    assert ld.open_images(tmp_path / "q").read(["0", "0.png"]) == [None, None]


def test_rows_without_an_image_path_are_found_by_key(tmp_path):
    write_tar(tmp_path / "a.tar", sample("0", 0) | sample("1", 1))
    rows = pd.DataFrame({"image_path": ["a.tar/0.png", None], "key": ["x", "1"]})
    images = ld.open_images(tmp_path)
    assert shown(images, rows) == shown(images, rows.astype("category")) == [picture(0), picture(1)]


def test_what_cannot_be_read_beside_an_image_tells_nothing(tmp_path):
    members = sample("0", 0) | {"0.json": b"{broken", "0.txt": "café".encode("cp1252")}
    write_tar(tmp_path / "a.tar", members)
    (tmp_path / "p").mkdir()
    urls = pa.array([b"https://a\xff"], pa.binary()).view(pa.string())
    table = pa.table({"key": ["0"], "jpg": [picture(0)], "url": urls, "caption": urls})
    pq.write_table(table, tmp_path / "p" / "0.parquet")
    rows = pd.DataFrame(
        {"key": ["0", None], "text": ["x", "y"], "url": ["https://a.example", None]}
    )
    for source in (tmp_path / "a.tar", tmp_path / "p"):
        assert shown(ld.open_images(source), rows) == [picture(0), ABSENT]


def test_rows_without_a_name_are_refused(tmp_path):
    write_tar(tmp_path / "a.tar", sample("0", 0))
    with pytest.raises(ColumnError, match=r"neither 'image_path' nor 'key'.*Available: text"):
        ld.gallery(pd.DataFrame({"text": ["x"]}), ld.open_images(tmp_path))
