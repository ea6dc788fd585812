"""A reopened export with its source's embeddings gives identical scores, bit for bit."""

import json
import os
import pickle
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from support.embeddings import pair
from support.frames import both
from support.shards import collection, laion_table, npy, space, vectors, write_shard

import laion_dask as ld
from laion_dask.errors import DiscoveryWarning, EmbeddingsError, PairingError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings import row_origins
from laion_dask.models.heads import LinearHead
from laion_dask.models.weights import sha256_of
from laion_dask.planning.inputs import open_data, vectors_of

SIZES = (40, 0, 25, 33)
QUERY = np.arange(8) - 2.5


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


@pytest.fixture
def c(tmp_path):
    return collection(tmp_path / "set", SIZES, odd=False)


def paths(c, *numbers) -> list[str]:
    return [f"{c.img_emb}/img_emb_{i}.npy" for i in numbers]


def part_paths(folder) -> list[Path]:
    return sorted((Path(folder) / "shards").glob("*.parquet"))


def head(folder, dim: int = 8) -> LinearHead:
    import torch

    weights = {"weight": torch.from_numpy(vectors(1, dim, seed=5)), "bias": torch.ones(1)}
    torch.save(weights, Path(folder) / "head.pt")
    model = space(folder, dim).arch
    return LinearHead("linear", model, str(folder / "head.pt"), sha256_of(folder / "head.pt"))


def bits(frame, embeddings, texts=None, *heads):
    """The bit patterns of the scores, by shard and row of the first source."""
    frame = ld.similarity(frame, embeddings, QUERY, to="found")
    if texts is not None:
        frame = ld.similarity(frame, embeddings, texts, to="caption")
    frame = ld.score(frame, embeddings, *heads) if heads else frame
    computed = frame.compute()
    names = ["found", "caption", "linear"]
    values = (
        computed[[name for name in names if name in computed]].to_numpy(np.float32).view(np.uint32)
    )
    where = ("source_shard", "source_row") if "source_shard" in computed else ("shard", "row")
    keys = zip(*(computed[name].tolist() for name in where), strict=True)
    result = dict(zip(keys, values.tolist(), strict=True))
    assert len(result) == len(computed)
    return result


def check(before, *after):
    """Check that the scores of an export are a subset of those of its source."""
    assert after[-1] and after[-1].items() <= before.items()


# -- the same scores -------------------------------------------------------------------------

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
    assert result.stored == result.held == len(again) * 8 * 4 and result.most_held == 1 << 31


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


def test_what_is_kept_of_parts_is_bounded(tmp_path, c, monkeypatch):
    frame = ld.read_shards(c.metadata)
    frame.laion.export(tmp_path / "out")
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
    ld.read_shards(c.metadata).laion.export(tmp_path / "out")
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


# -- which files are needed ------------------------------------------------------------------


def test_files_of_shards_that_no_row_is_of_may_be_absent(tmp_path, c):
    frame = ld.read_shards(c.metadata)
    subset = frame[(frame.shard != 2) & (frame.width > 100)]
    subset.repartition(npartitions=1).laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    images = ld.open_embeddings(c.img_emb, model=c.model)
    check(bits(frame, images), bits(again, ld.open_embeddings(paths(c, 0, 3), model=c.model)))
    with pytest.raises(PairingError, match=r"part-.* has rows of .*metadata_0003.*key '.*3'\. Add"):
        ld.open_embeddings(paths(c, 0, 2), model=c.model, like=again)


def test_shards_of_the_frame_itself_need_their_files(tmp_path, c):
    frame = ld.read_shards(c.metadata)
    frame[frame.shard == 0].repartition(npartitions=1).laion.export(tmp_path / "out")
    mixed = ld.read_shards([tmp_path / "out", f"{c.metadata}/metadata_0003.parquet"])
    few = ld.open_embeddings(paths(c, 0, 2), model=c.model)
    refused(mixed, few, r"metadata_0003\.parquet \(33 rows\) has no embeddings")


