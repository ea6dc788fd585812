"""How file names become samples: stems, dots, colons and relative folders."""

import os

import pytest
from support.small_clip import picture, write_tar

from laion_dask.errors import ShardError
from laion_dask.io.images import sample_groups, samples
from laion_dask.io.images.images import find_shards, open_images
from laion_dask.io.images.shards import TarShard


def read(path):
    return [sample for shard in find_shards(path) for sample in shard.samples()]


def folder_of(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_relative_folder_is_read_from_another_place(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", {"1.png": picture(1)})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    (shard,), (same,) = find_shards("in"), find_shards("in/")
    os.chdir(tmp_path / "elsewhere")
    assert [s.image for s in shard.samples()] == [picture(1)]
    assert shard.name == same.name == "in[0]" and shard == same


def test_a_listed_file_that_is_gone_ends_the_task(tmp_path):
    (shard,) = find_shards(folder_of(tmp_path, {"1.png": picture(1), "2.png": picture(2)}))
    (tmp_path / "2.png").unlink()
    for look in (shard.survey, shard.n_bytes, lambda: list(shard.samples())):
        with pytest.raises(ShardError, match=r"2\.png cannot be read: .*No such file"):
            look()


def test_a_link_that_leads_nowhere_is_a_reject(tmp_path):
    folder_of(tmp_path, {"1.png": picture(1)})
    (tmp_path / "2.png").symlink_to(tmp_path / "none.png")
    assert [s.reason for s in read(tmp_path)] == [None, "not a regular file"]


def test_in_a_folder_a_stem_ends_at_the_last_dot(tmp_path):
    files = {f"photo.v{i}.jpg": picture(i, "JPEG") for i in (1, 2)}
    files |= {"photo.v2.txt": b"two", "a.b/1.png": picture(3), "a.b/1.txt": b"three", "x": b""}
    read_samples = read(folder_of(tmp_path, files))
    assert [(s.key, s.caption) for s in read_samples] == [
        ("a.b/1", "three"),
        ("photo.v1", None),
        ("photo.v2", "two"),
        ("x", None),
    ]
    assert [s.reason is None for s in read_samples] == [True, True, True, False]
    assert open_images(tmp_path).read(["photo.v2", "photo.v1.jpg", "photo"]) == [
        picture(2, "JPEG"),
        picture(1, "JPEG"),
        None,
    ]


def test_in_a_tar_every_image_is_a_row_or_a_reject(tmp_path, monkeypatch):
    members = {
        "x.thumb.png": picture(1),
        "x.full.PNG": picture(2),
        "x.seg.npy": b"no image",
        "1.jpg": picture(3, "JPEG"),
        "1.mask.png": b"another field",
    }
    path = write_tar(tmp_path / "a.tar", members)
    read_samples = read(path)
    assert [(s.key, s.caption, bool(s.reason)) for s in read_samples] == [
        ("x.thumb", None, False),
        ("x.full", None, False),
        ("1", None, False),
        ("1", None, True),
    ]
    images = [name for name in members if name[-3:] in ("png", "PNG", "jpg")]
    assert [s.image_path for s in read_samples] == [f"a.tar/{name}" for name in images]
    assert [s.image for s in read_samples] == [*(members[name] for name in images[:3]), None]
    opened = open_images(path)
    assert opened.read(["x.full.PNG", "x.thumb", "1"]) == [picture(i) for i in (2, 1)] + [
        picture(3, "JPEG")
    ]
    assert opened.read(["a.tar/1.mask.png", "x"]) == [b"another field", None]
    monkeypatch.setattr(sample_groups, "MAX_FIELDS", 2)
    path = write_tar(tmp_path / "b.tar", {f"x.{i}.png": picture(i) for i in range(5)})
    assert [s.image for s in read(path)] == [picture(i) for i in range(5)]
    assert TarShard(str(path)).survey().n_samples == 5


def test_a_flaw_of_one_image_spares_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "MAX_IMAGE_BYTES", 1000)
    path = write_tar(tmp_path / "a.tar", {"x.a.png": b"x" * 1001, "x.b.png": b"y"})
    assert [s.image for s in read(path)] == [None, b"y"]


def test_a_colon_is_part_of_a_name(tmp_path):
    names = ["12:30.png", "a:b/1.png", "x:1.png", "c:\\1.png", "C:/2.png"]
    read_samples = read(write_tar(tmp_path / "a.tar", {name: picture() for name in names}))
    assert [s.reason is None for s in read_samples] == [True, True, True, False, False]
    assert read_samples[0].key == "12:30"
