"""Image archives and folders: samples, limits, and no extraction to disk."""

import io
import os
import pickle
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st
from support.paths import SHARED
from support.property_tests import examples
from support.small_clip import picture, write_tar

from laion_dask.errors import ImageError, OptionError, ShardError, ShardNotFoundError
from laion_dask.io.images import decoding, images, samples, tars
from laion_dask.io.images import shards as image_shards
from laion_dask.io.images.images import find_shards, open_images
from laion_dask.io.images.shards import TarShard

PHOTOS = SHARED / "data" / "photos_tars"


def read(path):
    return list(TarShard(str(path)).samples())


def reasons(path):
    return [(sample.key, sample.reason) for sample in read(path)]


def tar_of(path, *infos):
    """Write a tar of (TarInfo, bytes) pairs, even if the headers are wrong."""
    with tarfile.open(path, "w") as archive:
        for info, data in infos:
            archive.addfile(info, io.BytesIO(data)) if data else archive.addfile(info)
    return path


def info(name, **attributes):
    member = tarfile.TarInfo(name)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    return member


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats_become_rgb(kind):
    decoded = decoding.decode(picture(1, kind))
    assert decoded.mode == "RGB" and decoded.size == (40, 30)


def test_first_frame_palette_and_alpha():
    from PIL import Image

    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    assert decoding.decode(data.getvalue()).getpixel((0, 0)) == (255, 0, 0)
    palette = Image.new("RGB", (8, 8), "green").quantize(4)
    data = io.BytesIO()
    palette.save(data, "PNG", transparency=b"\x00\x80\xff\xff")  # a direct conversion warns
    assert decoding.decode(data.getvalue()).getpixel((0, 0)) == (0, 128, 0)
    for mode in ("L", "LA", "RGBA", "1", "I;16"):
        data = io.BytesIO()
        Image.new(mode, (8, 8)).save(data, "PNG")
        assert decoding.decode(data.getvalue()).mode == "RGB"


def test_bad_images_have_a_stable_reason(monkeypatch):
    from PIL import Image

    icon = io.BytesIO()
    Image.new("RGB", (16, 16)).save(icon, "ICO")
    strip = io.BytesIO()
    Image.new("L", (2000, 2)).save(strip, "PNG")
    bad = {
        b"": "empty",
        b"not an image": "known format",
        icon.getvalue(): "known format",
        picture(2, "JPEG")[:300]: "cannot be decoded|known format",
        picture(2)[:-40]: "cannot be decoded",
        strip.getvalue(): "200 times the other",
    }
    for data, words in bad.items():
        with pytest.raises(ImageError, match=words) as first:
            decoding.decode(data)
        with pytest.raises(ImageError) as second:
            decoding.decode(data)
        assert str(first.value) == str(second.value) and "0x" not in str(first.value)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="40 x 30 pixels, over the limit of 1000"):
        decoding.decode(picture())
    monkeypatch.setattr(decoding, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(ImageError, match="over the limit of 10"):
        decoding.decode(picture())


def test_a_decompression_bomb_costs_one_row():
    import struct
    import zlib

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6)))
    )
    with pytest.raises(ImageError, match=r"60000 x 60000|DecompressionBomb"):
        decoding.decode(png)


def test_members_of_one_stem_are_one_sample(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        {
            "x/1.jpg": picture(1, "JPEG"),
            "x/1.txt": " a caf\xe9 \n".encode(),
            "x/1.json": b'{"url": "u", "caption": "not this one", "n": 3}',
            "2.PNG": picture(2),
            "2.json": b'{"TEXT": "from json"}',
            "3.webp": picture(3, "WEBP"),
            "3.png": picture(4),
            "4.seg.png": picture(5),
            "5.gif": picture(6, "GIF"),
            "5.txt": b"",
        },
    )
    read_samples = read(path)
    assert [s.key for s in read_samples] == ["x/1", "2", "3", "3", "4", "5"]
    assert [s.caption for s in read_samples] == ["a caf\xe9", "from json", None, None, None, None]
    assert read_samples[0].fields == {"url": "u", "caption": "not this one", "n": 3}
    assert read_samples[0].image_path == "a.tar/x/1.jpg" and read_samples[0].image == picture(
        1, "JPEG"
    )
    assert (
        read_samples[3].image_path == "a.tar/3.png"
        and read_samples[4].image_path == "a.tar/4.seg.png"
    )
    assert [s.image_path for s in read_samples if s.reason] == ["a.tar/3.webp"]


