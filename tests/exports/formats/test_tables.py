"""Formats of tables: what other readers make of them, for values that are hard to write."""

import csv
import datetime
import decimal
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import ColumnError, MissingExtraError, OptionError, SchemaError, ShardError
from laion_dask.io.parquet.scan import Scan

TEXTS = ["=1+1", "+x", "-2", "@cmd", "\tq", "\rq", "'quoted", 'a"b,c\r\nd', "nul\0x", "", None]
TEXTS += ["日本語 \U0001f600", "x" * 100_000]
N = len(TEXTS)


@pytest.fixture
def odd(tmp_path):
    """A frame of two shards, the second without rows."""
    columns = {
        "url": [f"http://e/{i}, \n.jpg" for i in range(N - 2)] + [None, ""],
        "text": TEXTS,
        "uid": [f"{(N - i) * (2**125 // N):032x}" for i in range(N)],
        "Status": ["ok"] * N,
        "tags": [["a", "b"], None] * 6 + [[]],
        "when": [datetime.datetime(2020, 1, 2, 3, 4, 5)] * N,
        "price": [decimal.Decimal("-1.50")] * N,
        "raw": [b"\x00\x01"] * N,
        "score": [float("nan"), -1.5, None] * 4 + [0.0],
        "nothing": pa.nulls(N),
        "repeats": [1, 2, 0] * 4 + [5],
    }
    table = pa.table(columns)
    table = table.append_column("kind", pa.array(["x"] * N).dictionary_encode())
    write_shard(tmp_path / "in" / "a_0.parquet", table)
    write_shard(tmp_path / "in" / "a_1.parquet", table.slice(0, 0))
    return ld.read_shards(str(tmp_path / "in"))


def files(out, pattern):
    return sorted((out / "shards").rglob(pattern))


