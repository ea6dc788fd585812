"""Rows near an evaluation set are dropped, by each rule as a loop finds them, and counted."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.frames import both
from support.shards import collection

import laion_dask as ld
from laion_dask.errors import ColumnError, EmbeddingsError, OptionError

N = 300
WORDS = ["red", "blue", "bird", "house", "tree", "river", "stone", "small"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, draw.integers(1, 8))) for _ in range(N)]
    texts = [f"{t.title()}!" if n % 5 == 0 else t for n, t in enumerate(texts)]
    texts[3], texts[4], texts[5], texts[6] = None, "", "...", "Übergroße  Straße, 東京"
    hashes = draw.integers(0, 2**64, N, np.uint64)
    return pd.DataFrame(
        {
            "id": range(N),
            "text": texts,
            "uid": [None if n == 9 else f"{n:032x}" for n in range(N)],
            "phash": [None if n == 7 else f"{h:016x}" for n, h in enumerate(hashes.tolist())],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("pool")
    table = pa.Table.from_pandas(rows, preserve_index=False)
    for number, (a, b) in enumerate([(0, 120), (120, 120), (120, N)]):
        pq.write_table(table.slice(a, b - a), folder / f"{number}.parquet", row_group_size=50)
    return folder


def ids(frame) -> set[int]:
    return set(frame["id"].compute().tolist())


def grams(text: str, size: int | None) -> set:
    words = re.findall(r"\w+", text.lower())
    if size is None or len(words) < size:
        return {tuple(words)} if words else set()
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


@both
@pytest.mark.parametrize("size", [2, 3, 13, None])
def test_captions_that_share_an_n_gram(folder, rows, size):
    evaluation = ["red BIRD, tree", "house house", "stone", "", "…", "übergroße straße 東京"]
    evaluation += rows["text"].dropna().sample(8, random_state=0).tolist()
    known = set().union(*(grams(text, size) for text in evaluation))
    expected = {
        n for n, t in enumerate(rows["text"]) if isinstance(t, str) and grams(t, size) & known
    }
    for most in (40, 1000):
        frame = ld.read_shards(folder, max_rows_per_partition=most)
        clean = frame.laion.decontaminate({"text": evaluation}, ngram=size)
        assert ids(clean) == set(range(N)) - expected - {3}
        counted = clean.laion.rows()
        assert (counted.dropped, counted.unscored) == (len(expected), 1)


@both
@pytest.mark.parametrize("radius", [0, 4, 9])
def test_hashes_within_a_radius(folder, rows, radius):
    draw = np.random.default_rng(1)
    own = [int(one, 16) for one in rows["phash"].dropna().tolist()]
    evaluation = draw.integers(0, 2**64, 60, np.uint64).tolist()
    for _ in range(60):
        near = own[draw.integers(len(own))]
        for bit in draw.choice(64, draw.integers(0, 11), replace=False).tolist():
            near ^= 1 << bit
        evaluation.append(near)
    expected = {
        n
        for n, one in enumerate(rows["phash"])
        if isinstance(one, str)
        and any((int(one, 16) ^ e).bit_count() <= radius for e in evaluation)
    }
    frame = ld.read_shards(folder, max_rows_per_partition=70)
    texts = [f"{one:016X}" for one in evaluation]
    assert expected and ids(frame.laion.decontaminate(texts, by="phash", radius=radius)) == (
        set(range(N)) - expected - {7}
    )
    numbers = pa.array(evaluation, pa.uint64()).to_numpy()
    same = frame.laion.decontaminate({"phash": numbers}, radius=radius, missing="keep")
    assert ids(same) == set(range(N)) - expected


def test_embeddings_within_a_cosine(tmp_path):
    written = collection(tmp_path / "c", (60, 0, 45))
    frame = ld.read_shards(written.metadata, max_rows_per_partition=25)
    emb = ld.open_embeddings(written.img_emb, model=written.model, like=frame)
    vectors = np.concatenate([np.load(file.path) for file in emb.files]).astype(np.float64)
    draw = np.random.default_rng(0)
    evaluation = vectors[draw.integers(0, len(vectors), 9)]
    evaluation = (evaluation + 0.1 * draw.normal(size=evaluation.shape)).astype(np.float32)
    np.save(tmp_path / "evaluation.npy", evaluation)
    with np.errstate(invalid="ignore"):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    wide = evaluation.astype(np.float64)
    largest = (unit @ (wide / np.linalg.norm(wide, axis=1, keepdims=True)).T).max(axis=1)
    for cosine in (0.3, 0.6, 0.9):
        expected = (largest >= cosine).sum()
        for against in (evaluation, {"embedding": str(tmp_path / "evaluation.npy")}):
            clean = frame.laion.decontaminate(against, emb, cosine=cosine)
            counted = clean.laion.rows()
            assert (counted.dropped, counted.unscored) == (expected, np.isnan(largest).sum())
    with pytest.raises(EmbeddingsError, match="evaluation embeddings"):
        frame.laion.decontaminate(evaluation[:, :3], emb)
    with pytest.raises(OptionError, match="needs the embeddings"):
        frame.laion.decontaminate(evaluation)
    with pytest.raises(OptionError, match="apply to the rule"):
        frame.laion.decontaminate({"url": ["a"]}, emb)


def test_every_rule_is_counted_in_the_funnel(folder, rows, tmp_path):
    uids = rows["uid"].tolist()
    words = [(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids[20:50]]
    np.save(tmp_path / "uids.npy", np.array(words, np.dtype("u8,u8")))
    (tmp_path / "captions.txt").write_text("\n".join(rows["text"].dropna()[-5:]))
    frame = ld.read_shards(folder)
    sets = {"text": tmp_path / "captions.txt", "uid": str(tmp_path / "uids.npy")}
    clean = frame.laion.decontaminate(sets, ngram=None, missing="keep")
    funnel = str(clean.laion.funnel())
    assert "decontaminate('text'" in funnel and "decontaminate(30 entries" in funnel
    assert not ids(clean) & set(range(20, 50)) and 9 in ids(clean) and 3 in ids(clean)
    table = pd.DataFrame({"uid": uids[20:50], "other": 1})
    by_table = frame.laion.decontaminate(table, missing="keep")
    assert ids(by_table) == set(range(N)) - set(range(20, 50))


def test_no_rows_no_captions_and_no_entries(folder, tmp_path):
    frame = ld.read_shards(folder).laion.where("id < 0")
    assert len(frame.laion.decontaminate({"text": ["a"], "uid": ["b"], "phash": [1]})) == 0
    whole = ld.read_shards(folder)
    none = whole.laion.decontaminate({"text": [], "phash": []}, missing="keep")
    assert len(none) == N
    table = pa.table({"text": pa.array([None] * 4, pa.string()), "id": range(4)})
    pq.write_table(table, tmp_path / "0.parquet")
    free = ld.read_shards(tmp_path / "0.parquet")
    assert free.laion.decontaminate({"text": ["a"]}).laion.rows().unscored == 4
    assert len(free.laion.decontaminate({"text": ["a"]}, missing="keep")) == 4


@pytest.mark.parametrize(
    ("against", "options", "message"),
    [
        (["a"], {}, "Expected the rule to compare by"),
        ({}, {}, "Expected rules"),
        ({"text": ["a"]}, {"by": "text"}, "Leave by out"),
        ({"text": ["a"]}, {"ngram": 0}, "ngram"),
        ({"text": ["a"]}, {"cosine": 2}, "Expected a cosine"),
        ({"phash": ["a"]}, {}, "Expected hashes"),
        ({"phash": [1]}, {"radius": 40}, "at most 16"),
        ({"text": "/no/such/file.txt"}, {}, "cannot be read"),
        ({"text": ["a"]}, {"missing": "drop"}, "missing"),
    ],
)
def test_arguments_that_do_not_fit(folder, against, options, message):
    frame = ld.read_shards(folder)
    with pytest.raises(OptionError, match=message):
        frame.laion.decontaminate(against, **options)
    with pytest.raises(ColumnError, match="caption"):
        frame.laion.decontaminate({"caption": ["a"]})


def test_a_recipe_decontaminates(folder, tmp_path):
    (tmp_path / "captions.txt").write_text("red\nblue\n")
    (tmp_path / "clean.yaml").write_text(
        "name: clean\nsteps:\n- decontaminate:\n    against: {text: captions.txt}\n"
        "    ngram: 1\n    missing: keep\n"
    )
    recipe = ld.Recipe.load(tmp_path / "clean.yaml")
    carve = recipe.run(str(folder), tmp_path / "out")
    assert carve.rows.dropped > 0 and carve.rows.unscored == 0