def test_files_of_shards_that_were_not_exported_may_be_there(tmp_path, c):
    frame = ld.read_shards(f"{c.metadata}/metadata_0002.parquet")
    frame.laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    images = ld.open_embeddings(c.img_emb, model=c.model)
    check(bits(frame, ld.open_embeddings(paths(c, 2), model=c.model)), bits(again, images))
    # Refused if only their numbers match: they may belong to another data set.
    for i, x in enumerate(c.images):
        npy(tmp_path / "elsewhere" / f"img_emb_{i}.npy", x)
    with pytest.raises(PairingError, match=r"elsewhere/img_emb_0\.npy .* pairs with no shard"):
        ld.open_embeddings(tmp_path / "elsewhere", model=c.model, like=again)
    one = ld.open_embeddings(tmp_path / "elsewhere" / "img_emb_2.npy", model=c.model)
    assert bits(again, one) == bits(again, images)


def test_a_source_that_has_moved(tmp_path, c):
    frame, images = ld.read_shards(c.metadata), ld.open_embeddings(c.img_emb, model=c.model)
    before = bits(frame, images)
    ld.where(frame, "width > 300").laion.export(tmp_path / "out")
    c.model = space(tmp_path)
    (tmp_path / "set").rename(tmp_path / "moved")
    (tmp_path / "out").rename(tmp_path / "subset")
    moved = ld.open_embeddings(tmp_path / "moved" / "img_emb", model=c.model)
    check(before, bits(ld.read_shards(tmp_path / "subset"), moved))


def test_a_source_that_was_written_anew(tmp_path, out, c):
    """The embeddings may follow the new row order, which nothing in them indicates."""
    _, again, images = out
    first, last = (Path(c.metadata) / f"metadata_000{i}.parquet" for i in (0, 3))
    for path in (first, last):
        path.rename(path.with_suffix(".kept"))
    first.with_suffix(".kept").rename(last)
    last.with_suffix(".kept").rename(first)
    refused(again, images, "metadata_0000.parquet was rewritten after.* exported as .*part-00000")


def test_embeddings_of_another_source_of_the_same_export(tmp_path):
    sets = [collection(tmp_path / name, (20,), odd=False) for name in ("one", "two")]
    write_shard(f"{sets[1].metadata}/metadata_0000.parquet", laion_table(20, seed=9))
    ld.read_shards([data_set.metadata for data_set in sets]).laion.export(tmp_path / "out")
    first, _ = part_paths(tmp_path / "out")
    one, two = (ld.open_embeddings(data_set.img_emb, model=data_set.model) for data_set in sets)
    part = ld.read_shards(first)
    check(bits(ld.read_shards(sets[0].metadata), one), bits(part, one))
    refused(part, two, "part-00000-.* has rows of .*one/.*has no embeddings")


def test_embeddings_of_their_own_go_before_those_of_the_source(tmp_path, c):
    frame = ld.read_shards(c.metadata)
    images = ld.open_embeddings(c.img_emb, model=c.model)
    frame.laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    for path in part_paths(tmp_path / "out"):
        rows = pq.read_metadata(path).num_rows
        npy(tmp_path / "own" / f"{path.stem}.npy", vectors(rows, seed=rows))
    own = ld.open_embeddings(tmp_path / "own", model=c.model, like=again)
    np.testing.assert_array_equal(own.read(0, range(40)), vectors(40, seed=40))
    ld.where(again, "width > 300").laion.export(tmp_path / "out2")
    after = ld.read_shards(tmp_path / "out2")
    check(bits(again, own), bits(after, ld.open_embeddings(tmp_path / "own", model=c.model)))
    both = ld.open_embeddings([tmp_path / "own", c.img_emb], model=c.model)
    with pytest.raises(PairingError, match=r"img_emb_\d\.npy .* pairs with no shard"):
        pair(both, after)
    check(bits(frame, images), bits(after, images))


# -- refusals --------------------------------------------------------------------------------


def change_recipe(folder, change):
    path = Path(folder) / "_recipe.json"
    recipe = json.loads(path.read_text())
    change(recipe)
    path.write_text(json.dumps(recipe))


@pytest.fixture
def out(tmp_path, c):
    """The folder of an export, the export opened, and the embeddings of its source."""
    ld.where(ld.read_shards(c.metadata), "width > 300").laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    return tmp_path / "out", again, ld.open_embeddings(c.img_emb, model=c.model)


