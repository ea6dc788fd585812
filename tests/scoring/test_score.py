"""Scores against elementwise loops, and everything that must not change them."""

import math
import pickle

import cloudpickle
import dask
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import pytest
from support.frames import both
from support.heads import linear_head
from support.searches import SIZES
from support.shards import collection, cosine, npy, refuse, space, vectors

import laion_dask as ld
from laion_dask.errors import (
    EmbeddingsError,
    ModelMismatchError,
    OptionError,
    PairingError,
    ProvenanceError,
)
from laion_dask.io.embeddings import row_ids
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet import duckdb_connection
from laion_dask.models import Vectors
from laion_dask.numerics.normalization import unit
from laion_dask.scoring import embedding_kernel as kernels

pytestmark = both


def opened(c, **options):
    """Frame, image embeddings, text embeddings."""
    return (
        ld.read_shards(c.metadata, **options),
        ld.open_embeddings(c.img_emb, model=c.model),
        ld.open_embeddings(c.text_emb, model=c.model),
    )


def by_row(frame, column="query_similarity") -> pd.Series:
    """A computed column, sorted by (shard, row)."""
    got = frame.compute() if hasattr(frame, "compute") else frame
    return got.set_index(["shard", "row"])[column].sort_index()


# -- the numbers ------------------------------------------------------------------------------


def test_similarity_against_a_loop(corpus):
    frame, emb, _ = opened(corpus)
    query = vectors(1, seed=9)[0]
    got = by_row(frame.laion.similarity(emb, query))
    assert got.dtype == np.float32 and len(got) == sum(SIZES)
    for (shard, row), value in got.items():
        assert value == pytest.approx(cosine(corpus.images[shard][row], query), abs=1e-6)


def test_the_clip_score_against_a_loop(corpus):
    frame, images, texts = opened(corpus)
    got = by_row(ld.similarity(frame, images, texts, to="clip_score"), "clip_score")
    for (shard, row), value in got.items():
        wanted = cosine(corpus.images[shard][row], corpus.texts[shard][row])
        assert value == pytest.approx(wanted, abs=1e-6)


def test_wide_vectors_of_any_length(tmp_path):
    c = collection(tmp_path, (300,), dim=768)
    scale = np.float32(10.0) ** np.random.default_rng(0).integers(-18, 19, (300, 1)).astype(
        "float32"
    )
    npy(f"{c.img_emb}/img_emb_0.npy", c.images[0] * scale)
    frame, emb, _ = opened(c)
    query = 1e30 * vectors(1, 768, "float64", 3)[0]
    got = by_row(frame.laion.similarity(emb, query))
    wanted = [cosine(x, query) for x in c.images[0]]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_kinds_of_query(small):
    frame, emb, _ = opened(small)
    query = vectors(1, seed=9)[0]
    wanted = by_row(frame.laion.similarity(emb, query))
    other = space(small.metadata + "/..", name="other")
    for same in (
        query.tolist(),
        tuple(query.tolist()),
        query[None],
        query.astype(np.float64),
        3 * query,
        Vectors(query, small.model),
        Vectors(query[None], small.model),
        Vectors(query, None),
    ):
        pd.testing.assert_series_equal(by_row(frame.laion.similarity(emb, same)), wanted)
    with pytest.raises(ModelMismatchError, match=r"The embeddings and the query.*space and other"):
        frame.laion.similarity(emb, Vectors(query, other))
    second = ld.open_embeddings(small.text_emb, model=other)
    with pytest.raises(ModelMismatchError, match="two sets of embeddings"):
        frame.laion.similarity(emb, second)
    for wrong in (query[:7], vectors(2), ["a"] * 8, [True] * 8, 1.0, None, [[1, 2], [3]]):
        with pytest.raises(EmbeddingsError, match=r"expected \(8,\) numbers"):
            frame.laion.similarity(emb, wrong)
    with pytest.raises(EmbeddingsError, match=r"ClipModel\(\.\.\.\)\.text\('a bird'\) makes one"):
        frame.laion.similarity(emb, "a bird")
    for nowhere in (np.zeros(8), np.full(8, np.nan), [np.inf] + [0.0] * 7):
        with pytest.raises(EmbeddingsError, match="no direction"):
            frame.laion.similarity(emb, nowhere)


