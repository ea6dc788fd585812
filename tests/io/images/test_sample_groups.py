"""How files are grouped into rows: keys with dots, repeated names, strays, encodings, twins."""

import io
import tarfile

import pytest
from support.small_clip import picture, write_tar

import laion_dask as ld
from laion_dask.errors import DiscoveryWarning, ImageError, OptionError, ShardError
from laion_dask.io.images.images import find_shards, open_images

APART = "must be adjacent"


def tar(path, members):
    """Write a tar of (name, bytes) pairs, in which names may repeat."""
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def read(source, invalid_text="reject"):
    with ld.set_options(invalid_text=invalid_text):
        return [sample for shard in find_shards(source) for sample in shard.samples()]


def facts(samples):
    return [(s.key, s.caption, s.reason) for s in samples]


def check_paths(source):
    """Check that paths are unique and that each leads to its row's image."""
    good = [sample for sample in read(source) if sample.reason is None]
    paths = [sample.image_path for sample in good]
    assert len(set(paths)) == len(paths)
    assert open_images(source).read(paths) == [sample.image for sample in good]
    return paths


def test_archives_of_one_name_have_paths_of_their_own(tmp_path):
    for seed, name in enumerate(["train/00000.tar", "val/00000.tar"]):
        (tmp_path / name).parent.mkdir()
        write_tar(tmp_path / name, {"0.png": picture(seed)})
    expected = ["train/00000.tar/0.png", "val/00000.tar/0.png"]
    files = [str(tmp_path / name) for name in ("train/00000.tar", "val/00000.tar")]
    braces = str(tmp_path / "{train,val}" / "{00000..00000}.tar")
    for source in (tmp_path, str(tmp_path / "*" / "*.tar"), files, braces, str(tmp_path / "*")):
        assert check_paths(source) == expected
    images = open_images(tmp_path)
    for ambiguous in ("00000.tar/0.png", "0"):
        with pytest.raises(ImageError, match=r"2 images, in train/00000\.tar, val/00000\.tar"):
            images.read([ambiguous])
    assert open_images(tmp_path / "val").read(["00000.tar/0.png", "val/00000.tar/0.png"]) == [
        picture(1),
        picture(1),
    ]
    assert open_images(tmp_path / "val").read(["train/00000.tar/0.png"]) == [None]
    write_tar(tmp_path / "00000.tar", {"0.png": picture(2)})
    assert check_paths(tmp_path) == ["./00000.tar/0.png", *expected]
    with pytest.raises(ImageError, match="3 images"):
        open_images(tmp_path).read(["00000.tar/0.png"])