def test_csv_runs_no_formula_and_gives_every_text_back(odd, tmp_path):
    odd.laion.export(tmp_path / "out", format="csv", rows_per_part=5)
    rows = []
    for path in files(tmp_path / "out", "*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    assert len(rows) == N
    cells = [row["text"] for row in rows]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    back = [cell[1:] if cell.startswith("'") else cell for cell in cells]
    assert back == [text or "" for text in TEXTS]
    assert [row["price"] for row in rows] == ["-1.50"] * N and rows[1]["score"] == "-1.5"
    assert json.loads(rows[0]["tags"]) == ["a", "b"] and rows[1]["tags"] == ""
    assert rows[0]["when"] == "2020-01-02T03:04:05" and rows[0]["raw"] == "AAE="


def test_csv_in_pandas_tells_a_null_from_an_empty_text(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", pa.table({"text": ["", None, "a"]}))
    ld.read_shards(str(tmp_path / "in")).laion.export(tmp_path / "out", format="csv")
    (path,) = files(tmp_path / "out", "*.csv")
    assert path.read_bytes().split(b"\r\n")[1:4] == [b'"",0,0', b",0,1", b"a,0,2"]
    assert list(pd.read_csv(path)["row"]) == [0, 1, 2]


def test_urls_are_one_line_each_and_rows_without_one_are_counted(odd, tmp_path):
    done = odd.laion.export(tmp_path / "out", format="urls", rows_per_part=5)
    lines = "".join(path.read_text() for path in files(tmp_path / "out", "*.txt")).splitlines()
    assert lines == [f"http://e/{i},%20%0A.jpg" for i in range(N - 2)]
    assert done.manifest["file_counts"] == {"rows_without_url": 2}
    assert "2 rows without url" in str(done)


def datacomp_array(uids):
    """As DataComp's ``baselines/apply_filter.py`` makes the array."""
    pairs = [(int(uid[:16], 16), int(uid[16:32], 16)) for uid in uids]
    array = np.array(pairs, np.dtype("u8,u8"))
    array.sort()
    return array


@pytest.mark.parametrize("rows_per_part", [1, 5, 100])
@pytest.mark.parametrize("merged", [1, 1 << 22])
def test_datacomp_has_the_array_of_its_own_code(odd, tmp_path, rows_per_part, merged, monkeypatch):
    monkeypatch.setattr("laion_dask.exports.formats.datacomp._MERGED", merged)
    done = odd.laion.export(tmp_path / "out", format="datacomp", rows_per_part=rows_per_part)
    (path,) = files(tmp_path / "out", "*.npy")
    found = np.load(path, mmap_mode="r")
    table = odd.compute()
    expected = datacomp_array(np.repeat(table["uid"].to_numpy(), table["repeats"].to_numpy()))
    assert found.dtype == expected.dtype and (found == expected).all()
    assert ld.verify(tmp_path / "out").rows == N and done.manifest["file_counts"]["uids"] == 17
    # resharder.py looks up each uid of a shard, as often as it occurs
    uids = datacomp_array(table["uid"])
    counts = np.searchsorted(found, uids, "right") - np.searchsorted(found, uids, "left")
    assert sorted(counts) == sorted(table["repeats"])


@pytest.mark.parametrize("uid", ["", "a" * 31, "g" * 32, "é" * 16, None])
def test_datacomp_refuses_what_is_no_uid(tmp_path, uid):
    write_shard(tmp_path / "in" / "a.parquet", pa.table({"uid": ["A" * 32, uid]}))
    frame = ld.read_shards(str(tmp_path / "in"))
    with pytest.raises(SchemaError, match="uid"):
        frame.laion.export(tmp_path / "out", format="datacomp")
    assert not (tmp_path / "out").exists()
    frame.dropna(subset=["uid"]).query("uid == 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'").laion.export(
        tmp_path / "out", format="datacomp"
    )
    (path,) = files(tmp_path / "out", "*.npy")
    assert np.load(path).tolist() == [(0xAAAAAAAAAAAAAAAA,) * 2]


def test_hugging_face_loads_the_folder(odd, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    card = {"license": "cc-by-4.0", "name": 'A "subset": 1', "language": ["en", "no"]}
    for out in (tmp_path / "out", tmp_path / "again"):
        odd.laion.export(out, format="huggingface", rows_per_part=5, card=card)
    names = [path.name for path in files(tmp_path / "out", "*.parquet")]
    assert names == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"] and loaded["train"]["text"][:] == TEXTS
    for path in files(tmp_path / "out", "*.parquet"):
        assert (
            path.read_bytes()
            == (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes()
        )
    header = (tmp_path / "out" / "README.md").read_text().split("---\n")[1]
    yaml = pytest.importorskip("yaml").safe_load(header)
    assert yaml["license"] == "cc-by-4.0" and yaml["pretty_name"] == 'A "subset": 1'
    assert yaml["language"] == ["en", "no"] and yaml["size_categories"] == ["n<1K"]


def test_parquet_with_the_names_of_laion(odd, tmp_path):
    odd.laion.export(tmp_path / "out", names="laion")
    (path,) = files(tmp_path / "out", "*.parquet")
    assert {"URL", "TEXT", "uid", "Status"} <= set(pq.read_schema(path).names)
    assert "url" in ld.read_shards(tmp_path / "out").columns
    renamed = odd.assign(TEXT_=odd["uid"]).rename(columns={"TEXT_": "URL_"})
    renamed.laion.export(tmp_path / "more", names="laion")
    with pytest.raises(OptionError, match="canonical"):
        odd.laion.export(tmp_path / "no", names="Laion")


def test_lance_opens_the_data_set(odd, tmp_path):
    lance = pytest.importorskip("lance")
    odd.laion.export(tmp_path / "out", format="lance", rows_per_part=5)
    assert ld.verify(tmp_path / "out").rows == N
    table = lance.dataset(str(tmp_path / "out" / "shards" / "dataset.lance")).to_table()
    assert table["text"].to_pylist() == TEXTS and table["row"].to_pylist() == list(range(N))
    with pytest.raises(OptionError, match="local folder"):
        odd.laion.export("memory://test_lance/out", format="lance")
    with pytest.raises(SchemaError, match="has a dot"):
        odd.rename(columns={"score": "a.b"}).laion.export(tmp_path / "dot", format="lance")


def test_lance_that_is_not_installed(odd, tmp_path, monkeypatch):
    monkeypatch.setattr("laion_dask.extras.is_installed", lambda module: module != "lance")
    with pytest.raises(MissingExtraError, match="lance"):
        odd.laion.export(tmp_path / "out", format="lance")
    assert not (tmp_path / "out").exists()


def test_embeddings_stay_beside_their_rows_in_their_own_dtype(tmp_path):
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=(n, 8)).astype(np.float16) for n in (7, 0, 5)]
    vectors[0][2] = np.nan
    for i, one in enumerate(vectors):
        write_shard(tmp_path / "in" / f"metadata_{i}.parquet", pa.table({"n": range(len(one))}))
        (tmp_path / "emb").mkdir(exist_ok=True)
        np.save(tmp_path / "emb" / f"img_emb_{i}.npy", one)
    frame = ld.read_shards(str(tmp_path / "in"))
    emb = ld.open_embeddings(str(tmp_path / "emb"), model="space")
    kept = frame.laion.where("n != 1")
    kept.laion.export(tmp_path / "out", format="embeddings", embeddings=emb, rows_per_part=4)
    parts = files(tmp_path / "out", "*.parquet")
    for path in parts:
        found, table = np.load(path.with_suffix(".npy")), pq.read_table(path)
        rows = zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, np.stack([vectors[s][r] for s, r in rows]))
    again = ld.read_shards(str(tmp_path / "out"))
    reopened = ld.open_embeddings(
        [str(path.with_suffix(".npy")) for path in parts], model="space", like=again
    )
    assert len(reopened) == len(again) == 10
    both = {"img_emb": emb, "txt": emb}
    kept.laion.export(tmp_path / "two", format="embeddings", embeddings=both)
    names = [path.name for path in files(tmp_path / "two", "*.npy")]
    assert names == ["00000.img_emb.npy", "00000.txt.npy"]
    for out in (str(tmp_path / "out"), "memory://test_embeddings/out"):
        for name, sets in {"one": emb, "two": both}.items():
            kept.laion.export(
                f"{out}-{name}", format="embeddings", embeddings=sets, rows_per_part=4
            )
            again = ld.read_shards(f"{out}-{name}")
            own = "" if name == "one" else "/shards/*.txt.npy"
            opened = ld.open_embeddings(f"{out}-{name}{own}", model="space", like=again)
            shards, rows = (again[f"source_{n}"].compute() for n in ("shard", "row"))
            found = [opened.read(0, np.arange(4)), opened.read(2, np.arange(2))]
            expected = np.stack([vectors[s][r] for s, r in zip(shards, rows, strict=True)])
            np.testing.assert_array_equal(np.concatenate(found), expected[[*range(4), 8, 9]])
        with pytest.raises(ShardError, match=r"2 sets of embeddings.*\*.img_emb.npy or "):
            ld.open_embeddings(f"{out}-two", model="space", like=again)
    for wrong in ("emb", {}, {"a/b": emb}, {"a": 1}):
        with pytest.raises(OptionError):
            kept.laion.export(tmp_path / "no", format="embeddings", embeddings=wrong)


@pytest.mark.parametrize("format", ["csv", "datacomp", "huggingface", "img2dataset", "urls"])
def test_no_rows_and_object_stores(odd, tmp_path, format):
    nothing = odd[odd["text"] == "no such text"]
    for frame, out in ((nothing, tmp_path / "out"), (odd, f"memory://test_tables/{format}")):
        done = frame.laion.export(out, format=format, rows_per_part=4)
        assert ld.verify(out).rows == done.rows.kept
    assert len(nothing.laion.export(tmp_path / "out", format="parquet").manifest["parts"]) == 1
    assert not list((tmp_path / "out").rglob("README.md"))  # of the export that was replaced


def test_options_are_checked_before_anything_is_read(odd, tmp_path):
    cases = [
        ({"nmaes": "laion"}, OptionError, "Did you mean 'names'"),
        ({"images": "x"}, OptionError, "webdataset"),
        ({"format": "webdataset"}, OptionError, "needs images="),
        ({"format": "embeddings"}, OptionError, "needs embeddings="),
        ({"format": "csv", "names": "laion"}, OptionError, "parquet"),
        ({"format": "urls", "delimiter": ";"}, OptionError, "no options"),
        ({"card": {"licence": "x"}}, OptionError, "Did you mean 'license'"),
        ({"card": {"date_published": "soon"}}, OptionError, "ISO 8601"),
    ]
    for options, error, match in cases:
        with pytest.raises(error, match=match):
            odd.laion.export(tmp_path / "out", **options)
    for column, formats in {"url": ["urls", "img2dataset"], "uid": ["datacomp"]}.items():
        for format in formats:
            with pytest.raises(ColumnError, match=column):
                odd.drop(columns=column).laion.export(tmp_path / "out", format=format)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("format", "wanted"), [("urls", ["url"]), ("datacomp", ["uid"])])
