"""What must not change scores: partitions, blocks, filters, workers; and what is read for them."""

import pickle

import cloudpickle
import dask
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import pytest
from support.embeddings import set_block_rows
from support.frames import both
from support.heads import linear_head
from support.partitionings import read_combined
from support.scored_frames import by_row, opened
from support.searches import SIZES
from support.shards import collection, refuse, vectors

import laion_dask as ld
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet import duckdb_connection
from laion_dask.scoring import embedding_kernel as kernels

pytestmark = both


def variants(c):
    """Frames of the same rows with other partitions, orders and indexes."""
    frame = ld.read_shards(c.metadata)
    fine = ld.read_shards(c.metadata, max_rows_per_partition=1)
    yield "a partition a row group", fine
    yield "shards in one partition", read_combined(c.metadata)
    yield "repartitioned", fine.repartition(npartitions=2)
    yield "one partition", frame.repartition(npartitions=1)
    yield "many partitions", frame.repartition(npartitions=7)
    yield "shuffled", frame.shuffle("row", npartitions=5)
    yield "sorted by another column", frame.sort_values("width")
    yield "with its index reset", frame.reset_index(drop=True)
    yield "concatenated", dd.concat([frame.partitions[2:], frame.partitions[:2]])


def test_the_answer_does_not_depend_on_partitioning(small, tmp_path):
    frame, emb, texts = opened(small)
    head = linear_head(tmp_path, small.model)
    query = vectors(1, seed=9)[0]

    def scored(frame):
        frame = frame.laion.similarity(emb, query).laion.similarity(emb, texts, to="clip_score")
        got = frame.laion.score(emb, head).compute()
        got = got.set_index(["shard", "row"]).sort_index()
        return got[["query_similarity", "clip_score", "plain"]]

    wanted = scored(frame)
    assert len(wanted) == sum(SIZES)
    for name, variant in variants(small):
        pd.testing.assert_frame_equal(scored(variant), wanted, check_exact=True, obj=name)


@pytest.mark.parametrize("block", [1, 2, 3, 10, 8192])
@pytest.mark.parametrize("dim", [3, 8, 31, 512])
def test_the_answer_does_not_depend_on_blocks(tmp_path, monkeypatch, block, dim):
    c = collection(tmp_path, (33,), dim=dim)
    frame, emb, texts = opened(c)
    query = vectors(1, dim, seed=9)[0]
    wanted = by_row(frame.laion.similarity(emb, query))
    pairs = by_row(frame.laion.similarity(emb, texts))
    set_block_rows(monkeypatch, block)
    for got, plain in (
        (by_row(frame.laion.similarity(emb, query)), wanted),
        (by_row(frame.laion.similarity(emb, texts)), pairs),
    ):
        pd.testing.assert_series_equal(got, plain, check_exact=True)


def test_filters_first_change_no_number(small):
    frame, emb, _ = opened(small)
    query = vectors(1, seed=9)[0]
    whole = by_row(frame.laion.similarity(emb, query))
    pushed = frame.laion.where("width >= 700 and similarity > 0.2")
    masked = frame[(frame["width"] >= 700) & (frame["similarity"] > 0.2)]
    later = frame.laion.similarity(emb, query).laion.where("width >= 700 and similarity > 0.2")
    for filtered in (pushed, masked):
        got = by_row(filtered.laion.similarity(emb, query))
        assert 0 < len(got) < len(whole)
        pd.testing.assert_series_equal(got, whole[got.index], check_exact=True)
        pd.testing.assert_series_equal(got, by_row(later), check_exact=True)
    sampled = by_row(frame.sample(frac=0.4, random_state=1).laion.similarity(emb, query))
    pd.testing.assert_series_equal(sampled, whole[sampled.index], check_exact=True)
    nothing = frame.laion.where("width > 99999").laion.similarity(emb, query).compute()
    assert len(nothing) == 0 and nothing["query_similarity"].dtype == np.float32


