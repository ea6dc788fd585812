"""Which embedding files of its source a reopened export needs."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.embeddings import pair
from support.reopened_exports import bits, check, part_paths, paths, refused
from support.shards import collection, laion_table, npy, space, vectors, write_shard

import laion_dask as ld
from laion_dask.errors import PairingError


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
    refused(mixed, few, r"metadata_0003\.parquet has 33 rows but no embeddings")


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
    both = ld.read_shards([data_set.metadata for data_set in sets])
    both.laion.export(tmp_path / "out", rows_per_part=20)
    first, _ = part_paths(tmp_path / "out")
    one, two = (ld.open_embeddings(data_set.img_emb, model=data_set.model) for data_set in sets)
    part = ld.read_shards(first)
    check(bits(ld.read_shards(sets[0].metadata), one), bits(part, one))
    refused(part, two, "part-00000-.* has rows of .*one/.*has no embeddings")


def test_embeddings_of_their_own_go_before_those_of_the_source(tmp_path, c):
    frame = ld.read_shards(c.metadata)
    images = ld.open_embeddings(c.img_emb, model=c.model)
    frame.laion.export(tmp_path / "out", rows_per_part=40)
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
