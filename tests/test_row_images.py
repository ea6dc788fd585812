"""A row is shown its own image and no other, whichever sources have images of one name."""

from __future__ import annotations

import hashlib
import json
import pickle

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_clip import picture, write_tar

import laion_dask as ld
from laion_dask.errors import ColumnError, ImageError

NAMED = "another row's image"
SPLITS = ("train", "val")


def sample(key: str, seed: int, caption: str | None = None, url: str | None = None) -> dict:
    members = {f"{key}.png": picture(seed)}
    if caption:
        members[f"{key}.txt"] = caption.encode()
    if url:
        members[f"{key}.json"] = json.dumps({"url": url, "key": key}).encode()
    return members


def write_split(folder, kind: str, samples: dict) -> None:
    """The same samples as an archive, as a folder of files, or as Parquet."""
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
    return [image.data or image.why for image in images.read_rows(rows)]


@pytest.fixture(params=["tar", "folder", "parquet"])
def twins(request, tmp_path):
    """Two splits with files, keys and captions of the same names, embedded one by one."""
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
    assert shown(train, rows) == [*own[:2], NAMED, NAMED]
    assert shown(val, rows[::-1]) == [own[3], own[2], NAMED, NAMED]
    assert shown(val, frame[frame.shard == 1].compute()) == own[2:]
    assert shown(pickle.loads(pickle.dumps(train)), rows[:1]) == own[:1]
    both = ld.open_images([twins / split for split in SPLITS])
    if all(n in {"00000.tar/0.png", "00000.tar/1.png"} for n in rows["image_path"]):
        with pytest.raises(ImageError, match="2 images"):
            both.read(rows["image_path"][:1])
    assert shown(both, rows) == own
    assert shown(both, rows.drop(columns="image_path")) == own
    page = ld.gallery(rows.assign(punsafe=0.0), train).html
    assert page.count("<img") == 2 and page.count(NAMED) == 2
    assert "For 2 of these 4 rows the image of that name" in page


def test_an_export_of_two_splits_keeps_its_images_apart(twins):
    ld.read_shards([twins / f"out_{split}" / "metadata" for split in SPLITS]).laion.export(
        twins / "subset"
    )
    rows = ld.read_shards(twins / "subset").compute()
    found = shown(ld.open_images(twins / "val"), rows)
    assert sorted(map(str, found)) == sorted([NAMED, NAMED, str(picture(10)), str(picture(11))])


def test_an_image_that_changed_under_its_name_is_not_shown(tmp_path):
    write_split(tmp_path / "in", "folder", sample("0", 0) | sample("1", 1))
    rows = ld.read_shards(ld.embed(tmp_path / "in", tmp_path / "out", "demo").metadata).compute()
    (tmp_path / "in" / "1.png").write_bytes(picture(2))
    assert shown(ld.open_images(tmp_path / "in"), rows) == [picture(0), NAMED]
    (tmp_path / "in" / "0.png").unlink()
    assert shown(ld.open_images(tmp_path / "in"), rows) == ["no image", NAMED]


def img2dataset(folder, host: str, seed: int, **columns) -> pd.DataFrame:
    """An archive and the metadata beside it, as img2dataset writes them."""
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
    assert shown(ld.open_images(tmp_path / "cc12m"), rows) == [NAMED, NAMED, *own[2:]]
    both = ld.open_images([tmp_path / "cc3m", tmp_path / "cc12m"])
    assert shown(both, rows) == own
    # A caption that was written anew is still the row's own, since the url says so.
    assert shown(both, rows.assign(text="a tabby asleep on a sofa")) == own


@pytest.mark.parametrize("kind", ["tar", "folder", "parquet"])
def test_without_digest_and_url_the_captions_tell(tmp_path, kind):
    for at, split in enumerate(SPLITS):
        members = sample("0", 10 * at, f"a {split} cat") | sample("1", 10 * at + 1, f"{split} dog")
        write_split(tmp_path / split, kind, members)
    rows = pd.DataFrame({"key": ["0", "1", "0"], "text": ["a  train cat ", "val dog", "a val cat"]})
    train = ld.open_images(tmp_path / "train")
    assert shown(train, rows) == [picture(0), NAMED, NAMED]
    both = ld.open_images([tmp_path / split for split in SPLITS])
    assert shown(both, rows) == [picture(0), picture(11), picture(10)]


def test_what_cannot_be_read_beside_an_image_tells_nothing(tmp_path):
    members = sample("0", 0) | {"0.json": b"{broken", "0.txt": "café".encode("cp1252")}
    write_tar(tmp_path / "a.tar", members)
    rows = pd.DataFrame(
        {"key": ["0", None], "text": ["x", "y"], "url": ["https://a.example", None]}
    )
    assert shown(ld.open_images(tmp_path), rows) == [picture(0), "no image"]


def test_two_rows_of_one_name_that_nothing_tells_apart_are_refused(tmp_path):
    write_tar(tmp_path / "a.tar", sample("0", 0))
    images = ld.open_images(tmp_path)
    rows = pd.DataFrame({"key": "0", "shard": [0, 1], "row": [4, 7], "text": "x"})
    with pytest.raises(ImageError, match=r"'0': row 4 of shard 0 and row 7 of shard 1"):
        images.read_rows(rows)
    write_tar(tmp_path / "a.tar", sample("0", 0, "x"))
    with pytest.raises(ImageError, match="neither a digest nor a url"):
        ld.open_images(tmp_path).read_rows(rows)
    assert shown(images, rows.assign(shard=0, row=4)) == [picture(0)] * 2
    assert shown(images, rows.drop(columns="shard")) == [picture(0)] * 2


def test_rows_without_a_name_are_refused(tmp_path):
    write_tar(tmp_path / "a.tar", sample("0", 0))
    with pytest.raises(ColumnError, match=r"neither 'image_path' nor 'key'.*Available: text"):
        ld.open_images(tmp_path).read_rows(pd.DataFrame({"text": ["x"]}))
