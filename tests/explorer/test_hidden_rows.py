"""What is said where all selected rows are hidden, and how to score them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.explorer import hidden_rows
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.hidden_rows import HiddenRows
from laion_dask.explorer.safe_rows import hidden_as
from laion_dask.explorer.sample import draw_sample
from laion_dask.models.clip import ClipModel
from laion_dask.models.embedding_space import EmbeddingSpace
from laion_dask.models.heads.nsfw import detector_model

N = 40


def coyo(**columns) -> pa.Table:
    """Rows without ``punsafe``, with other columns of numbers."""
    table = laion_table(N).drop(["punsafe"])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def shares(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(N).astype("float32")


def state(tmp_path, table, n_hidden: int = N, **options) -> dict:
    exploration = exploration_of(tmp_path, table)
    for name, value in options.items():
        setattr(exploration, name, value)
    found = HiddenRows(exploration, "punsafe").state(0, n_hidden)
    assert found is not None
    return found


@pytest.mark.parametrize("n_hidden", [0, 5])
def test_nothing_is_said_where_rows_are_shown(tmp_path, n_hidden):
    hidden = HiddenRows(exploration_of(tmp_path, coyo()), "punsafe")
    assert hidden.state(10, n_hidden) is None


def test_where_no_row_is_selected_a_sentence_says_so(tmp_path):
    found = HiddenRows(exploration_of(tmp_path, coyo()), "punsafe").state(0, 0)
    assert found["why"].startswith("No sampled row passes all filters")
    assert not (found["button"] or found["note"] or found["ways"])
    (tmp_path / "none").mkdir()
    found = HiddenRows(exploration_of(tmp_path / "none", coyo().slice(0, 0)), "punsafe").state(0, 0)
    assert found["why"] == "There are no rows."


def test_what_is_hidden_is_named_by_what_is_known(tmp_path):
    scores = np.where(np.arange(N) % 2, 0.1, 0.9)
    some = [None if n % 3 == 0 else score for n, score in enumerate(scores.tolist())]
    unscored = [None if n % 3 == 0 else 0.1 for n in range(N)]
    for at, (column, words) in enumerate(
        [
            ({}, "without a score"),
            ({"punsafe": pa.array([None] * N, pa.float32())}, "without a score"),
            ({"punsafe": pa.array(unscored)}, "without a score"),
            ({"punsafe": pa.array(some)}, "unsafe or unscored"),
            ({"punsafe": scores}, "unsafe"),
            ({"punsafe": np.where(scores > 0.5, -1, scores)}, "without a score"),
            ({"punsafe": np.append(scores[1:], -1)}, "unsafe or unscored"),
        ]
    ):
        (tmp_path / str(at)).mkdir()
        sample = exploration_of(tmp_path / str(at), coyo(**column)).sample
        assert hidden_as(sample, "punsafe") == words


def test_the_reason_is_that_of_the_column(tmp_path):
    empty = coyo(punsafe=pa.array([None] * N, pa.float32()))
    for reason, table in {"no column punsafe": coyo(), "column punsafe is empty": empty}.items():
        found = state(tmp_path, table)
        assert reason in found["why"] and found["button"] == "Show the 40 rows without a score"
    found = HiddenRows(exploration_of(tmp_path, coyo()), "language").state(0, N)
    assert "column language has no numbers" in found["why"] and not found["ways"]
    found = state(tmp_path, coyo(punsafe=np.full(N, 0.9)), n_hidden=1)
    assert found["why"].startswith("Every selected row is unsafe")
    assert found["button"] == "Show the row anyway"


def test_columns_that_seem_to_be_scores_are_named(tmp_path):
    table = coyo(nsfw_score_opennsfw2=shares(0), nsfw_score_gantman=shares(1))
    way, embed = state(tmp_path, table)["ways"]
    assert embed["text"] == "To compute it from CLIP embeddings:"
    assert way["text"].startswith("nsfw_score_opennsfw2 and nsfw_score_gantman seem to be")
    assert way["code"] == 'ld.read_shards(…, rename={"nsfw_score_opennsfw2": "punsafe"})'
    way, _ = state(tmp_path, coyo(NSFW=shares(0)), is_command=True)["ways"]
    assert way["text"].startswith("NSFW seems to be such a score. To use it")
    assert way["code"] == "laion-dask explore … --rename NSFW=punsafe"


def test_the_column_that_is_named_can_be_used(tmp_path):
    path = write_shard(tmp_path / "1.parquet", coyo(nsfw_score_gantman=shares(1)))
    frame = ld.read_shards([path], rename={"nsfw_score_gantman": "punsafe"})
    hidden = HiddenRows(Exploration(draw_sample(frame)), "punsafe")
    assert hidden.state(0, 3)["ways"] == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("nsfw", pa.array(["UNLIKELY", "NSFW"] * (N // 2))),
        ("n_nsfw_words", np.arange(N)),
        ("nsfw_logit", shares(0) * 4 - 2),
        ("nsfw", pa.array([None] * N, pa.float32())),
        ("safety", shares(0)),
        ("nsfw'; rm -rf /", shares(0)),
        ("<b>nsfw</b>", shares(0)),
        ("nsfw\u202e", shares(0)),
        ("unsafe" * 20, shares(0)),
    ],
)
def test_other_columns_are_not_named(tmp_path, name, values):
    (way,) = state(tmp_path, coyo(**{name: values}))["ways"]
    assert way["text"].startswith("If a column has it, name that column with rename=. To compute")
    assert name not in way["code"].replace("heads.nsfw(", "")


def test_without_embeddings_or_a_head_there_is_a_way_too(tmp_path):
    (way,) = state(tmp_path, coyo())["ways"]
    assert [line.split("(")[0] for line in way["code"].splitlines()] == [
        "emb = ld.open_embeddings",
        "scored = frame.laion.score",
        "scored.laion.explore",
    ]
    for line in way["code"].splitlines():
        compile(line, "way", "exec")
    emb = SimpleNamespace(model=EmbeddingSpace("mine"))
    (way,) = state(tmp_path, coyo(), embeddings=emb)["ways"]
    assert way["text"].startswith("No published head computes it")
    assert way["code"] == 'ld.read_shards(…, rename={"COLUMN": "punsafe"})'


def test_the_code_computes_the_score(demo_folder, monkeypatch):
    frame = ld.read_shards(demo_folder / "embedded" / "metadata")
    frame = frame[[name for name in frame.columns if name != "punsafe"]]
    emb = ld.open_embeddings(demo_folder / "embedded" / "img_emb", model="demo", like=frame)
    exploration = Exploration(draw_sample(frame, 300), emb)
    monkeypatch.setattr(hidden_rows, "variables", lambda: {"mine": exploration.frame, "my": emb})
    (way,) = HiddenRows(exploration, "punsafe").state(0, 300)["ways"]
    first, second = way["code"].splitlines()
    assert (first.split()[2], second) == ("mine.laion.score(my,", "scored.laion.explore(my)")
    names = {"ld": ld, "mine": exploration.frame, "my": emb}
    exec(first, names)
    expected = frame.laion.score(emb, ld.heads.demo_safety())["punsafe_demo"].compute()
    assert names["scored"]["punsafe"].compute().tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ClipModel("ViT-L-14", "openai"), "ViT-L-14:openai"),
        (ClipModel("ViT-L-14"), "ViT-L-14:openai"),
        (ClipModel("ViT-H-14", "laion2b_s32b_b79k"), "ViT-H-14:laion2b_s32b_b79k"),
        (ClipModel("ViT-L-14", "laion2b_s32b_b82k"), None),
        (ClipModel("ViT-B-16", "openai"), None),
        (EmbeddingSpace("mine"), None),
    ],
)
def test_only_models_with_a_published_detector_have_one(model, expected):
    assert detector_model(model) == expected
