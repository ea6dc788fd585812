"""webdataset's tars and img2dataset's input: what their own readers make of them."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.file_server import serving
from support.shards import write_shard

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError, ShardNotFoundError

N = 12
MISSING, BROKEN, UNCAPTIONED = 3, 4, 5


def picture(i: int, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (i * 20, i, 9)).save(file, kind)
    return file.getvalue()


PICTURES = {i: picture(i, "PNG" if i % 4 == 2 else "JPEG") for i in range(N)}
PICTURES[BROKEN] = PICTURES[BROKEN][:-10]
CAPTIONS = [f"caption {i}\n\x00 \U0001f600" for i in range(N)]


@pytest.fixture
def corpus(tmp_path):
    """A frame whose keys have dots and slashes, and a tar of its images, in another order."""
    keys = [f"a/b.{i}" if i % 3 else f"{i:09d}" for i in range(N)]
    captions = [None if i == UNCAPTIONED else text for i, text in enumerate(CAPTIONS)]
    names = [f"{key}.{'png' if i % 4 == 2 else 'jpg'}" for i, key in enumerate(keys)]
    paths = [f"00000.tar/{name}" for name in names]
    columns = {"image_path": paths, "text": captions, "score": [float("nan")] * N}
    write_shard(tmp_path / "in" / "a_0.parquet", pa.table(columns).slice(0, 7))
    write_shard(tmp_path / "in" / "a_1.parquet", pa.table(columns).slice(7))
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "00000.tar", "w") as tar:
        for i in reversed(range(N)):
            if i != MISSING:
                entry = tarfile.TarInfo(names[i])
                entry.size = len(PICTURES[i])
                tar.addfile(entry, io.BytesIO(PICTURES[i]))
    return ld.read_shards(str(tmp_path / "in")), str(tmp_path / "tars")


def test_tars_are_the_same_on_every_run_and_count_what_they_lack(corpus, tmp_path):
    frame, tars = corpus
    options = {"format": "webdataset", "rows_per_part": 5}
    done = frame.laion.export(tmp_path / "out", images=ld.open_images(tars), **options)
    frame.repartition(npartitions=1).laion.export(tmp_path / "again", images=tars, **options)
    paths = sorted((tmp_path / "out" / "shards").glob("*.tar"))
    assert [path.name for path in paths] == ["00000.tar", "00001.tar", "00002.tar"]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "again" / "shards" / path.name).read_bytes()
    counts = {"samples": 10, "missing_images": 1, "broken_images": 1, "missing_captions": 1}
    assert done.manifest["file_counts"] == counts and done.rows.kept == N
    assert "1 broken images, 1 missing captions, 1 missing images, 10 samples" in str(done)
    assert ld.verify(tmp_path / "out").rows == N
    undecoded = frame.laion.export(tmp_path / "out", images=tars, decode=False, **options)
    assert undecoded.manifest["file_counts"]["samples"] == 11


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_webdataset_reads_the_samples_in_order(corpus, tmp_path):
    wds = pytest.importorskip("webdataset")
    frame, tars = corpus
    frame.laion.export(tmp_path / "out", format="webdataset", images=tars, rows_per_part=5)
    urls = [str(path) for path in sorted((tmp_path / "out" / "shards").glob("*.tar"))]
    samples = list(wds.WebDataset(urls, shardshuffle=False, empty_check=False))
    rows = [json.loads(sample["json"])["row"] for sample in samples]
    shards = [json.loads(sample["json"])["shard"] for sample in samples]
    position = [row + 7 * shard for row, shard in zip(rows, shards, strict=True)]
    assert position == [i for i in range(N) if i not in (MISSING, BROKEN)]
    for i, sample in zip(position, samples, strict=True):
        assert sample.get("jpg", sample.get("png")) == PICTURES[i]
        text = sample.get("txt")
        assert text == (None if i == UNCAPTIONED else CAPTIONS[i].encode())
        assert json.loads(sample["json"])["score"] is None
    assert len({sample["__key__"] for sample in samples}) == len(samples)
    with tarfile.open(urls[0]) as tar:
        assert {member.mtime for member in tar} == {0}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_open_clip_trains_on_the_tars(corpus, tmp_path):
    data = pytest.importorskip("open_clip_train.data")
    wds = pytest.importorskip("webdataset")
    frame, tars = corpus
    frame.laion.export(tmp_path / "out", format="webdataset", images=tars)
    path = str(tmp_path / "out" / "shards" / "00000.tar")

    def samples(src):
        """As open_clip's ``tarfile_to_samples_nothrow``, without webdataset's marks of ends."""
        streams = wds.tariterators.url_opener(src, handler=data.log_and_continue)
        members = wds.tariterators.tar_file_expander(
            streams, handler=data.log_and_continue, eof_value=None
        )
        return data.group_by_keys_nothrow(members, handler=data.log_and_continue)

    pipeline = wds.DataPipeline(
        wds.SimpleShardList([path]),
        samples,
        wds.select(data.filter_no_caption_or_no_image),
        wds.decode("pilrgb", handler=data.log_and_continue),
        wds.rename(image="jpg;png;jpeg;webp", text="txt"),
        wds.to_tuple("image", "text"),
    )
    pairs = list(pipeline)
    expected = [CAPTIONS[i] for i in range(N) if i not in (MISSING, BROKEN, UNCAPTIONED)]
    assert [text for _, text in pairs] == expected and pairs[0][0].size == (40, 30)


def test_no_samples_no_captions_and_wrong_images(corpus, tmp_path):
    frame, tars = corpus
    options = {"format": "webdataset", "images": tars}
    none = frame[frame["text"] == "x"].laion.export(tmp_path / "none", **options)
    assert none.manifest["file_counts"] == {"missing_images": 0, "samples": 0}
    bare = frame.drop(columns="text").laion.export(tmp_path / "bare", **options)
    assert bare.manifest["file_counts"]["missing_captions"] == 10
    with pytest.raises(ColumnError, match="image_path"):
        frame.drop(columns="image_path").laion.export(tmp_path / "no", **options)
    with pytest.raises(ColumnError, match="alt"):
        frame.laion.export(tmp_path / "no", caption="alt", **options)
    with pytest.raises(ShardNotFoundError):
        frame.laion.export(tmp_path / "no", format="webdataset", images=str(tmp_path / "nowhere"))
    with pytest.raises(OptionError, match="decode"):
        frame.laion.export(tmp_path / "no", decode="yes", **options)


def test_img2dataset_downloads_what_the_script_says(tmp_path):
    """One address does not exist. This release of img2dataset verifies no digests."""
    program = Path(sys.executable).with_name("img2dataset")
    if not program.exists():
        pytest.skip("img2dataset is not installed")
    (tmp_path / "web").mkdir()
    for i in range(3):
        (tmp_path / "web" / f"{i}.jpg").write_bytes(picture(i))
    with serving(tmp_path / "web") as server:
        columns = {
            "url": [f"{server.url}/{i}.jpg" for i in range(4)],
            "text": ["it's", 'a "quoted"', "three", "four"],
            "width": pa.array(range(4), pa.int32()),
            "KEY": list("abcd"),
            'it\'s "a" name': [1, 2, 3, 4],
            "when": pa.array([0] * 4, pa.timestamp("s")),
        }
        write_shard(tmp_path / "in" / "a.parquet", pa.table(columns))
        ld.read_shards(str(tmp_path / "in")).laion.export(tmp_path / "out", format="img2dataset")
        env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
        command = ["sh", str(tmp_path / "out" / "img2dataset.sh")]
        command += ["--processes_count=1", "--thread_count=2", "--resize_mode=no"]
        command += ["--skip_reencode=True"]  # its resizing needs an older albumentations
        env["IMAGES"] = str(tmp_path / "got")
        subprocess.run(command, check=True, env=env, capture_output=True, timeout=240)
    (found,) = (tmp_path / "got").glob("*.parquet")
    table = pq.read_table(found).sort_by("key")
    assert [s == "success" for s in table["status"].to_pylist()] == [True, True, True, False]
    assert table["source_width"].to_pylist() == list(range(4))
    assert table["source_KEY"].to_pylist() == list("abcd")
    assert table["caption"].to_pylist() == columns["text"]
    assert 'it\'s "a" name' in table.column_names and "when" not in table.column_names


@pytest.mark.parametrize(("name", "digits"), [("sha256", 64), ("md5", 32)])
def test_img2dataset_verifies_digests_in_lower_case(tmp_path, name, digits):
    columns = {"url": ["a", "b"], name: ["A" * digits, "0" * digits]}
    write_shard(tmp_path / "in" / "a.parquet", pa.table(columns))
    ld.read_shards(str(tmp_path / "in")).laion.export(tmp_path / "out", format="img2dataset")
    script = (tmp_path / "out" / "img2dataset.sh").read_text()
    assert f"--compute_hash={name}" in script and f'--verify_hash=["{name}", "{name}"]' in script
    (path,) = (tmp_path / "out" / "shards").glob("*.parquet")
    assert pq.read_table(path)[name].to_pylist() == ["a" * digits, "0" * digits]


def test_img2dataset_verifies_no_digest_that_some_rows_lack(tmp_path):
    columns = {"url": ["a", "b"], "sha256": ["0" * 64, None], "status": ["x", "y"]}
    write_shard(tmp_path / "in" / "a.parquet", pa.table({**columns, "source_status": [1, 2]}))
    ld.read_shards(str(tmp_path / "in")).laion.export(tmp_path / "out", format="img2dataset")
    script = (tmp_path / "out" / "img2dataset.sh").read_text()
    assert "verify_hash" not in script and "1 rows have no sha256" in script
    (path,) = (tmp_path / "out" / "shards").glob("*.parquet")
    assert {"source_status", "source_status_"} < set(pq.read_schema(path).names)
    ld.verify(tmp_path / "out")


@pytest.mark.parametrize("rows_per_part", [1, 3, 5, 100])
@pytest.mark.parametrize("proof", [None, "url", "caption"])
def test_no_row_gets_an_image_that_rows_of_another_source_name(proof, rows_per_part, tmp_path):
    """Two sources of the same keys, of which the images of one were downloaded."""
    keys = [f"{i:09d}" for i in range(6)]
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for i, key in enumerate(keys):
            fields = json.dumps({"url": f"https://a.example/{i}"}).encode()
            files = [("png", PICTURES[2])] + ([] if proof is None else [("json", fields)])
            for suffix, content in files:
                entry = tarfile.TarInfo(f"{key}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    for n, source in enumerate("ab"):
        chosen = keys if n == 0 else keys[3:]
        if proof == "url":
            urls = [f"https://{source}.example/{int(key)}" for key in chosen]
        else:  # overlapping subsets, with other captions
            urls = [f"https://a.example/{int(key)}" for key in chosen]
        columns = {"key": chosen, "url": urls, "text": [f"caption {source}"] * len(chosen)}
        if proof is None:
            columns["text"][0] = None  # of a row that keeps its image
            del columns["url"]
        write_shard(tmp_path / "in" / f"a_{n}.parquet", pa.table(columns))
    options = {"images": str(tmp_path / "00000.tar"), "rows_per_part": rows_per_part}
    frame = ld.read_shards(str(tmp_path / "in"))
    done = frame.laion.export(tmp_path / "out", "webdataset", **options)
    got = []
    for path in sorted((tmp_path / "out" / "shards").iterdir()):
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                texts = [tar.extractfile(m).read() for m in tar if m.name.endswith(".json")]
            got += [(one["shard"], one["row"]) for one in map(json.loads, texts)]
    expected = [(0, i) for i in range(6 if proof == "url" else 3)]
    assert got == expected
    counts = {"samples": len(expected), "missing_images": 9 - len(expected)}
    counts |= {"missing_captions": 1} if proof is None else {}
    assert done.manifest["file_counts"] == counts
    assert ld.verify(tmp_path / "out").rows == 9


def test_contested_images_leave_nothing_in_a_store(tmp_path):
    from fsspec.implementations.memory import MemoryFileSystem

    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        entry = tarfile.TarInfo("0.png")
        entry.size = len(PICTURES[2])
        tar.addfile(entry, io.BytesIO(PICTURES[2]))
    for n in range(2):
        table = pa.table({"key": ["0"], "text": ["a" * (n + 1)]})
        write_shard(tmp_path / "in" / f"a_{n}.parquet", table)
    frame = ld.read_shards(str(tmp_path / "in"))
    images = str(tmp_path / "0.tar")
    done = frame.laion.export("memory://claims", "webdataset", images=images, rows_per_part=1)
    assert done.manifest["file_counts"] == {"missing_images": 2, "samples": 0}
    assert not [path for path in MemoryFileSystem().find("/claims") if "claims.npy" in path]
    assert len([path for path in MemoryFileSystem().find("/claims") if path.endswith(".tar")]) == 2
    MemoryFileSystem().rm("/claims", recursive=True)
