"""What is said where all selected rows are hidden, and how to score them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.explorer import hidden_rows
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.hidden_rows import HiddenRows
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
def test_nothing_is_said_where_rows_are_shown_or_none_is_selected(tmp_path, n_hidden):
    hidden = HiddenRows(exploration_of(tmp_path, coyo()), "punsafe")
    assert hidden.state(10, n_hidden) is None and hidden.state(0, 0) is None


def test_the_reason_is_that_of_the_column(tmp_path):
    empty = coyo(punsafe=pa.array([None] * N, pa.float32()))
    for reason, table in {"no column punsafe": coyo(), "column punsafe is empty": empty}.items():
        found = state(tmp_path, table)
        assert reason in found["why"] and found["button"] == "Show the 40 rows without a score"
    found = HiddenRows(exploration_of(tmp_path, coyo()), "language").state(0, N)
    assert "column language has no numbers" in found["why"] and not found["ways"]
    found = state(tmp_path, coyo(punsafe=np.full(N, 0.9)), n_hidden=1)
    assert found["why"].startswith("Every selected row is unsafe")
    assert found["button"] == "Show the row nevertheless"


def test_columns_that_seem_to_be_scores_are_named(tmp_path):
    table = coyo(nsfw_score_opennsfw2=shares(0), nsfw_score_gantman=shares(1))
    (way,) = state(tmp_path, table)["ways"]
    assert way["text"].startswith("nsfw_score_opennsfw2 and nsfw_score_gantman seem to be")
    assert way["code"] == 'ld.read_shards(…, rename={"nsfw_score_opennsfw2": "punsafe"})'
    (way,) = state(tmp_path, coyo(NSFW=shares(0)), is_command=True)["ways"]
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
    assert state(tmp_path, coyo(**{name: values}))["ways"] == []


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