def refused(frame, images, says):
    with pytest.raises(PairingError, match=says) as caught:
        pair(images, frame)
    assert "\n" not in str(caught.value)


def test_an_export_without_its_recipe(tmp_path, out):
    folder, _, images = out
    (folder / "_recipe.json").unlink()
    refused(ld.read_shards(folder / "shards"), images, r"part-.*no recipe beside it.*_recipe\.json")
    (tmp_path / "copied").mkdir()
    part = Path(shutil.copy(part_paths(folder)[0], tmp_path / "copied"))
    refused(ld.read_shards(part), images, "no recipe beside it lists it")


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda r: r.pop("inputs"), "has no 'inputs'"),
        (lambda r: [i.pop("shard") for i in r["inputs"]], "an input has no 'shard'"),
        (lambda r: r["inputs"].append(r["inputs"][0]), "two inputs have the same number"),
        (lambda r: r["inputs"][0].update(rows="40"), "an input is listed as"),
        (lambda r: r["inputs"][0].update(rows=True), "an input is listed as"),
        (lambda r: r.update(inputs=7), "came from"),
        (lambda r: r.update(inputs=[[]]), "came from"),
        (lambda r: r["inputs"].pop(0), r"has rows of shard 0, which .*_recipe\.json does not"),
        (lambda r: r["inputs"][0].update(rows=41), r"img_emb_0\.npy has 40 rows.*has 41"),
        (lambda r: r["inputs"][0].update(path="/x/other_9.parquet"), "rows of /x/other_9"),
    ],
)
def test_recipes_that_do_not_say_where_rows_came_from(out, change, says):
    folder, again, images = out
    change_recipe(folder, change)
    refused(again, images, says)


def test_rows_of_a_shard_that_the_recipe_does_not_list(tmp_path, out, c):
    ld.read_shards(c.metadata).repartition(npartitions=1).laion.export(tmp_path / "one")
    again, images = ld.read_shards(tmp_path / "one"), out[2]
    change_recipe(tmp_path / "one", lambda r: r["inputs"].pop(2))
    with pytest.raises(PairingError, match="has rows of shard 2, which the recipe"):
        ld.similarity(again, images, QUERY).compute()


def test_parts_that_do_not_say_where_rows_came_from(tmp_path, out, c):
    images = out[2]
    frame = ld.read_shards(c.metadata)
    frame[["url", "text"]].laion.export(tmp_path / "narrow")
    refused(
        ld.read_shards(tmp_path / "narrow"), images, "without integer columns 'shard' and 'row'"
    )


def test_embeddings_that_are_not_the_sources(tmp_path, out, c):
    _, again, _ = out
    npy(paths(c, 3)[0], vectors(32))
    refused(again, ld.open_embeddings(c.img_emb, model=c.model), r"has 32 rows.*0003.* has 33")
    npy(f"{c.img_emb}/img_emb_03.npy", vectors(33))
    refused(again, ld.open_embeddings(c.img_emb, model=c.model), "the same key '.*3'")


def test_embeddings_of_parts_are_of_no_numbered_shard(tmp_path, c):
    """Part 0 has as many rows as shard 0, but from other shards."""
    frame, images = ld.read_shards(c.metadata), ld.open_embeddings(c.img_emb, model=c.model)
    frame.laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    refused(frame, pair(images, again), r"metadata_0000\.parquet .* no embeddings")
    one = ld.read_shards(f"{c.metadata}/metadata_0000.parquet")
    own = npy(tmp_path / "own" / f"{part_paths(tmp_path / 'out')[0].stem}.npy", vectors(40))
    refused(one, ld.open_embeddings(own, model=c.model), r"metadata_0000\.parquet .* no embeddings")


def test_two_dtypes_in_one_part(tmp_path, c):
    npy(paths(c, 2)[0], c.images[2].astype(np.float16))
    frame = ld.read_shards(c.metadata)
    images = ld.open_embeddings(c.img_emb, model=c.model)
    frame.laion.export(tmp_path / "apart")
    check(bits(frame, images), bits(ld.read_shards(tmp_path / "apart"), images))
    frame.repartition(npartitions=1).laion.export(tmp_path / "one")
    says = "float32 .* and float16 .*a part has one dtype"
    refused(ld.read_shards(tmp_path / "one"), images, says)


