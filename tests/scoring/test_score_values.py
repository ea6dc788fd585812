"""Scores and heads against elementwise loops, the kernel by itself, and what is refused."""

import math

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from support.embeddings import set_block_rows
from support.frames import both
from support.heads import linear_head
from support.scored_frames import by_row, opened
from support.searches import SIZES
from support.shards import collection, cosine, npy, space, vectors

import laion_dask as ld
from laion_dask.errors import (
    EmbeddingsError,
    ModelMismatchError,
    OptionError,
    PairingError,
    ProvenanceError,
)
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.models import Vectors
from laion_dask.numerics.normalization import unit
from laion_dask.scoring import embedding_kernel as kernels

pytestmark = both


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
    set_block_rows(monkeypatch, 7)
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
    with pytest.raises(PairingError, match=r"metadata_0002\.parquet has 25 rows"):
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
        def dtype_of(self, shard):
            return "float32"

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
