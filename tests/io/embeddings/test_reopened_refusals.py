"""Reopened exports and embeddings that do not belong together are refused."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.embeddings import pair
from support.reopened_exports import QUERY, SIZES, bits, check, part_paths, paths, refused
from support.shards import npy, vectors, write_shard

import laion_dask as ld
from laion_dask.errors import DiscoveryWarning, EmbeddingsError, PairingError
from laion_dask.io.embeddings import row_origins


def change_recipe(folder, change):
    path = Path(folder) / "_recipe.json"
    recipe = json.loads(path.read_text())
    change(recipe)
    path.write_text(json.dumps(recipe))


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
