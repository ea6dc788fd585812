"""A reopened export with its source's embeddings gives identical scores, bit for bit."""

import json
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from support.embeddings import pair
from support.frames import both
from support.reopened_exports import QUERY, SIZES, bits, check, part_paths, paths
from support.shards import collection, npy, space, vectors

import laion_dask as ld
from laion_dask.errors import EmbeddingsError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings import row_origins
from laion_dask.models.heads import LinearHead
from laion_dask.models.weights import sha256_of
from laion_dask.planning.inputs import open_data, vectors_of


def save_parquet(path, x):
    pq.write_table(
        pa.table({"e": pa.array(x.tolist(), pa.list_(pa.float32()))}), path, row_group_size=7
    )


WRITERS = {
    "npy": np.save,
    "npz": lambda path, x: np.savez(path, e=x),
    "packed.npz": lambda path, x: np.savez_compressed(path, e=x),
    "safetensors": lambda path, x: save_file({"e": x}, path),
    "parquet": save_parquet,
}


def head(folder, dim: int = 8) -> LinearHead:
    import torch

    weights = {"weight": torch.from_numpy(vectors(1, dim, seed=5)), "bias": torch.ones(1)}
    torch.save(weights, Path(folder) / "head.pt")
    model = space(folder, dim).arch
    return LinearHead("linear", model, str(folder / "head.pt"), sha256_of(folder / "head.pt"))


