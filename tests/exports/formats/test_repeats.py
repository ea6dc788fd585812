"""Rows that are drawn several times, and rows with a record for each caption, in every format."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.shards import write_shard

import laion_dask as ld
from laion_dask.errors import SchemaError

N = 9
REPEATS = [1, 3, 0, 2, 1, 1, 4, 1, 2]
CAPTIONS = [["a", "b"], [], None, ["c", " ", "c"], ["d"], [None], ["e"], ["f", "g"], ["h"]]
_TEXTS = [[text for text in one or [] if text and text.strip()] for one in CAPTIONS]
RECORDS = [(n, text) for n, texts in enumerate(_TEXTS) for text in texts or [None]]
MISSING = 4
FORMATS = ["parquet", "csv", "urls", "img2dataset", "huggingface"]


def columns() -> dict:
    return {
        "key": [f"{n:09d}" for n in range(N)],
        "url": [f"http://e/{n}" for n in range(N)],
        "uid": [f"{n:032x}" for n in range(N)],
        "captions": pa.array(CAPTIONS, pa.list_(pa.string())),
    }


@pytest.fixture
def corpus(tmp_path):
    """A frame of two shards, and a folder of its images."""
    table = pa.table(columns())
    write_shard(tmp_path / "in" / "a_0.parquet", table.slice(0, 5))
    write_shard(tmp_path / "in" / "a_1.parquet", table.slice(5))
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "00000.tar", "w") as tar:
        for n in range(N):
            if n != MISSING:
                file = io.BytesIO()
                Image.new("RGB", (8, 8), (n * 20, n, 9)).save(file, "JPEG")
                for suffix, content in (
                    ("jpg", file.getvalue()),
                    ("json", json.dumps({"url": f"http://e/{n}"}).encode()),
                ):
                    entry = tarfile.TarInfo(f"{n:09d}.{suffix}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    return ld.read_shards(str(tmp_path / "in")), str(tmp_path / "tars")


def samples(out) -> list[tuple[str, dict]]:
    found = []
    for path in sorted((out / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    key = member.name.removesuffix(".json")
                    found.append((key, json.load(tar.extractfile(member))))
    return found


def with_repeats(frame):
    number = frame["url"].str.removeprefix("http://e/").astype(int)
    return frame.assign(repeats=number.map(dict(enumerate(REPEATS)), meta=("url", "int64")))


def test_webdataset_has_a_row_as_often_as_it_is_drawn(corpus, tmp_path):
    frame, tars = corpus
    drawn = with_repeats(frame)[["key", "url", "repeats", "shard", "row"]]
    options = {"format": "webdataset", "images": tars}
    done = drawn.laion.export(tmp_path / "out", rows_per_part=4, **options)
    found = samples(tmp_path / "out")
    expected = [n for n in range(N) if n != MISSING for _ in range(REPEATS[n])]
    assert [int(row["url"].rpartition("/")[2]) for _, row in found] == expected
    assert len({key for key, _ in found}) == len(found)
    assert [key for key, _ in found][:4] == [
        "00000-00000", "00000-00001", "00000-00001-1", "00000-00001-2",
    ]  # fmt: skip
    counts = {"samples": len(expected), "missing_images": 1, "missing_captions": len(expected)}
    assert done.manifest["file_counts"] == counts
    assert done.manifest["draws"] == sum(REPEATS)
    assert f"{sum(REPEATS)} draws (the sum of the column repeats)" in str(done)
    once = drawn.drop(columns="repeats").laion.export(tmp_path / "once", **options)
    assert "draws" not in once.manifest and len(samples(tmp_path / "once")) == N - 1


def test_images_that_rows_share_are_withheld_from_all_draws(corpus, tmp_path):
    frame, tars = corpus
    named = with_repeats(frame).assign(key="000000001")[["key", "repeats", "shard", "row"]]
    done = named.laion.export(tmp_path / "out", format="webdataset", images=tars)
    assert done.manifest["file_counts"] == {"samples": 0, "missing_images": N}
    assert samples(tmp_path / "out") == []


@pytest.mark.parametrize("format", FORMATS)
def test_other_formats_have_a_row_once(corpus, tmp_path, format):
    done = with_repeats(corpus[0]).laion.export(tmp_path / "out", format, rows_per_part=4)
    assert done.manifest["draws"] == sum(REPEATS)
    assert ld.verify(done.path).rows == N
    assert f"repeats: {sum(REPEATS)}." in (tmp_path / "out" / "_datasheet.md").read_text()
    if format == "parquet":
        table = pq.read_table(tmp_path / "out" / "shards")
        assert table["repeats"].to_pylist() == REPEATS


def test_a_column_of_another_kind(corpus, tmp_path):
    frame, tars = corpus
    other = frame.assign(repeats="often")
    assert "draws" not in other.laion.export(tmp_path / "out").manifest
    with pytest.raises(SchemaError, match="'repeats' is"):
        other.laion.export(tmp_path / "no", format="webdataset", images=tars)
    negative = frame.assign(repeats=-1)
    assert "draws" not in negative.laion.export(tmp_path / "out").manifest
    with pytest.raises(SchemaError, match="negative"):
        negative.laion.export(tmp_path / "no", format="webdataset", images=tars)


def test_captions_become_samples(corpus, tmp_path):
    frame, tars = corpus
    exploded = frame.laion.explode_captions("captions")
    done = exploded.laion.export(tmp_path / "out", "webdataset", images=tars, rows_per_part=4)
    rows = [row for _, row in samples(tmp_path / "out")]
    found = [(int(row["url"].rpartition("/")[2]), row["text"]) for row in rows]
    assert found == [(n, text) for n, text in RECORDS if n != MISSING]
    assert done.rows == ld.Rows(N, N, 0, 0, 0, len(RECORDS))
    counts = done.manifest["file_counts"]
    assert counts["samples"] + counts["missing_images"] == len(RECORDS)
    assert counts["missing_captions"] == sum(text is None for _, text in RECORDS)


@pytest.mark.parametrize("format", [*FORMATS, "datacomp"])
def test_captions_become_lines(corpus, tmp_path, format):
    exploded = corpus[0].laion.explode_captions("captions").shuffle("uid", npartitions=2)
    done = exploded.laion.export(tmp_path / "out", format)
    assert ld.verify(done.path).rows == len(RECORDS)
    paths = sorted(path for path in (tmp_path / "out" / "shards").rglob("*.*"))
    if format == "urls":
        lines = "".join(path.read_text() for path in paths).splitlines()
        assert lines == [f"http://e/{n}" for n, _ in RECORDS]
    elif format == "datacomp":
        assert np.load(paths[-1])["f1"].tolist() == [n for n, _ in RECORDS]
    elif format in ("parquet", "huggingface"):
        files = [path for path in paths if path.suffix == ".parquet"]
        table = pa.concat_tables(map(pq.read_table, files))
        assert table["text"].to_pylist() == [text for _, text in RECORDS]


def test_captions_have_the_embedding_of_their_row(corpus, tmp_path):
    frame = corpus[0]
    vectors = np.random.default_rng(0).standard_normal((N, 128)).astype(np.float32)
    (tmp_path / "emb").mkdir()
    np.save(tmp_path / "emb" / "img_emb_0.npy", vectors[:5])
    np.save(tmp_path / "emb" / "img_emb_1.npy", vectors[5:])
    emb = ld.open_embeddings(str(tmp_path / "emb"), model="demo", like=frame)
    exploded = frame.laion.explode_captions("captions").laion.where("text is not None")
    exploded.laion.export(tmp_path / "out", "embeddings", embeddings=emb, rows_per_part=4)
    paths = sorted((tmp_path / "out" / "shards").glob("*.npy"))
    rows = [n for n, text in RECORDS if text is not None]
    assert (np.concatenate([np.load(path) for path in paths]) == vectors[rows]).all()
