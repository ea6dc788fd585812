"""Parquet files with image bytes: column detection, limits, damage, and complete row counts."""

import datetime
import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.small_clip import make_small_clip, picture

from laion_dask.errors import ImageError, OptionError, ShardError, ShardNotFoundError
from laion_dask.inference.embed import embed
from laion_dask.io.images import parquet, parquet_layout
from laion_dask.io.images.images import find_shards, open_images
from laion_dask.io.images.parquet import ParquetShard
from laion_dask.io.images.shards import TarShard
from laion_dask.models import ClipModel

HUGGING_FACE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ClipModel(*make_small_clip(tmp_path_factory.mktemp("clip"), name="tiny-parquet"))


def rows(path, image=None):
    return list(ParquetShard(str(path), image).samples())


def test_a_binary_column_with_metadata_beside_it(write):
    path = write(
        "a.parquet",
        {
            "jpg": pa.array([picture(i) for i in range(5)], pa.large_binary()),
            "caption": ["one", None, "", "four", "five"],
            "key": [10, 11, 12, None, 14],
            "similarity": pa.array([0.5, None, 0.25, 1, 2], pa.float32()),
            "when": [datetime.datetime(2026, 1, i + 1) for i in range(5)],
            "tags": [["a"], [], None, ["b", "c"], ["d"]],
        },
    )
    samples = rows(path)
    assert [s.key for s in samples] == ["10", "11", "12", "3", "14"]
    assert [s.image_path for s in samples] == [f"a.parquet/{row}" for row in range(5)]
    assert [s.image for s in samples] == [picture(i) for i in range(5)]
    assert [s.caption for s in samples] == ["one", None, None, "four", "five"]
    assert samples[0].fields["similarity"] == 0.5 and samples[0].fields["tags"] == ["a"]
    assert samples[0].fields["when"] == "2026-01-01 00:00:00" and "jpg" not in samples[0].fields
    survey = ParquetShard(path).survey()
    assert (survey.n_samples, survey.n_captions) == (5, 3)
    assert survey.value_types["similarity"] == {"float", "null"}


def test_hugging_face_structs_and_cells_without_a_picture(write):
    cells = [{"bytes": picture(1), "path": "x.png"}, {"bytes": None, "path": "y.png"}, None]
    path = write("b.parquet", {"image": pa.array([*cells, {"bytes": b""}], HUGGING_FACE)})
    samples = rows(path)
    assert [s.reason for s in samples] == [None, *["its image cell is null"] * 2, None]
    assert [s.key for s in samples] == list("0123") and samples[0].image == picture(1)
    assert ParquetShard(path).survey().n_samples == 4


def test_which_column_is_the_image(write):
    two = {"a": [b"1"], "b": pa.array([{"bytes": b"2"}], HUGGING_FACE), "hash": [1]}
    path = write("a.parquet", two)
    with pytest.raises(OptionError, match="2 columns of bytes: a, b"):
        rows(path)
    assert rows(path, "b")[0].image == b"2" and rows(path, "a")[0].image == b"1"
    assert rows(path, "a")[0].fields == {"hash": 1}
    with pytest.raises(OptionError, match="not a column of bytes"):
        rows(path, "hash")
    with pytest.raises(ImageError, match=r"no column of image bytes.*available: url"):
        rows(write("b.parquet", {"url": ["x"]}))
    assert ParquetShard(path, "a").survey().listing_sha256 != (
        ParquetShard(path, "b").survey().listing_sha256
    )