def test_bad_captions_and_json_cost_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "MAX_TEXT_BYTES", 10_000)
    bad = [b"{", b"[1]", b"[" * 9000, b"\xff\xfe", b'{"a": "' + b"x" * 10_000 + b'"}']
    members = {f"{i}.json": data for i, data in enumerate(bad)}
    members = {n: d for i in range(5) for n, d in [(f"{i}.png", picture(i)), (f"{i}.json", bad[i])]}
    assert all(reason for _, reason in reasons(write_tar(tmp_path / "a.tar", members)))
    lone = write_tar(tmp_path / "b.tar", {"1.png": picture(), "1.json": b'{"caption": "\\ud800x"}'})
    assert read(lone)[0].caption is not None and read(lone)[0].reason is None


def test_hostile_members_are_rejected_and_nothing_is_written(tmp_path):
    data = picture()
    (tmp_path / "work").mkdir()
    path = tar_of(
        tmp_path / "work" / "a.tar",
        (info("../../escape.jpg", size=len(data)), data),
        (info("/tmp/absolute.jpg", size=len(data)), data),
        (info("a\x01b.jpg", size=len(data)), data),
        (info("c:/windows.jpg", size=len(data)), data),
        (info("folder", type=tarfile.DIRTYPE), None),
        (info("link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), None),
        (info("hard.jpg", type=tarfile.LNKTYPE, linkname="good.jpg"), None),
        (info("device.jpg", type=tarfile.CHRTYPE, devmajor=1, devminor=3), None),
        (info("pipe.jpg", type=tarfile.FIFOTYPE), None),
        (info("good.jpg", size=len(data)), data),
    )
    before = sorted(tmp_path.rglob("*"))
    read_samples = reasons(path)
    assert [reason is None for _, reason in read_samples] == [False] * 8 + [True]
    assert sum("points outside" in (reason or "") for _, reason in read_samples) == 3
    assert sum("not a regular file" in (reason or "") for _, reason in read_samples) == 4
    assert sorted(tmp_path.rglob("*")) == before
    assert open_images(path).read(["good", "link", "../../escape"]) == [data, None, None]


def test_declared_sizes_are_capped_before_reading(tmp_path):
    path = tmp_path / "a.tar"
    huge = info("huge.jpg", size=10**15).tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(huge + bytes(2048))
    assert [key for key, _ in reasons(path)] == ["huge"]
    assert "beyond the end of the archive" in reasons(path)[0][1]
    long_name = info("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=2**33)
    path.write_bytes(long_name.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ImageError, match="a header asks for"):
        read(path)
    ok = info("1.png", size=len(picture())).tobuf() + picture()
    ok += bytes(-len(ok) % 512)
    path.write_bytes(ok + long_name.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert [reason and reason[:18] for _, reason in reasons(path)] == [None, "archive is damaged"]


def test_negative_sizes_do_not_loop(tmp_path):
    header = bytearray(info("1.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"  # base 256: -1024
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) * 4 + bytes(1024))
    try:
        assert all(reason for _, reason in reasons(path))
    except ImageError as error:
        assert "a.tar" in str(error)


def test_truncated_archives_say_so(tmp_path):
    path = write_tar(tmp_path / "a.tar", {f"{i}.png": picture(i) for i in range(3)})
    whole = path.read_bytes()
    size = len(picture(0)) + 512 + -len(picture(0)) % 512
    path.write_bytes(whole[: size + 700])  # inside the second member
    assert [reason is None for _, reason in reasons(path)] == [True, False]
    path.write_bytes(whole[:size])  # between two members
    assert "no end mark after 1 members" in reasons(path)[-1][1]
    path.write_bytes(whole[: size + 100])  # inside a header
    assert [reason is None for _, reason in reasons(path)] == [True, False]
    damaged = bytearray(whole)
    damaged[size : size + 512] = b"\x55" * 512
    path.write_bytes(damaged)
    assert [reason is None for _, reason in reasons(path)] == [True, False]


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, b"\x1f\x8b\x08" + bytes(600)])
def test_what_is_no_tar_is_named(tmp_path, content):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tar \(\d+ bytes\) is not a tar"):
        read(path)


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(tars, "MAX_MEMBERS", 2)
    path = write_tar(tmp_path / "a.tar", {f"{i}.png": picture(i) for i in range(4)})
    assert [reason is None for _, reason in reasons(path)] == [True, True, False]


@examples(40)
@given(st.data())
def test_fuzzed_archives_never_crash(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    members = {"1.png": picture(), "1.json": b"{}", "2.txt": b"x", "long" * 40 + ".png": picture()}
    content = bytearray(write_tar(folder / "a.tar", members).read_bytes())
    places = st.integers(0, len(content) - 1)
    for at, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=30)):
        content[at] = byte
    (folder / "a.tar").write_bytes(content[: data.draw(places)])
    try:
        shard = TarShard(str(folder / "a.tar"))
        assert len(list(shard.samples())) == shard.survey().n_samples
    except ImageError as error:
        assert "a.tar" in str(error)


def test_a_folder_of_images_in_natural_order(tmp_path, monkeypatch):
    for name in ("10.png", "9.png", "sub/1.jpg", "9.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nine" if name == "9.txt" else picture(len(name)))
    (tmp_path / "notes.md").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.setattr(images, "IMAGES_PER_SHARD", 2)
    shards = find_shards(tmp_path)
    read_samples = [sample for shard in shards for sample in shard.samples()]
    assert [s.key for s in read_samples] == ["9", "10", "notes", "pipe", "sub/1"]
    assert [s.reason is None for s in read_samples] == [True, True, False, False, True]
    assert read_samples[0].caption == "nine" and read_samples[4].image_path == "sub/1.jpg"
    assert [shard.survey().n_samples for shard in shards] == [2, 2, 1]
    gallery = open_images(tmp_path)
    assert gallery.read(["sub/1", "10.png", "11"]) == [picture(9), picture(6), None]


def test_sources_that_are_refused(tmp_path):
    with pytest.raises(ShardNotFoundError, match="missing"):
        find_shards(tmp_path / "missing.tar")
    with pytest.raises(ShardNotFoundError, match="no image"):
        find_shards(tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    with pytest.raises(ImageError, match="unpack"):
        find_shards(tmp_path / "a.tar.gz")
    write_tar(tmp_path / "a.tar", {"1.png": picture()})
    (tmp_path / "b.png").write_bytes(picture())
    with pytest.raises(OptionError, match="1 archives and 1 images"):
        find_shards(tmp_path)
    assert [s.name for s in find_shards(str(tmp_path / "*.tar"))] == ["a.tar"]


def test_archives_on_other_stores(tmp_path):
    import fsspec

    local = write_tar(tmp_path / "a.tar", {"1.png": picture()})
    store = fsspec.filesystem("memory")
    store.pipe("/images_test/a.tar", local.read_bytes())
    try:
        (shard,) = find_shards("memory://images_test/*.tar")
        assert next(shard.samples()).image == picture()
        assert open_images("memory://images_test/a.tar").read(["1"]) == [picture()]
    finally:
        store.rm("/images_test", recursive=True)


def test_a_store_that_fails_is_not_an_image_that_is_missing(tmp_path, monkeypatch):
    write_tar(tmp_path / "a.tar", {"1.png": picture()})
    pq.write_table(pa.table({"image": [picture()]}), tmp_path / "b.parquet")

    def fail(*args, **kwargs):
        raise TimeoutError("no answer")

    for name in ("a.tar", "b.parquet"):
        opened = open_images(tmp_path / name)
        key = opened.read([f"{name}/1.png", f"{name}/0"]).index(picture())
        with monkeypatch.context() as patch:
            patch.setattr(LocalFileSystem, "open", fail)
            with pytest.raises(ShardError, match="no answer"):
                opened.read([f"{name}/1.png" if key == 0 else f"{name}/0"])


def test_open_images_indexes_each_archive_once(tmp_path, monkeypatch):
    for name, seed in (("a.tar", 1), ("b.tar", 2)):
        write_tar(tmp_path / name, {"same.png": picture(seed), f"{seed}.png": picture(seed + 10)})
    calls = []
    real = image_shards.image_offsets
    monkeypatch.setattr(
        image_shards, "image_offsets", lambda path: calls.append(path) or real(path)
    )
    gallery = pickle.loads(pickle.dumps(open_images(tmp_path)))
    assert calls == [] and "2 shards" in repr(gallery)
    assert gallery.read(["b.tar/same.png"]) == [picture(2)] and len(calls) == 1
    read_samples = gallery.read(["1", "2", "a.tar/2.png", "none"])
    assert read_samples == [picture(11), picture(12), None, None] and len(calls) == 2
    with pytest.raises(ImageError, match=r"'same' matches 2 images, in a\.tar, b\.tar"):
        gallery.read(["same"])


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the real photographs are not available")
def test_real_photographs():
    shards = find_shards(PHOTOS)
    read_samples = [sample for shard in shards for sample in shard.samples()]
    assert len(read_samples) == 9 and not any(sample.reason for sample in read_samples)
    assert all(decoding.decode(sample.image).mode == "RGB" for sample in read_samples)
    keys = [sample.image_path for sample in read_samples]
    assert open_images(PHOTOS).read(keys) == [sample.image for sample in read_samples]
