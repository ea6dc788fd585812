"""Inputs for which a wrong answer would look plausible."""

from __future__ import annotations

import os

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import (
    EmbeddingsError,
    MissingExtraError,
    OptionError,
    PairingError,
    ProvenanceError,
    SchemaError,
)
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.shard_keys import embedding_key, shard_key


def test_two_branches_of_one_scan_end_to_end_are_not_accounted_for(laion_shards):
    scored = ld.read_shards(laion_shards(30, 30)).assign(z=1)
    halves = [scored.laion.where("similarity < 0.5"), scored.laion.where("similarity >= 0.5")]
    with pytest.raises(ProvenanceError, match="end to end"):
        ld.rows(dd.concat(halves))
    pushed = ld.read_shards(laion_shards(30, folder="more"))
    halves = [pushed.laion.where("similarity < 0.5"), pushed.laion.where("similarity >= 0.5")]
    with pytest.raises(ProvenanceError, match="end to end"):
        ld.rows(dd.concat(halves))


def test_two_sets_end_to_end_are(laion_shards):
    one = ld.read_shards(laion_shards(30, folder="a")).laion.where("similarity < 0.5")
    two = ld.read_shards(laion_shards(20, folder="b"))
    rows = ld.rows(dd.concat([one, two]))
    assert (rows.read, rows.kept, rows.dropped) == (50, 35, 15)


def test_a_score_does_not_depend_on_the_rows_beside_it(demo_folder):
    head = ld.heads.demo_safety()
    files = sorted((demo_folder / "embedded/img_emb").glob("*.npy"))
    x = np.concatenate([np.load(file) for file in files])
    alone = np.concatenate([head.predict(x[i : i + 1]) for i in range(len(x))])
    assert np.array_equal(head.predict(x), alone)


def test_every_file_is_read_in_its_own_dialect(write):
    urls = pa.array(["https://a.example/1"])
    base = {"URL": urls, "TEXT": pa.array(["t"])}
    write("s/a_0.parquet", {**base, "aesthetic": pa.array([5.5])})
    write("s/a_1.parquet", {**base, "AESTHETIC_SCORE": pa.array([7.0])})
    similar = {"clip_b32_similarity_score": pa.array([0.3]), "original_width": pa.array([9])}
    path = write("s/a_2.parquet", {"uid": urls, "url": urls, "text": urls, **similar})
    frame = ld.read_shards(path.rsplit("/", 1)[0])
    assert not {"URL", "TEXT", "AESTHETIC_SCORE", "original_width"} & set(frame.columns)
    result = frame.compute()
    assert result["aesthetic"].tolist()[:2] == [5.5, 7.0]
    assert result["url"].notna().all() and result["similarity"].tolist()[2] == 0.3
    assert result["width"].tolist()[2] == 9


@pytest.mark.parametrize(
    ("metadata", "embeddings", "pair"),
    [
        ("data.0001.parquet", "data.0002.npy", False),
        ("chunk3_shard1.parquet", "chunk4_shard1.npy", False),
        ("chunk3_shard1.parquet", "chunk03_shard01.npy", True),
        ("train-00001-of-00002.parquet", "train-00001-of-00002.npy", True),
        ("train-00001-of-00002.parquet", "train-00000-of-00002.npy", False),
        ("metadata_0012.parquet", "img_emb_12.npy", True),
        ("metadata_0012.parquet", "img_emb_b32_0012.npy", True),
        ("metadata_0012.parquet", "img_emb_ViT-L-14_0012.npy", True),
        ("metadata_0012.parquet", "img_emb_b32_0013.npy", False),
        ("shard_b32.parquet", "emb_b16.npy", False),
        ("meta-b14-003.parquet", "emb-b16-003.npy", False),
        ("part-00012-5b54c5d5-c000.snappy.parquet", "img_emb_0012.npy", True),
    ],
)
def test_shard_keys(metadata, embeddings, pair):
    assert (shard_key(metadata)[1] == embedding_key(embeddings)[1]) is pair