def test_a_text_query_of_a_loaded_model(tmp_path):
    from support.small_clip import make_small_clip

    config, weights = make_small_clip(tmp_path)
    model = ld.ClipModel(config, weights)
    c = collection(tmp_path / "c", (12,), dim=32)
    frame = ld.read_shards(c.metadata)
    emb = ld.open_embeddings(c.img_emb, model=model)
    query = model.text("a bird")
    got = by_row(frame.laion.similarity(emb, query))
    np.testing.assert_allclose(got, [cosine(x, query) for x in c.images[0]], atol=1e-6)
    both = by_row(frame.laion.similarity(emb, query - 0.3 * model.text("a cage")))
    assert not np.allclose(both, got)
    with pytest.raises(ModelMismatchError):
        frame.laion.similarity(ld.open_embeddings(c.img_emb, model=c.model), query)


def test_rows_without_a_direction_are_unscored(tmp_path):
    c = collection(tmp_path, (20, 10), odd=False)
    x = c.images[0]
    x[3], x[4, 2], x[5, 7], x[6, 0] = 0, np.nan, np.inf, -np.inf
    npy(f"{c.img_emb}/img_emb_0.npy", x)
    frame, emb, texts = opened(c)
    query = vectors(1, seed=9)[0]
    for scored in (
        frame.laion.similarity(emb, query, to="q"),
        frame.laion.similarity(emb, texts, to="q"),
        frame.laion.similarity(texts, emb, to="q"),
        frame.laion.score(emb, linear_head(tmp_path, c.model, "q")),
    ):
        got = by_row(scored, "q")
        assert list(got.index[got.isna()]) == [(0, 3), (0, 4), (0, 5), (0, 6)]
        assert np.isfinite(got.dropna()).all()
        missing = scored.laion.where("q is None").compute()
        assert missing["row"].tolist() == [3, 4, 5, 6]
        kept = scored.laion.where("q > 0.1")
        rows = kept.laion.rows()
        assert (rows.read, rows.unscored, rows.rejected) == (30, 4, 0)
        assert rows.kept == (got > 0.1).sum() and rows.dropped == (got <= 0.1).sum()
        flipped = scored.laion.where("not q > 0.1").laion.rows()
        assert (flipped.kept, flipped.unscored) == (rows.dropped, 4)
    lax = frame.laion.similarity(emb, query, to="q").laion.where("q > 0.1 or q is None")
    assert lax.laion.rows().unscored == 0


def test_heads_give_the_numbers_of_predict(corpus, tmp_path):
    frame, emb, _ = opened(corpus)
    one = linear_head(tmp_path, corpus.model, "one", 1)
    two = linear_head(tmp_path, corpus.model, "two", 2, logistic=True)
    got = frame.laion.score(emb, one, two).compute().set_index(["shard", "row"])
    for shard, x in enumerate(corpus.images):
        for head in (one, two):
            if len(x):
                np.testing.assert_array_equal(got.loc[shard, head.name], head.predict(x))


def test_heads_of_one_pass_read_each_embedding_once(small, tmp_path, monkeypatch):
    monkeypatch.setattr(row_ids, "BLOCK", 7)
    frame, emb, _ = opened(small)
    heads = [linear_head(tmp_path, small.model, f"h{i}", i) for i in range(3)]
    read = []
    plain = EmbeddingFile.read

    def spy(self, rows):
        read.extend((self.path, row) for row in np.asarray(rows).tolist())
        return plain(self, rows)

    scored = frame.laion.where("width >= 300").laion.score(emb, *heads)
    monkeypatch.setattr(EmbeddingFile, "read", spy)
    got = scored.compute(scheduler="sync")
    paths = {shard: emb.files[shard].path for shard in range(len(SIZES))}
    kept = [(paths[s], r) for s, r in zip(got["shard"], got["row"], strict=True)]
    assert sorted(read) == sorted(kept)
    assert 0 < len(kept) < sum(SIZES)