WAYS = {
    "filtered": lambda f: f.laion.where("similarity > 0.2 and width > 300"),
    "few columns, by a mask": lambda f: f[f.punsafe < 0.5][["url", "shard", "row"]],
    "shuffled": lambda f: f.shuffle("hash", npartitions=3),
    "sorted, repartitioned": lambda f: f.sort_values("width").repartition(npartitions=2),
    "sampled": lambda f: f.sample(frac=0.4, random_state=1),
    "some partitions, backwards": lambda f: f.partitions[[5, 1]],
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A collection, its linear head and its scores."""
    folder = tmp_path_factory.mktemp("scored")
    c = collection(folder, SIZES, dtype="float16", odd=False)
    with ld.set_options(backend="pandas"):
        frame = ld.read_shards(c.metadata)
        images, texts = (ld.open_embeddings(e, model=c.model) for e in (c.img_emb, c.text_emb))
        return c, head(folder), bits(frame, images, texts, head(folder))


@both
@pytest.mark.parametrize("way", WAYS)
def test_a_reopened_export_has_the_scores_of_its_source(tmp_path, scored, way):
    c, linear, before = scored
    WAYS[way](ld.read_shards(c.metadata, max_rows_per_partition=20)).laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out", max_rows_per_partition=9)
    images, texts = (ld.open_embeddings(e, model=c.model) for e in (c.img_emb, c.text_emb))
    paired = pickle.loads(pickle.dumps(pair(images, again)))
    assert len(paired) == len(again) and paired.dtype == images.dtype
    check(before, bits(again, paired, texts, linear))


@pytest.mark.parametrize("kind", WRITERS)
def test_embeddings_of_every_kind(tmp_path, c, kind):
    folder = tmp_path / "emb"
    folder.mkdir()
    for i, x in enumerate(c.images):
        WRITERS[kind](folder / f"img_emb_{i}.{kind.rpartition('.')[2]}", x)
    frame, images = ld.read_shards(c.metadata), ld.open_embeddings(folder, model=c.model)
    frame.shuffle("hash", npartitions=2).laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    assert bits(again, images) == bits(frame, images)


@both
def test_exports_of_exports(tmp_path, c):
    frame = ld.read_shards(c.metadata, max_rows_per_partition=20)
    images = ld.open_embeddings(c.img_emb, model=c.model)
    before, kept = bits(frame, images), len(frame)
    for i, clause in enumerate(("width > 200", "punsafe < 0.8", "similarity > 0.15")):
        frame = ld.where(frame, clause)
        if i == 1:
            frame = frame.shuffle("hash", npartitions=3)
        frame.laion.export(tmp_path / f"out{i}")
        frame = ld.read_shards(tmp_path / f"out{i}")
        check(before, bits(frame, images))
        assert 0 < len(frame) < kept
        kept = len(frame)
    # Embeddings paired with an export also pair with an export of that export.
    one = ld.read_shards(tmp_path / "out1")
    check(before, bits(frame, pair(images, one)))
    assert pair(images, frame).recipe() == pair(pair(images, one), frame).recipe()


@both
def test_several_exports_and_shards_in_one_frame(tmp_path, c):
    frame = ld.read_shards(c.metadata)
    images = ld.open_embeddings(c.img_emb, model=c.model)
    before = bits(frame, images)
    frame.partitions[:1].laion.export(tmp_path / "one")
    ld.where(frame.partitions[2:], "width > 100").laion.export(tmp_path / "two")
    several = ld.read_shards([tmp_path / "one", tmp_path / "two"])
    check(before, bits(several, images))
    mixed = ld.read_shards([tmp_path / "one", f"{c.metadata}/metadata_0002.parquet"])
    got = ld.similarity(mixed, images, QUERY, to="found").compute()
    want = {tuple(v) for k, v in before.items() if k[0] in (0, 2)}
    assert {(v,) for v in got["found"].to_numpy(np.float32).view(np.uint32).tolist()} == want


@both
def test_search_finds_the_same_rows(tmp_path, c):
    frame = ld.read_shards(c.metadata, max_rows_per_partition=20)
    images = ld.open_embeddings(c.img_emb, model=c.model)
    subset = ld.where(frame, "width > 500")
    subset.shuffle("hash", npartitions=3).laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    for queries in (QUERY, vectors(20, seed=9)):
        want, got = ld.search(subset, images, queries, k=5), ld.search(again, images, queries, k=5)
        np.testing.assert_array_equal(got["query_similarity"], want["query_similarity"])
        columns = ["source_shard", "source_row"], ["shard", "row"]
        assert got[columns[0]].to_numpy().tolist() == want[columns[1]].to_numpy().tolist()


def test_a_plan_counts_the_vectors_of_the_parts(tmp_path, c):
    frame = ld.read_shards(c.metadata)
    images = ld.open_embeddings(c.img_emb, model=c.model)
    ld.where(frame, "width > 500").laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    assert str(ld.plan(again, "similarity", embeddings=images))
    result = vectors_of(open_data(Provenance.of(again)), pair(images, again))
    assert result.stored == result.resident_bytes == len(again) * 8 * 4
    assert result.max_resident_bytes == 1 << 31


def test_an_export_of_nothing(tmp_path, c):
    frame = ld.read_shards(c.metadata)
    ld.where(frame, "width > 1000000").laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    paired = ld.open_embeddings(c.img_emb, model=c.model, like=again)
    assert len(paired) == 0 and paired.read(0, []).shape == (0, 8)
    assert len(ld.similarity(again, paired, QUERY).compute()) == 0


def test_stores(tmp_path, c):
    fs = fsspec.filesystem("memory")
    try:
        fs.put(str(tmp_path / "set"), "/reopened", recursive=True)
        frame = ld.read_shards("memory://reopened/metadata")
        images = ld.open_embeddings("memory://reopened/img_emb", model=c.model)
        ld.where(frame, "width > 300").laion.export("memory://reopened-out")
        again = ld.read_shards("memory://reopened-out")
        check(bits(frame, images), bits(again, images))
    finally:
        for name in ("/reopened", "/reopened-out"):
            if fs.exists(name):
                fs.rm(name, recursive=True)


def test_rows_in_any_order_and_twice(tmp_path, c):
    frame = ld.read_shards(c.metadata)
    frame.shuffle("hash", npartitions=2).laion.export(tmp_path / "out")
    paired = ld.open_embeddings(c.img_emb, model=c.model, like=ld.read_shards(tmp_path / "out"))
    for number, path in enumerate(part_paths(tmp_path / "out")):
        part = pq.read_table(path, columns=["shard", "row"]).to_pylist()
        whole = np.array([c.images[one["shard"]][one["row"]] for one in part])
        for rows in (range(3, 20), range(20, 3, -2), [7, 7, 0, 19], np.array([5], np.int32)):
            x, scale = paired.read_scaled(number, rows)
            np.testing.assert_array_equal(x, whole[list(rows)])
            np.testing.assert_allclose(scale, 1 / np.linalg.norm(x, axis=1), rtol=1e-6)
            assert paired.span(number, rows) is None
        with pytest.raises(
            EmbeddingsError, match=f"Row {len(part)} was requested from .*{path.name}"
        ):
            paired.read(number, [len(part)])


@pytest.mark.parametrize("dtypes", [("float16", "float32"), ("float32", "float16")])
def test_two_dtypes_in_one_part(tmp_path, c, dtypes):
    for i in (0, 2, 3):
        npy(paths(c, i)[0], c.images[i].astype(dtypes[i == 2]))
    frame = ld.read_shards(c.metadata)
    images = ld.open_embeddings(c.img_emb, model=c.model)
    before = bits(frame, images)
    for rows_per_part in (13, 40, 98):
        out = tmp_path / str(rows_per_part)
        frame.laion.export(out, rows_per_part=rows_per_part)
        again = ld.read_shards(out)
        check(before, bits(again, images))


def test_what_is_kept_of_parts_is_bounded(tmp_path, c, monkeypatch):
    frame = ld.read_shards(c.metadata)
    frame.laion.export(tmp_path / "out", rows_per_part=35)
    again = ld.read_shards(tmp_path / "out")
    images = ld.open_embeddings(c.img_emb, model=c.model, like=again)
    read = []
    inner = row_origins._read_origins
    monkeypatch.setattr(row_origins, "_read_origins", lambda *a: read.append(a) or inner(*a))
    kept = row_origins._OriginCache()
    monkeypatch.setattr(row_origins, "_origins", kept)
    for row in range(9):
        images.read(0, [row])
    assert len(read) == 1
    monkeypatch.setattr(row_origins, "_MAX_BYTES", 40 * 8)
    images.read(2, [1])
    images.read(0, [1])
    assert len(read) == 3 and len(kept._cached) == 1


def test_tokens_and_recipes_tell_embeddings_apart(tmp_path, c):
    ld.read_shards(c.metadata).laion.export(tmp_path / "out", rows_per_part=40)
    again = ld.read_shards(tmp_path / "out")
    one, two = (ld.open_embeddings(e, model=c.model, like=again) for e in (c.img_emb, c.text_emb))
    assert one.__dask_tokenize__() != two.__dask_tokenize__() and one != two
    assert one == ld.open_embeddings(c.img_emb, model=c.model, like=again)
    assert one.identity(0) != two.identity(0)
    listed = one.recipe()["embeddings"]
    assert [entry["path"] for entry in listed] == paths(c, 0, 2, 3)
    ld.similarity(again, one, QUERY).laion.export(tmp_path / "scored")
    models = json.loads((tmp_path / "scored" / "_recipe.json").read_text())["models"]
    assert any(entry.get("embeddings") == listed for entry in models)