def test_parquet_files_of_one_name_have_paths_of_their_own(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for seed, name in enumerate(["train", "val"]):
        (tmp_path / name).mkdir()
        table = pa.table({"jpg": [picture(seed)], "key": ["5"]})
        pq.write_table(table, tmp_path / name / "0.parquet")
    assert check_paths(tmp_path) == ["train/0.parquet/0", "val/0.parquet/0"]
    with pytest.raises(ImageError, match="2 images"):
        open_images(tmp_path).read(["0.parquet/0"])
    assert open_images(tmp_path / "val").read(["0", "5"]) == [None, picture(1)]


def test_keys_with_dots_keep_their_captions(tmp_path):
    members = []
    for stem in ("22.05", "22.06", "plain", "www.a.com_1", "www.b.com_2"):
        members += [(f"{stem}.json", b'{"n": 1}'), (f"{stem}.png", picture(len(members)))]
        members += [(f"{stem}.txt", stem.encode())]
    members.insert(6, ("22.07.txt", b"its image is gone"))
    path = tar(tmp_path / "a.tar", members)
    samples = [(s.key, s.caption, s.fields) for s in read(path) if s.reason is None]
    stems = ["22.05", "22.06", "plain", "www.a.com_1", "www.b.com_2"]
    assert samples == [(stem, stem, {"n": 1}) for stem in stems]
    assert [s.key for s in read(path) if s.reason] == ["22.07"]
    check_paths(path)
    assert open_images(path).read(["22.06"]) == [picture(3)]


@pytest.mark.parametrize("n", [200, 1000])
def test_many_keys_of_one_first_part(tmp_path, n):
    members = []
    for i in range(n):
        members += [(f"www.{i}.txt", str(i).encode()), (f"www.{i}.png", b"image")]
    samples = read(tar(tmp_path / "a.tar", members))
    assert [(s.key, s.caption) for s in samples] == [(f"www.{i}", str(i)) for i in range(n)]


def test_names_that_occur_twice(tmp_path):
    one, two = picture(1), picture(2)
    side = [("a.png", one), ("a.txt", b"1st"), ("a.png", two), ("a.txt", b"2nd")]
    assert facts(read(tar(tmp_path / "a.tar", side))) == [("a", "1st", None), ("a", "2nd", None)]
    assert check_paths(tmp_path / "a.tar") == ["a.tar/a.png", "a.tar/a.png#2"]
    with pytest.raises(ImageError, match="'a' matches 2 images"):
        open_images(tmp_path / "a.tar").read(["a"])
    far = [pair for i in range(40) for pair in [(f"{i}.png", picture(i)), (f"{i}.txt", b"x")]]
    far += [("0.png", one), ("0.txt", b"new"), ("0.png#2.png", two), ("0.png#2.png", one)]
    samples = read(tar(tmp_path / "b.tar", far))
    assert len(samples) == 43 and samples[40].caption == "new"
    assert check_paths(tmp_path / "b.tar")[40] == "b.tar/0.png#2"


def test_strays_between_the_files_of_a_sample(tmp_path):
    members = []
    for i in range(3):
        members += [(f"._{i}.png", b"x"), (f"{i}.png", picture(i)), (f"d/._{i}.txt", b"x")]
        members += [("LICENSE", b"x"), (".DS_Store", b"x"), (f"__MACOSX/._{i}.txt", b"x")]
        members += [("README.md", b"x"), (f"{i}.txt", str(i).encode()), ("__meta__", b"{}")]
    samples = read(tar(tmp_path / "a.tar", members))
    assert [(s.key, s.caption) for s in samples if not s.reason] == [
        (str(i), str(i)) for i in "012"
    ]
    assert {s.key for s in samples if s.reason} == {"LICENSE", "README"}


def test_names_of_fields(tmp_path):
    members = [("s0.input.png", picture(0)), ("s0.outputs.txt", b"zero")]
    members += [("s1.depth.png", picture(2)), ("s1.png", picture(1)), ("s1.txt", b"one")]
    members += [("s2.png", picture(3)), ("s2.en.txt", b"star"), ("s2.de.txt", b"Stern")]
    members += [("s3.png", picture(4)), ("s3.txt", b"three"), ("s3.alt.txt", b"another")]
    members += [("s4.jpg", picture(5)), ("s4.jpg.json", b'{"caption": "four"}')]
    members += [("s5.caption", b"five"), ("s5.png", picture(6))]
    samples = read(tar(tmp_path / "a.tar", members))
    assert [s.caption for s in samples] == ["zero", None, "one", None, "three", "four", "five"]
    assert [s.image_path for s in samples if s.reason] == ["a.tar/s1.depth.png"]
    assert [s.key for s in samples] == ["s0", "s1", "s1", "s2", "s3", "s4", "s5"]
    assert samples[3].fields == {"en.txt": "star", "de.txt": "Stern"}
    assert samples[4].fields == {"alt.txt": "another"}


SEGMENTED = [("1.jpg", picture(1)), ("1.seg.png", picture(2)), ("1.txt", b"a photo")]
PAIR = [("1.left.png", picture(1)), ("1.right.png", picture(2))]
#: Archive members; (key, image, caption) per row; the rejected images.
PICTURES_OF_ONE_KEY = [
    (SEGMENTED, [("1", "1.jpg", "a photo")], ["1.seg.png"]),
    (SEGMENTED[::-1], [("1", "1.jpg", "a photo")], ["1.seg.png"]),
    ([*SEGMENTED, ("1.seg.json", b"{}")], [("1", "1.jpg", "a photo")], ["1.seg.png"]),
    ([("1.JPG", b"x"), ("1.seg.v2.png", b"y")], [("1", "1.JPG", None)], ["1.seg.v2.png"]),
    ([("1.webp", b"x"), ("1.png", b"y"), ("1.txt", b"z")], [("1", "1.png", "z")], ["1.webp"]),
    ([("1.jpg", b"x"), ("1.ocr.txt", b"letters")], [("1", "1.jpg", None)], []),
    (PAIR, [("1.left", "1.left.png", None), ("1.right", "1.right.png", None)], []),
    ([*PAIR, ("1.txt", b"z")], [], ["1.left.png", "1.right.png"]),
    ([*PAIR, ("1.note.json", b"{}")], [], ["1.left.png", "1.right.png"]),
    ([*PAIR, ("1.left.txt", b"z")],
     [("1.left", "1.left.png", "z"), ("1.right", "1.right.png", None)], []),
    ([("22.jpg", b"x"), ("22.txt", b"y"), ("22.05.jpg", b"x"), ("22.05.txt", b"z")],
     [("22", "22.jpg", "y"), ("22.05", "22.05.jpg", "z")], []),
    ([("22.05.jpg", b"x"), ("22.txt", b"of another")], [("22.05", "22.05.jpg", None)], ["22.txt"]),
    ([("1.jpg", b"x"), ("1.png", b"y"), ("1.jpg.txt", b"j"), ("1.png.txt", b"p")],
     [("1", "1.jpg", "j"), ("1.png", "1.png", "p")], []),
    ([("www.a.b_1.jpg", b"x"), ("www.c.d_2.txt", b"z")],
     [("www.a.b_1", "www.a.b_1.jpg", None)], ["www.c.d_2.txt"]),
]  # fmt: skip


@pytest.mark.parametrize(("members", "rows", "rejects"), PICTURES_OF_ONE_KEY)
def test_several_pictures_of_one_key(tmp_path, members, rows, rejects):
    path = tar(tmp_path / "a.tar", members)
    samples = read(path)
    assert [(s.key, s.image_path[6:], s.caption) for s in samples if not s.reason] == rows
    assert [s.image_path[6:] for s in samples if s.reason] == rejects
    opened, data = open_images(path), dict(members)
    assert opened.read([key for key, _, _ in rows]) == [data[name] for _, name, _ in rows]
    check_paths(path)


def test_a_second_picture_says_whose_it_is(tmp_path):
    reasons = [s.reason for s in read(tar(tmp_path / "a.tar", SEGMENTED)) if s.reason]
    assert reasons == ["sample '1' has the image 1.jpg; this is another of its fields"]
    reasons = [s.reason for s in read(tar(tmp_path / "b.tar", [*PAIR, ("1.txt", b"z")]))]
    assert all("none named 1.jpg" in reason and "1.txt" in reason for reason in reasons)


def test_pictures_of_one_stem_in_a_folder_have_keys_of_their_own(tmp_path):
    for name, data in {"1.jpg": picture(1), "1.png": picture(2), "1.txt": b"both"}.items():
        (tmp_path / name).write_bytes(data)
    assert facts(read(tmp_path)) == [("1", "both", None), ("1.png", "both", None)]
    assert open_images(tmp_path).read(["1", "1.png"]) == [picture(1), picture(2)]


def test_files_of_a_sample_that_lie_apart_say_so(tmp_path):
    images = [(f"{i:03}.png", picture(i)) for i in range(40)]
    texts = [(f"{i:03}.txt", str(i).encode()) for i in range(40)]
    samples = read(tar(tmp_path / "a.tar", images + texts))
    alone = [s for s in samples if s.reason]
    with_caption = [s for s in samples if s.caption]
    assert len(alone) + len(with_caption) == 40 and all(APART in s.reason for s in alone)
    assert all(s.caption == str(int(s.key)) for s in with_caption)


ENCODED = {
    "mark": "a caf\xe9".encode("utf-8-sig"),
    "utf-16": "a caf\xe9".encode("utf-16"),
    "utf-16-be": "a caf\xe9".encode("utf-16-be"),
    "utf-16-le": "a caf\xe9".encode("utf-16-le"),
    "utf-32": "a caf\xe9".encode("utf-32"),
}


def test_encodings_of_captions(tmp_path):
    members = []
    for name, data in ENCODED.items():
        members += [(f"{name}.png", picture()), (f"{name}.txt", data)]
    members += [("json.png", picture()), ("json.json", '{"text": "a caf\xe9"}'.encode("utf-16"))]
    path = tar(tmp_path / "a.tar", members)
    assert [s.caption for s in read(path, "raise")] == ["a caf\xe9"] * 6
    for kind, data in {"txt": b"a caf\xe9", "json": b'{"text": "a caf\xe9"}'}.items():
        path = tar(tmp_path / "b.tar", [("1.png", picture()), (f"1.{kind}", data)])
        assert "is not UTF-8" in read(path)[0].reason
        with pytest.raises(ShardError, match=r"b\.tar/1\.png.*--invalid-text reject"):
            read(path, "raise")


def test_nan_is_null(tmp_path):
    from laion_dask.inference.metadata_columns import metadata_table, plan_columns
    from laion_dask.io.images.shards import Survey

    fields = [b'{"n": NaN, "x": "text", "l": [NaN]}', b'{"n": 1, "x": NaN, "l": 2}', b'{"n": null}']
    members = [
        (f"{i}.{k}", d) for i, f in enumerate(fields) for k, d in (("png", b"x"), ("json", f))
    ]
    samples = read(tar(tmp_path / "a.tar", members))
    survey = Survey()
    for sample in samples:
        survey.add(sample)
    table = metadata_table(samples, plan_columns([survey], [], []), {})
    assert table["n"].to_pylist() == [None, 1, None] and str(table["n"].type) == "int64"
    assert table["x"].to_pylist() == ["text", None, None]
    assert table["l"].to_pylist() == ["[null]", "2", None]


def test_folders_of_images(tmp_path):
    for name, data in {
        "a/1.jpg": picture(1),
        "a/1.jpg.json": b'{"caption": "one"}',
        "a/1.png": picture(2),
        "b/2.tif": picture(3),
        "b/2.txt": b"two",
        "b/.3.png": b"x",
        ".hidden/4.png": b"x",
    }.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "c").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "5.avif").write_bytes(picture(4))
    (tmp_path / "other" / "loop").symlink_to(tmp_path / "other")
    rows = [("a/1.jpg", "one"), ("a/1.png", None), ("b/2.tif", "two"), ("c/5.avif", None)]
    folder = tmp_path / "in"
    with pytest.warns(DiscoveryWarning, match="2 hidden"):
        assert [(s.image_path, s.caption) for s in read(folder)] == rows
    pattern = [str(folder / "*" / f"*.{kind}") for kind in ("jpg", "png", "tif", "avif")]
    with pytest.warns(DiscoveryWarning, match="hidden"):
        assert [(s.image_path, s.caption) for s in read(pattern)] == rows
    assert [s.image_path for s in read([folder / "a", folder / "c"])] == [
        "a/1.jpg",
        "a/1.png",
        "c/5.avif",
    ]
    with pytest.raises(OptionError, match="named twice"):
        read([folder / "c", tmp_path / "other"])


