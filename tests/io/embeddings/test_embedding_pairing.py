"""Embeddings pair with shards by key, never by position."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.embeddings import pair
from support.frames import both
from support.shards import collection, laion_table, npy, vectors, write_shard

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, PairingError, ProvenanceError


def check_pairs(frame, emb, wanted: dict):
    """Check the pairing; ``wanted`` maps the end of a shard's path to its embeddings."""
    from laion_dask.frame.provenance import Provenance

    paired = pair(emb, frame)
    for i, shard in enumerate(Provenance.of(frame).shards):
        x = next(x for end, x in wanted.items() if shard.path.endswith(end))
        np.testing.assert_array_equal(paired.read(i, range(len(x))), x)


@both
@pytest.mark.parametrize(
    "shard, vector",
    [
        ("metadata_{:04d}.parquet", "img_emb_{}.npy"),
        ("metadata_{}.parquet", "img_emb_{:04d}.npy"),
        ("part-{:05d}-0a1b2c3d-1111-2222-3333-444455556666-c000.snappy.parquet", "img_emb_{}.npy"),
        ("{:032x}.parquet", "{:032x}.npy"),
        ("{:05d}.parquet", "text_emb_{}.npy"),
    ],
)
def test_pairing_by_key_never_by_position(tmp_path, model, shard, vector):
    numbers = [12, 2, 107, 30]  # names sort differently as text and as numbers
    wanted = {}
    for n in numbers:
        write_shard(tmp_path / "metadata" / shard.format(n), laion_table(10, n))
        wanted[shard.format(n)] = vectors(10, seed=n)
        npy(tmp_path / "img_emb" / vector.format(n), wanted[shard.format(n)])
    names = [str(tmp_path / "img_emb" / vector.format(n)) for n in numbers]
    frame = ld.read_shards(tmp_path / "metadata")
    for listing in (names, names[::-1], sorted(names)):
        check_pairs(frame, ld.open_embeddings(listing, model=model), wanted)
        check_pairs(frame, ld.open_embeddings(listing, model=model, like=frame), wanted)
    backwards = ld.read_shards([tmp_path / "metadata" / shard.format(n) for n in numbers[::-1]])
    check_pairs(backwards, ld.open_embeddings(names, model=model), wanted)


def test_the_same_number_in_two_collections(tmp_path, model):
    wanted = {}
    for seed, name in enumerate(("laion2B-en", "laion1B-nolang")):
        shard = write_shard(
            tmp_path / name / "metadata" / "metadata_3.parquet", laion_table(6, seed)
        )
        wanted[shard] = vectors(6, seed=seed)
        npy(tmp_path / name / "img_emb" / "img_emb_3.npy", wanted[shard])
    frame = ld.read_shards(str(tmp_path / "*" / "metadata" / "*.parquet"))
    files = [tmp_path / n / "img_emb" / "img_emb_3.npy" for n in ("laion2B-en", "laion1B-nolang")]
    check_pairs(frame, ld.open_embeddings(files, model=model), wanted)
    assert frame.npartitions == 2
    one = ld.open_embeddings(files[:1], model=model)
    with pytest.raises(PairingError, match=r"laion1B-nolang/metadata.* has 6 rows but no emb"):
        pair(one, frame)


def test_pairing_errors_name_the_files_and_both_counts(tmp_path):
    c = collection(tmp_path, sizes=(10, 20, 30))
    frame = ld.read_shards(c.metadata)
    paths = [f"{c.img_emb}/img_emb_{i}.npy" for i in range(3)]
    with pytest.raises(PairingError, match=r"metadata_0001\.parquet has 20 rows but no embeddings"):
        ld.open_embeddings([paths[0], paths[2]], model=c.model, like=frame)
    extra = npy(f"{c.img_emb}/img_emb_7.npy", vectors(4))
    with pytest.raises(PairingError, match=r"img_emb_7\.npy \(4 rows\) pairs with no shard"):
        ld.open_embeddings([*paths, extra], model=c.model, like=frame)
    npy(paths[1], vectors(19))
    with pytest.raises(PairingError, match=r"img_emb_1\.npy has 19 .*metadata_0001.*has 20"):
        ld.open_embeddings(paths, model=c.model, like=frame)
    npy(paths[1], vectors(0))
    with pytest.raises(PairingError, match=r"img_emb_1\.npy has 0 .*metadata_0001.*has 20"):
        ld.open_embeddings(paths, model=c.model, like=frame)
    twin = npy(f"{c.img_emb}/img_emb_0002.npy", vectors(30))
    with pytest.raises(PairingError, match=r"the same key '(.*/)?2'"):
        ld.open_embeddings([paths[0], paths[2], twin], model=c.model, like=frame)
    assert issubclass(PairingError, EmbeddingsError) and issubclass(PairingError, ValueError)