def test_duplicated_rows_are_scored_alike(small):
    frame, emb, _ = opened(small)
    query = vectors(1, seed=9)[0]
    twice = dd.concat([frame, frame]).laion.similarity(emb, query).compute()
    assert len(twice) == 2 * sum(SIZES)
    assert twice.groupby(["shard", "row"])["query_similarity"].nunique().eq(1).all()


@pytest.mark.only_pandas
@pytest.mark.slow
def test_threads_and_processes_give_the_same_bits(small, tmp_path, worker_processes):
    frame, emb, texts = opened(small, max_rows_per_partition=10)
    scored = frame.laion.similarity(emb, vectors(1, seed=9)[0])
    scored = scored.laion.similarity(emb, texts, to="clip_score").laion.where("clip_score > -0.5")
    wanted = scored.compute(scheduler="sync")
    pd.testing.assert_frame_equal(scored.compute(scheduler="threads"), wanted, check_exact=True)
    with distributed.Client(worker_processes):
        pd.testing.assert_frame_equal(scored.compute(), wanted, check_exact=True)
        rows = scored.laion.rows()
        summary = scored.laion.summary()
        exported = scored.laion.export(tmp_path / "on_workers")
    assert rows.kept == len(wanted) and summary.rows == rows == exported.rows
    here = scored.laion.export(tmp_path / "here")
    assert here.manifest == exported.manifest  # including the digests of the parts
    assert scored.laion.summary().quantiles.equals(summary.quantiles)


@pytest.mark.only_pandas
def test_only_shard_and_row_are_read_for_a_score(small, queries):
    frame, emb, _ = opened(small)
    scored = frame.laion.similarity(emb, vectors(1, seed=9)[0])
    scored[["query_similarity", "row", "shard"]].compute()
    assert len(queries) == len(SIZES)
    for sql in queries:
        select = sql.partition("FROM")[0]
        assert "file_row_number" in select
        assert not any(f'"{name}"' in select for name in small.tables[0].column_names)


def test_scoring_is_lazy(small, tmp_path, monkeypatch):
    frame, emb, texts = opened(small)
    head = linear_head(tmp_path, small.model)
    monkeypatch.setattr(EmbeddingFile, "read", lambda *a: pytest.fail("embeddings were read"))
    monkeypatch.setattr(duckdb_connection, "query", lambda *a: pytest.fail("a shard was read"))
    with dask.config.set(scheduler=refuse):
        scored = frame.laion.similarity(emb, np.ones(8)).laion.similarity(emb, texts, to="clip")
        scored = scored.laion.score(emb, head).laion.where("clip > 0.2 and plain > 0")
        assert scored.dtypes["clip"] == scored.dtypes["plain"] == np.float32
        assert list(scored.columns)[-3:] == ["query_similarity", "clip", "plain"]
        with pytest.raises(AssertionError, match="something was computed"):
            scored.compute()


def test_everything_pickles(small, tmp_path):
    frame, emb, texts = opened(small)
    head = linear_head(tmp_path, small.model)
    scored = frame.laion.similarity(emb, np.ones(8)).laion.similarity(emb, texts, to="clip")
    scored = scored.laion.score(emb, head).laion.where("clip > 0")
    again = cloudpickle.loads(cloudpickle.dumps(scored))
    pd.testing.assert_frame_equal(again.compute(), scored.compute())
    assert pickle.loads(pickle.dumps(emb)) == emb
    assert pickle.loads(pickle.dumps(kernels.Query((1.0, 0.0)))) == kernels.Query((1.0, 0.0))


def test_the_same_scores_have_the_same_names(small):
    frame, emb, _ = opened(small)
    one, same = (frame.laion.similarity(emb, np.ones(8)) for _ in range(2))
    assert one._name == same._name
    assert one._name != frame.laion.similarity(emb, np.arange(8.0))._name
