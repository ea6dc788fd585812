"""What search accepts as a query, and reranking by other embeddings."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.frames import both
from support.searches import check, opened, unit_rows
from support.shards import collection, cosine, npy, space, vectors
from support.small_clip import make_small_clip, picture

import laion_dask as ld
from laion_dask.errors import (
    ColumnError,
    EmbeddingsError,
    ModelMismatchError,
    OptionError,
    PairingError,
    ProvenanceError,
)
from laion_dask.models import Vectors


@both
def test_kinds_of_vectors(small):
    frame, emb = opened(small)
    query = vectors(2, seed=9)
    wanted = frame.laion.search(emb, query, 6)
    for same in (
        query.tolist(),
        tuple(query),
        3 * query.astype(np.float64),
        Vectors(query, small.model),
    ):
        pd.testing.assert_frame_equal(frame.laion.search(emb, same, 6), wanted)
    one = frame.laion.search(emb, query[0], 6)
    pd.testing.assert_frame_equal(one, wanted[wanted["query"] == 0])
    equal = frame.laion.search(emb, query[[0, 0]], 6)
    np.testing.assert_array_equal(equal["row"][:6], equal["row"][6:])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_tensors(small, dtype):
    import torch

    frame, emb = opened(small)
    query = torch.from_numpy(vectors(2, seed=9)).to(getattr(torch, dtype))
    wanted = frame.laion.search(emb, query.double().numpy(), 6)
    for same in (query, query.clone().requires_grad_(), list(query)):
        pd.testing.assert_frame_equal(frame.laion.search(emb, same, 6), wanted)
    similar = frame.laion.similarity(emb, query[0].clone().requires_grad_()).compute()
    at = wanted.loc[0]
    here = similar[(similar["shard"] == at["shard"]) & (similar["row"] == at["row"])]
    assert here["query_similarity"].tolist() == [at["query_similarity"]]
    for wrong in (query > 0, query[:, :7], list(query[:, :7]), query.to_sparse()):
        with pytest.raises(EmbeddingsError, match=r"expected \(8,\) or \(m, 8\)"):
            frame.laion.search(emb, wrong)


@both
def test_a_row_of_the_frame(small):
    frame, emb = opened(small)
    result = frame.laion.search(emb, (2, 4), 3)
    assert (result["shard"][0], result["row"][0], result["query_similarity"][0]) == (2, 4, 1)
    two = frame.laion.search(emb, [(2, 4), (np.int64(0), 7)], 1)
    assert two[["shard", "row"]].to_numpy().tolist() == [[2, 4], [0, 7]]
    with pytest.raises(EmbeddingsError, match="Shard 9"):
        frame.laion.search(emb, (9, 4))


@pytest.fixture
def clip(tmp_path):
    config, weights = make_small_clip(tmp_path)
    c = collection(tmp_path / "data", (30, 20), dim=32)
    model = ld.ClipModel(config, weights)
    return ld.read_shards(c.metadata), ld.open_embeddings(c.img_emb, model=model), c


def test_texts_and_pictures(clip, tmp_path):
    frame, emb, _ = clip
    model = emb.model
    path = tmp_path / "picture.png"
    path.write_bytes(picture(1))

    def same(query, vector, **options):
        wanted = frame.laion.search(emb, vector, 4)
        pd.testing.assert_frame_equal(frame.laion.search(emb, query, 4, **options), wanted)

    same("a red bird", model.text("a red bird"))
    same(["a bird", "a boat"], model.text(["a bird", "a boat"]))
    pixels = np.asarray(Image.open(path))
    with open(path, "rb") as file:
        for image in (picture(1), path, Image.open(path), file, io.BytesIO(picture(1)), pixels):
            same(image, model.image(picture(1)))
    same(np.stack([pixels, pixels]), np.stack([model.image(picture(1))] * 2))
    same([path, picture(2)], np.stack([model.image(picture(1)), model.image(picture(2))]))
    same(["a bird", path], np.stack([model.text("a bird"), model.image(path)]))


def test_arithmetic(clip, tmp_path):
    frame, emb, c = clip
    text = emb.model.text
    path = tmp_path / "picture.png"
    path.write_bytes(picture(1))
    wanted = frame.laion.search(emb, text("king") - text("man") + 2 * text("woman"), 5)
    mixed = ld.mix({"king": 1, "man": -1, "woman": 2})
    pd.testing.assert_frame_equal(
        frame.laion.search(emb, mixed, 5), wanted, check_exact=False, atol=1e-6
    )
    rating = vectors(1, 32, seed=4)[0]
    frame.laion.search(emb, text("a bird") + 0.3 * rating, 5)
    of_row = ld.mix({(1, 3): 1.0, path: 0.5})
    found = frame.laion.search(emb, [of_row, "a bird"], 5)
    vector = unit_rows(c.images[1][3]) + 0.5 * emb.model.image(path)
    check(found[found["query"] == 0], c.images, [np.asarray(vector)], 5)
    for wrong in ({}, {"a": "b"}, {"a": float("nan")}, {0.5: 1}, {"a": True}, ["a", "b"]):
        with pytest.raises(OptionError):
            ld.mix(wrong)


def test_what_is_refused(small):
    frame, emb = opened(small)
    query = vectors(1, seed=9)[0]
    for k in (0, -1, 2.5, "ten", True, None):
        with pytest.raises(OptionError, match="k is"):
            frame.laion.search(emb, query, k)
    for wrong in (vectors(1, 7)[0], np.zeros((2, 2, 8)), np.array([True] * 8)):
        with pytest.raises(EmbeddingsError, match=r"expected \(8,\) or \(m, 8\)"):
            frame.laion.search(emb, wrong)
    with pytest.raises(EmbeddingsError, match=r"Query 1 of 2.*no direction"):
        frame.laion.search(emb, np.stack([query, 0 * query]))
    with pytest.raises(EmbeddingsError, match="no query"):
        frame.laion.search(emb, np.empty((0, 8)))
    other = space(Path(small.metadata).parent, name="other")
    for wrong in (Vectors(query, other), [Vectors(query, other)] * 2):
        with pytest.raises(ModelMismatchError):
            frame.laion.search(emb, wrong)
    with pytest.raises(OptionError, match="more than 50,000,000"):
        frame.laion.search(emb, np.ones((1000, 8)), 60_000)
    for wrong in ("my-index", Path("my-index"), 3, frame, emb):
        with pytest.raises(OptionError, match=r"index is .*what ld.open_index"):
            frame.laion.search(emb, query, index=wrong)
    for wrong in ([[1.0, 2], [3]], [np.zeros((2, 8)), np.zeros((2, 7))]):
        with pytest.raises(EmbeddingsError, match=r"not an array.*expected \(8,\) or"):
            frame.laion.search(emb, wrong)
    with pytest.raises(OptionError, match="list of names"):
        frame.laion.search(emb, query, columns="text")
    with pytest.raises(ColumnError, match="Did you mean 'width'"):
        frame.laion.search(emb, query, columns=["widht"])
    with pytest.raises(ProvenanceError):
        frame.drop(columns="row").laion.search(emb, query)
    with pytest.raises(PairingError):
        ld.read_shards(f"{small.metadata}/metadata_0000.parquet").laion.search(emb, query)
    renamed = frame.rename(columns={"text": "query"})
    with pytest.raises(OptionError, match="'query' is a column"):
        renamed.laion.search(emb, query)
    assert len(renamed.laion.search(emb, query, columns=["width"])) == 96
    random = frame.map_partitions(_at_random, meta=frame._meta)
    with pytest.raises(ProvenanceError, match="gave other rows"):
        for _ in range(20):
            random.laion.search(emb, query, 5)


def _at_random(part):
    return part.sample(frac=0.5)


def test_a_text_that_names_a_picture_says_that_it_is_a_text(clip, tmp_path):
    from laion_dask.errors import QueryWarning

    frame, emb = clip[0], clip[1]
    (tmp_path / "star.png").write_bytes(picture(1))
    for text in (str(tmp_path / "star.png"), "https://a.example/star.png"):
        for query in (text, [text, "a bird"], ld.mix({text: 1})):
            with pytest.warns(QueryWarning, match="is searched as a text"):
                frame.laion.search(emb, query, 1)
    frame.laion.search(emb, ["star.png", "http is a protocol", "x" * 5000], 1)


# -- reranking --------------------------------------------------------------------------------


@both
def test_reorder_by_other_embeddings(small):
    frame, emb = opened(small)
    small.texts[0][:20] = np.nan
    npy(f"{small.text_emb}/text_emb_0.npy", small.texts[0])
    other = ld.open_embeddings(small.text_emb, model=small.model)
    one, two = vectors(4, seed=9), vectors(4, seed=10)
    first = frame.laion.search(emb, one, 16)
    result = frame.laion.search(emb, one, 5, rerank=ld.Rerank(other, two, take=16))
    names = ["query", "rank", "query_similarity", "rerank_similarity", "shard", "row"]
    assert result.columns[:6].tolist() == names
    for number in range(4):
        near = first[first["query"] == number].set_index(["shard", "row"])["query_similarity"]
        values = {(s, r): cosine(small.texts[s][r], two[number]) for s, r in near.index}
        ranked = sorted(values, key=lambda at: (np.isnan(values[at]), -values[at], at))[:5]
        got = result[result["query"] == number]
        assert list(zip(got["shard"], got["row"], strict=True)) == ranked
        assert got["rank"].tolist() == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(
            got["rerank_similarity"], [values[at] for at in ranked], atol=1e-6
        )
        np.testing.assert_array_equal(got["query_similarity"], near.loc[ranked])
    same = frame.laion.search(emb, one, 5, rerank=ld.Rerank(other, two[0]))
    assert len(same) == 20
    with pytest.raises(OptionError, match="to rerank by"):
        frame.laion.search(emb, one, rerank=ld.Rerank(other, two[:2]))
    with pytest.raises(OptionError, match="rerank is"):
        frame.laion.search(emb, one, rerank=other)
    with pytest.raises(OptionError, match="take is"):
        frame.laion.search(emb, one, rerank=ld.Rerank(other, two, take=0))
    with pytest.raises(OptionError, match=r"take is 3, and k is 10.*larger take"):
        frame.laion.search(emb, one, 10, rerank=ld.Rerank(other, two, take=3))


@both
def test_the_exact_picture_among_near_duplicates(demo_folder, tmp_path):
    """CLIP puts its near duplicate and images of the same object first; pixels identify it."""
    truth = pd.read_parquet(demo_folder / "truth.parquet")
    corpus = ld.demo_corpus(demo_folder)
    frame = ld.read_shards(corpus.metadata)
    clip = ld.open_embeddings(corpus.img_emb, model="demo")
    pixels = pixel_embeddings(frame, ld.open_images(corpus.images), tmp_path)
    rows = frame[["key", "shard", "row"]].compute().set_index("key")
    near = truth[truth["near_duplicate_of"].notna() & ~truth["is_broken"]]
    exact = [tuple(rows.loc[key].tolist()) for key in near["key"]]
    # The query is a near duplicate, which shows the same content but is not the image itself.
    alike = [tuple(rows.loc[key].tolist()) for key in near["near_duplicate_of"]]
    assert len(exact) >= 10
    first = frame.laion.search(clip, alike, 1, columns=[])
    assert not set(zip(first["shard"], first["row"], strict=True)) & set(exact)
    found = frame.laion.search(
        clip, alike, 1, columns=["key"], rerank=ld.Rerank(pixels, exact, take=16)
    )
    assert found["key"].tolist() == near["key"].tolist()
    assert (found["rerank_similarity"] == 1).all()


def pixel_embeddings(frame, images, folder):
    """Every image as 16 x 16 gray values around their mean, one file per shard."""
    for shard, part in frame[["key", "shard", "row"]].compute().groupby("shard"):
        grey = [
            np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((16, 16)), np.float32)
            for data in images.read(part.sort_values("row")["key"])
        ]
        x = np.stack(grey).reshape(len(grey), 256)
        npy(folder / f"pixels/img_emb_{shard:04d}.npy", x - x.mean(axis=1, keepdims=True))
    return ld.open_embeddings(folder / "pixels", model=space(folder, 256, "pixels"))


@both
def test_equal_second_similarities_leave_the_first_order(small, tmp_path):
    frame, emb = opened(small)
    for number, x in enumerate(small.images):
        npy(tmp_path / f"second/img_emb_{number}.npy", np.ones_like(x))
    second = ld.open_embeddings(tmp_path / "second", model=emb.model)
    query = vectors(1, seed=3)[0]
    plain = frame.laion.search(emb, query, 5, columns=[])
    rerank = ld.Rerank(second, np.ones(emb.dim), take=16)
    found = frame.laion.search(emb, query, 5, columns=[], rerank=rerank)
    pd.testing.assert_frame_equal(found.drop(columns="rerank_similarity"), plain)
    np.testing.assert_allclose(found["rerank_similarity"], 1, rtol=1e-6)


def test_texts_in_a_column_or_an_array(clip):
    frame, emb, _ = clip
    texts = ["a bird", "a boat"]
    wanted = frame.laion.search(emb, texts, 3)
    for given in (pd.Series(texts), np.array(texts), np.array(texts, dtype=object), tuple(texts)):
        pd.testing.assert_frame_equal(frame.laion.search(emb, given, 3), wanted)
    for wrong in ({"king": 1}, [0, 17]):
        with pytest.raises(EmbeddingsError, match=r"\(shard, row\).*ld\.mix"):
            frame.laion.search(emb, wrong, 3)