def test_what_a_shell_names_beside_archives_and_images(tmp_path):
    for name, data in {"1.png": picture(1), "1.txt": b"one", "1.json": b"{}"}.items():
        (tmp_path / name).write_bytes(data)
    expanded = sorted(tmp_path.iterdir())
    assert [(s.image_path, s.caption) for s in read(expanded)] == [("1.png", "one")]
    (tmp_path / "out").mkdir()
    write_tar(tmp_path / "out" / "0.tar", {"1.png": picture(1)})
    for name in ("0.parquet", "0_stats.json"):
        (tmp_path / "out" / name).touch()
    message = (
        r"1 that lie beside .*0_stats.json\); 1 beside an archive of the same name .*0\.parquet"
    )
    with pytest.warns(DiscoveryWarning, match=message):
        samples = read(sorted((tmp_path / "out").iterdir()))
    assert [s.image_path for s in samples] == ["0.tar/1.png"]


def test_linked_and_hidden_archives(tmp_path):
    (tmp_path / "in" / ".old").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    write_tar(tmp_path / "in" / "A.TAR", {"1.png": picture(1)})
    write_tar(tmp_path / "in" / ".old" / "b.tar", {"1.png": picture(2)})
    write_tar(tmp_path / "far" / "c.tar", {"1.png": picture(3)})
    (tmp_path / "in" / "link").symlink_to(tmp_path / "far")
    for source in (tmp_path / "in", str(tmp_path / "in" / "**" / "*")):
        with pytest.warns(DiscoveryWarning, match=r"1 hidden.*b\.tar"):
            assert [s.image_path for s in read(source)] == ["A.TAR/1.png", "link/c.tar/1.png"]