def test_only_the_columns_of_the_format_are_read_and_planned(tmp_path, monkeypatch, format, wanted):
    """And those of licenses, which the manifest counts; filters read theirs in the scan."""
    table = laion_table(50, 0).append_column("uid", pa.array([f"{i:032x}" for i in range(50)]))
    table = table.append_column("LICENSE", pa.array(["?", "CC0"] * 25))
    write_shard(tmp_path / "in" / "a.parquet", table)
    frame, read = ld.read_shards(tmp_path / "in", where="width >= 300"), []
    scan = Scan.read

    def recording(self, partition, columns, *others):
        read.append(columns)
        return scan(self, partition, columns, *others)

    monkeypatch.setattr(Scan, "read", recording)
    done = frame.laion.export(tmp_path / "out", format=format)
    (columns,) = read
    assert columns == [*wanted, "LICENSE", "shard", "row"]
    assert sum(done.manifest["rights"]["LICENSE"].values()) == done.rows.kept
    few = ld.plan(frame[columns], ("export", "csv"))
    assert ld.plan(frame, ("export", format)).bytes_read == few.bytes_read
    computed = frame.assign(area=lambda f: f["width"] * f["height"]).laion.where("area > 200000")
    kept = computed.laion.export(tmp_path / "masked", format=format)
    assert kept.rows.kept == len(computed) > 0


def test_hugging_face_streams_an_export_of_no_rows(odd, tmp_path, monkeypatch):
    """Otherwise, datasets loads no split without rows: "corresponds to no data"."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    odd[odd["text"] == "no such text"].laion.export(tmp_path / "out", format="huggingface")
    loaded = datasets.load_dataset(str(tmp_path / "out"), streaming=True)
    assert list(loaded["train"]) == [] and {"url", "text"} < set(loaded["train"].features)