def test_heads_are_checked(small, tmp_path):
    frame, emb, _ = opened(small)
    head = linear_head(tmp_path, small.model)
    foreign = linear_head(tmp_path, space(tmp_path, name="other"), "foreign")
    with pytest.raises(ModelMismatchError, match="The head 'foreign' and the embeddings"):
        frame.laion.score(emb, head, foreign)
    with pytest.raises(OptionError, match="Two heads"):
        frame.laion.score(emb, head, head)
    with pytest.raises(OptionError, match="No head"):
        frame.laion.score(emb)
    with pytest.raises(OptionError, match="already has a column 'plain'"):
        frame.laion.score(emb, head).laion.score(emb, head)


# -- what must not change them ----------------------------------------------------------------


def variants(c):
    """Frames of the same rows with other partitions, orders and indexes."""
    frame = ld.read_shards(c.metadata)
    fine = ld.read_shards(c.metadata, max_rows_per_partition=1)
    yield "a partition a row group", fine
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
    monkeypatch.setattr(row_ids, "BLOCK", block)
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


# -- what is read, and when -------------------------------------------------------------------


@pytest.mark.only_pandas
def test_only_shard_and_row_are_read_for_a_score(small, monkeypatch):
    frame, emb, _ = opened(small)
    queries = []
    plain = duckdb_connection.query

    def spy(sql, path, parameters):
        queries.append(sql)
        return plain(sql, path, parameters)

    monkeypatch.setattr(duckdb_connection, "query", spy)
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


# -- clear errors -----------------------------------------------------------------------------


def test_refusals(small):
    frame, emb, _ = opened(small)
    query = np.ones(8)
    with pytest.raises(OptionError, match=r"already has a column 'similarity'.*to="):
        frame.laion.similarity(emb, query, to="similarity")
    for to in ("shard", "row"):
        with pytest.raises(OptionError, match="already"):
            frame.laion.similarity(emb, query, to=to)
    for kept, lost in (
        (["url", "row"], "shard"),
        (["url", "shard"], "row"),
        (["url"], "shard and"),
    ):
        with pytest.raises(ProvenanceError, match=f"no column {lost}"):
            frame[kept].laion.similarity(emb, query)
    plain = dd.from_pandas(pd.DataFrame({"shard": [0], "row": [0]}), npartitions=1)
    with pytest.raises(ProvenanceError, match="does not lead back to read_shards"):
        plain.laion.similarity(emb, query)
    fewer = Embeddings(emb.files[:2], emb.model)
    with pytest.raises(PairingError, match=r"metadata_0002\.parquet \(25 rows\)"):
        frame.laion.similarity(fewer, query)


def test_the_free_function_is_the_method(small):
    frame, emb, _ = opened(small)
    assert ld.similarity(frame, emb, np.ones(8))._name == (
        frame.laion.similarity(emb, np.ones(8))._name
    )
    assert "Lazy." in type(frame.laion).similarity.__doc__.splitlines()[0]


@pytest.mark.only_pandas
def test_the_kernel_by_itself():
    part = pd.DataFrame({"shard": [1, 0, 1], "row": [0, 1, 1]}, index=[9, 9, 4])
    files = {0: vectors(2, seed=0), 1: vectors(2, seed=1)}

    class InMemoryEmbeddings:
        def read(self, shard, rows):
            return files[shard][rows]

    vector = vectors(1, seed=5)[0]
    query = kernels.Query(tuple(unit(vector[None])[0].tolist()))
    got = kernels.similarity(part, InMemoryEmbeddings(), query, "s")
    assert got.index.tolist() == [9, 9, 4] and list(got) == ["s"]
    wanted = [cosine(files[s][r], vector) for s, r in zip(part["shard"], part["row"], strict=True)]
    np.testing.assert_allclose(got["s"], wanted, atol=1e-6)
    empty = kernels.similarity(part[:0], InMemoryEmbeddings(), query, "s")
    assert len(empty) == 0 and empty["s"].dtype == np.float32


@pytest.mark.only_pandas
def test_unit_has_no_false_directions():
    x = np.zeros((7, 3))
    x[1:, 0] = [1e-300, 1e300, np.inf, -np.inf, np.nan, 5]
    got = unit(x)
    assert np.isnan(got[[0, 3, 4, 5]]).all()
    np.testing.assert_array_equal(got[6], [1, 0, 0])
    for row in got[[1, 2]]:  # squares that under- or overflow: a direction or NaN, never 0
        assert np.isnan(row).all() or math.isclose(np.linalg.norm(row), 1, rel_tol=1e-6)