def test_limits(write, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_IMAGE_BYTES", 100)
    monkeypatch.setattr(parquet, "MAX_TEXT_BYTES", 50)
    path = write("a.parquet", {"image": [b"x" * 101, b"y"], "text": ["a", "b" * 51]})
    assert [s.reason for s in rows(path)] == [
        "image file of 101 bytes, over the limit of 100",
        "text of 51 characters, over 50",
    ]
    assert all(s.image is None and s.fields == {} for s in rows(path))
    assert open_images(path).read(["0", "1"]) == [None, b"y"]
    monkeypatch.setattr(parquet_layout, "MAX_FIELDS", 1)
    with pytest.raises(ImageError, match="2 columns"):
        rows(path)
    monkeypatch.setattr(parquet, "MAX_ROWS", 1)
    with pytest.raises(ImageError, match="2 rows, over the limit of 1"):
        rows(path)


def test_only_some_rows_are_in_memory(write, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS", 3)
    sizes = []
    real = parquet._by_row
    monkeypatch.setattr(
        parquet, "_by_row", lambda batch: sizes.append(batch.num_rows) or real(batch)
    )
    path = write("a.parquet", {"image": [b"%d" % i for i in range(20)]}, row_group_size=10)
    assert [s.image for s in rows(path)] == [b"%d" % i for i in range(20)]
    assert max(sizes) == 3 and sum(sizes) == 20


def test_damage_costs_the_rows_of_a_row_group(write, model, tmp_path):
    data = [picture(i) for i in range(12)]
    path = write("a.parquet", {"image": data}, row_group_size=4, compression="zstd")
    column = pq.read_metadata(path).row_group(1).column(0)
    at = column.dictionary_page_offset or column.data_page_offset
    with open(path, "r+b") as file:
        file.seek(at + 4)
        file.write(b"\xff" * (column.total_compressed_size - 8))
    samples = rows(path)
    assert [s.key for s in samples] == [str(i) for i in range(12)]
    assert [s.reason is None for s in samples] == [True] * 4 + [False] * 4 + [True] * 4
    assert all(s.reason.startswith("row group 1 is damaged") for s in samples[4:8])
    result = embed(path, tmp_path / "out", model)
    assert (result.n_read, result.n_kept, result.n_rejected) == (12, 8, 4)


def test_malformed_files_are_refused_or_counted(shared):
    for path in sorted((shared / "data" / "malformed_parquet").glob("*.parquet")):
        shard = ParquetShard(str(path))
        try:
            survey, samples = shard.survey(), list(shard.samples())
        except (ShardError, ImageError, OptionError) as error:
            assert path.name in str(error)
        else:
            assert survey.n_samples == len(samples)


def test_embedded_like_the_same_pictures_in_a_folder(write, model, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(7):
        (folder / f"{i}.png").write_bytes(picture(i))
        (folder / f"{i}.txt").write_text(f"caption {i}")
    cells = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(7)]
    captions = [f"caption {i}" for i in range(7)]
    write(
        "in/a.parquet",
        {"image": pa.array(cells, HUGGING_FACE), "TEXT": captions, "n": range(7)},
        row_group_size=2,
    )
    one = embed(folder, tmp_path / "one", model, batch_size=3)
    two = embed(tmp_path / "in", tmp_path / "two", model, batch_size=3)
    for role in ("img_emb", "text_emb"):
        arrays = [(r.out / role / f"{role}_0000.npy").read_bytes() for r in (one, two)]
        assert arrays[0] == arrays[1]
    table = pq.read_table(two.metadata / "metadata_0000.parquet")
    assert table.column_names == ["key", "image_path", "image_sha256", "TEXT", "n", "clip_score"]
    assert table["n"].to_pylist() == list(range(7)) and table["n"].type == "int64"
    gallery = open_images(tmp_path / "in")
    assert gallery.read(table["image_path"].to_pylist()) == [picture(i) for i in range(7)]


def test_images_by_key_and_by_row(write):
    path = write("a.parquet", {"image": [b"zero", b"one"], "__key__": ["1", "0"]})
    gallery = pickle.loads(pickle.dumps(open_images(path)))
    assert gallery.read(["1", "0", "a.parquet/1", "a.parquet/0", "2"]) == [
        b"zero",
        b"one",
        b"one",
        b"zero",
        None,
    ]


def test_where_parquet_is_a_source(write, tmp_path):
    path = write("in/a.parquet", {"image": [picture()]})
    assert [s.name for s in find_shards(tmp_path / "in")] == ["a.parquet"]
    assert find_shards([path], "image") == [ParquetShard(path, "image")]
    assert find_shards(str(tmp_path / "in" / "*.parquet")) == [ParquetShard(path)]
    (tmp_path / "in" / "a.tar").write_bytes(b"")  # img2dataset writes both side by side
    assert find_shards(tmp_path / "in") == [TarShard(str(tmp_path / "in" / "a.tar"))]
    with pytest.raises(OptionError, match="no file of the source is Parquet"):
        find_shards(tmp_path / "in", "image")
    with pytest.raises(ShardNotFoundError):
        find_shards(str(tmp_path / "*.parquet"))


def test_another_column_is_another_run(write, model, tmp_path):
    path = write("a.parquet", {"a": [picture(0)], "b": [picture(1)]})
    result = embed(path, tmp_path / "out", model, image="a")
    assert json.loads(result.manifest.read_text())["sources"][0]["name"] == "a.parquet"
    with pytest.raises(OSError, match="other source files"):
        embed(path, tmp_path / "out", model, image="b")
    expected = embed(path, tmp_path / "b", model, image="b")
    assert not np.array_equal(
        *(np.load(r.img_emb / "img_emb_0000.npy") for r in (result, expected))
    )


def test_a_date_out_of_range_is_a_null_cell(write):
    far = pa.array([0, 2**62, None], pa.int64())
    columns = {
        "image": [picture(i) for i in range(3)],
        "taken": far.view(pa.timestamp("us")),
        "days": pa.array([0, 2**31 - 1, 1], pa.int32()).view(pa.date32()),
        "all": pa.array([[x] for x in far.to_pylist()]).cast(pa.list_(pa.timestamp("us"))),
        "n": range(3),
    }
    samples = rows(write("a.parquet", columns))
    assert [s.reason for s in samples] == [None] * 3 and all(s.image for s in samples)
    assert [s.fields["taken"] for s in samples] == ["1970-01-01 00:00:00", None, None]
    assert [s.fields["days"] for s in samples] == ["1970-01-01", None, "1970-01-02"]
    assert [s.fields["all"] for s in samples] == [["1970-01-01 00:00:00"], None, [None]]
    assert [s.fields["n"] for s in samples] == [0, 1, 2]