def test_an_export_that_was_replaced(tmp_path, out, c):
    folder, again, images = out
    ld.where(again, "punsafe < 0.9").laion.export(tmp_path / "out2")
    after = ld.read_shards(tmp_path / "out2")
    paired = pair(images, after)
    ld.where(ld.read_shards(c.metadata), "width > 500").laion.export(folder)
    refused(again, images, "part-.*no recipe beside it lists it")
    refused(after, images, "part-.*no recipe beside it lists it")
    row_origins._origins._cached.clear()
    with pytest.raises(EmbeddingsError, match=r"out/shards/part-.* cannot be read"):
        ld.similarity(after, paired, QUERY).compute()


def test_a_part_that_was_altered(out):
    folder, again, images = out
    path = part_paths(folder)[0]
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    row_origins.shard_range.cache_clear()
    refused(again, images, "was rewritten after it was opened.*Copy the whole export")


def test_recipes_that_lead_in_a_circle_or_to_another_store(tmp_path, out):
    folder, again, images = out
    ld.where(again, "punsafe < 0.9").laion.export(tmp_path / "out2")
    after = ld.read_shards(tmp_path / "out2")
    inputs = json.loads((folder / "_recipe.json").read_text())["inputs"]
    own = json.loads((tmp_path / "out2" / "_recipe.json").read_text())["inputs"]
    assert {i["shard"] for i in own} == {0, 1, 2}

    def circle(recipe):
        recipe["inputs"] = [{**one, "shard": i} for i in range(4) for one in own[:1]]

    change_recipe(folder, circle)
    refused(after, images, "of itself")

    def away(recipe):
        recipe["inputs"] = [{**i, "path": f"http://x.invalid/{Path(i['path']).name}"} for i in own]

    change_recipe(tmp_path / "out2", away)
    refused(after, images, "http://x.invalid/part-.*in a store that was not named")
    assert inputs


def test_an_index_is_of_whole_files(tmp_path, out):
    pytest.importorskip("faiss")
    _, again, images = out
    with pytest.raises(PairingError, match="an index needs whole files"):
        ld.build_index(pair(images, again), tmp_path / "index")
    index = ld.build_index(images, tmp_path / "index", progress=False)
    with pytest.raises(PairingError, match="an index needs whole files"):
        ld.search(again, images, QUERY, k=3, index=index)


def test_one_source_by_two_paths(tmp_path, c):
    """As with exports made on two computers."""
    images = ld.open_embeddings(c.img_emb, model=c.model)
    before = bits(ld.read_shards(c.metadata), images)
    shutil.copytree(c.metadata, tmp_path / "mount" / "set" / "metadata")
    for name, folder in (("one", c.metadata), ("two", tmp_path / "mount" / "set" / "metadata")):
        ld.read_shards(folder).laion.export(tmp_path / name)
        check(before, bits(ld.read_shards(tmp_path / name), images))
    with pytest.warns(DiscoveryWarning, match="may be a copy"):
        several = ld.read_shards([tmp_path / "one", tmp_path / "two"])
    assert len(pair(images, several)) == 2 * sum(SIZES)
    shard = tmp_path / "mount" / "set" / "metadata" / "metadata_0000.parquet"
    write_shard(shard, pq.read_table(shard).slice(5))
    ld.read_shards(shard).laion.export(tmp_path / "two")
    refused(ld.read_shards([tmp_path / "one", tmp_path / "two"]), images, "the same key 'set/0'")


def test_a_source_that_is_a_pipe_is_not_waited_for(tmp_path, out):
    folder, again, images = out
    ld.where(again, "punsafe < 0.9").laion.export(tmp_path / "out2")
    after = ld.read_shards(tmp_path / "out2")
    path = part_paths(folder)[0]
    path.unlink()
    os.mkfifo(path)
    row_origins.shard_range.cache_clear()
    refused(after, images, "part-00000-.* the file does not exist")