def test_equal_names_pair_where_numbers_are_not_enough(laion_shards, tmp_path):
    paths = laion_shards(5, 6, folder="m")
    named = [path.replace("part_0", "en_0").replace("part_1", "de_0") for path in paths]
    for path, name in zip(paths, named, strict=True):
        os.rename(path, name)
    for name, n in (("en_0", 5), ("de_0", 6)):
        np.save(tmp_path / f"{name}.npy", np.ones((n, 512), np.float16))
    frame = ld.read_shards(named)
    emb = ld.open_embeddings(f"{tmp_path}/*.npy", model="ViT-B-32", like=frame)
    assert [file.n_rows for file in emb.files] == [s.n_rows for s in Provenance.of(frame).shards]


def test_collections_are_never_crossed(laion_shards, tmp_path):
    one = laion_shards(5, folder="en/metadata")[0]
    two = laion_shards(5, 5, folder="multi/metadata")[1]
    frame = ld.read_shards([one, two])
    for other in ("multi", "nolang"):
        names = (f"{other}/img_emb/e_0.npy", "en/img_emb/e_1.npy")
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / name, np.ones((5, 512), np.float16))
        with pytest.raises(PairingError):
            ld.open_embeddings([tmp_path / n for n in names], model="ViT-B-32", like=frame)


def test_a_filter_sees_integers_exactly(write):
    write("s/p_0.parquet", {"SAMPLE_ID": pa.array([2**53 + 1]), "URL": pa.array(["a"])})
    path = write("s/p_1.parquet", {"SAMPLE_ID": pa.array([5.0]), "URL": pa.array(["b"])})
    with pytest.raises(SchemaError, match=r"p_0\.parquet"):
        folder = path.rsplit("/", 1)[0]
        ld.read_shards(folder, where=f"SAMPLE_ID == {2**53}", columns=["url"]).compute()
    write("w/p_0.parquet", {"URL": pa.array(["a"]), "WIDTH": pa.array([256.5])})
    with pytest.raises(SchemaError, match=r"256\.5"):
        whole = f"{path.rsplit('/', 2)[0]}/w"
        ld.read_shards(whole, where="width > 256", columns=["url"]).compute()


def test_wide_decimals_keep_their_digits(write):
    value = pa.scalar(1234567890123456789012345678901234567890123, pa.decimal256(60, 0))
    path = write("d.parquet", {"n": pa.array([value.as_py()], pa.decimal256(60, 0))})
    assert int(ld.read_shards(path).compute()["n"][0]) == int(value.as_py())


def test_an_index_with_a_name_is_exported(laion_shards, tmp_path):
    frame = ld.read_shards(laion_shards(9)).map_partitions(lambda part: part.set_index("hash"))
    export = frame.laion.export(tmp_path / "out")
    assert "hash" in [column["name"] for column in export.manifest["schema"]]
    part = tmp_path / "out" / "shards" / export.manifest["parts"][0]["file"]
    assert len(set(pq.read_table(part)["hash"].to_pylist())) == 9
    assert frame.laion.export(tmp_path / "urls", format="urls").rows == export.rows


@pytest.mark.parametrize("extra", [1, 2048])
def test_embeddings_that_are_too_long(tmp_path, extra):
    np.save(tmp_path / "e_0.npy", np.ones((3, 512), np.float16))
    with open(tmp_path / "e_0.npy", "ab") as file:
        file.write(b"\0" * extra)
    with pytest.raises(EmbeddingsError, match="too long"):
        ld.open_embeddings(tmp_path, model="ViT-B-32")


def test_persisted_frames_are_not_paired_by_position(demo_folder):
    frame = ld.read_shards(demo_folder / "embedded/metadata")
    files = demo_folder / "embedded/img_emb"
    vectors = ld.open_embeddings(files, model="demo", like=frame)
    query = vectors.read(0, [0])
    with pytest.raises(ProvenanceError, match="Keep the lazy frame"):
        frame.persist().laion.similarity(vectors, query)
    lazy = frame.laion.similarity(vectors, query).query_similarity
    pd.testing.assert_series_equal(lazy.compute(), lazy.persist().compute())


@pytest.mark.parametrize("path", ["", 123, None, [None], "foo://x/y.parquet"])
def test_paths_that_are_none(path):
    with pytest.raises((OptionError, MissingExtraError)):
        ld.read_shards(path)