def test_pairing_needs_one_scan(tmp_path):
    import dask.dataframe as dd

    c = collection(tmp_path / "a", sizes=(10, 10, 10), odd=False)
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    with pytest.raises(ProvenanceError, match="does not lead back"):
        pair(emb, dd.from_pandas(pd.DataFrame({"shard": [0], "row": [0]}), npartitions=1))
    paths = [f"{c.metadata}/metadata_{i:04d}.parquet" for i in range(3)]
    one, two = ld.read_shards([paths[0], paths[1]]), ld.read_shards([paths[0], paths[2]])
    with pytest.raises(ProvenanceError, match="2 calls"):
        pair(emb, dd.concat([one, two]))


@both
def test_pairing_of_chosen_partitions_keeps_the_shard_numbers(tmp_path):
    c = collection(tmp_path, sizes=(10, 10, 10), odd=False)
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    frame = ld.read_shards(c.metadata)
    whole = ld.similarity(frame, emb, np.ones(8)).compute()
    for chosen in (frame.partitions[[2, 1]], frame.partitions[[2, 1]].optimize(fuse=False)):
        part = ld.similarity(ld.where(chosen, "similarity > 0.2"), emb, np.ones(8)).compute()
        both = part.merge(whole, on=["shard", "row"], suffixes=("", "_whole"))
        assert len(both) == len(part) > 0 and set(part["shard"]) == {1, 2}
        np.testing.assert_array_equal(both["query_similarity"], both["query_similarity_whole"])


@both
def test_zero_row_shards_pair(tmp_path):
    c = collection(tmp_path, sizes=(0, 5))
    emb = ld.open_embeddings(c.img_emb, model=c.model, like=ld.read_shards(c.metadata))
    assert len(emb) == 5 and emb.read(0, []).shape == (0, 8)


def test_parts_of_an_export_never_pair_by_their_number(tmp_path):
    """Part 0 of an export may have as many rows as shard 0, but from other shards."""
    for shard in range(2):
        columns = {"URL": [f"u{shard}{i}" for i in range(4)], "TEXT": ["t"] * 4}
        pq.write_table(pa.table(columns), tmp_path / f"metadata_{shard:04d}.parquet")
        np.save(tmp_path / f"img_emb_{shard:04d}.npy", np.full((4, 512), shard + 1, np.float16))
    source = ld.read_shards(str(tmp_path / "metadata_*.parquet"))
    source.partitions[[1, 0]].laion.export(tmp_path / "out", rows_per_part=4)
    subset = ld.read_shards(tmp_path / "out")
    images = ld.open_embeddings(tmp_path / "img_emb_*.npy", model="ViT-B-32", like=subset)
    got = [images.read(part, range(4)).astype(int) for part in range(2)]
    for part, shard in enumerate(ld.read_shards(tmp_path / "out").partitions):
        assert (got[part] == shard.compute()["source_shard"].to_numpy()[:, None] + 1).all()
    (tmp_path / "own").mkdir()
    for part in (tmp_path / "out" / "shards").glob("*.parquet"):
        np.save(tmp_path / "own" / f"{part.stem}.npy", np.ones((4, 512), np.float16))
    assert len(ld.open_embeddings(tmp_path / "own", model="ViT-B-32", like=subset)) == 8
