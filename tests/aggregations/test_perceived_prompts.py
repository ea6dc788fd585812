"""Prompts of perceived attributes: as texts, with hostile labels, and those that are refused."""

import math
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from support.shards import laion_table, npy, refuse, write_shard

import laion_dask as ld
from laion_dask.aggregations.perceived import perceived
from laion_dask.errors import (
    ColumnError,
    ModelMismatchError,
    OptionError,
    PairingError,
    ProvenanceError,
)
from laion_dask.models import ClipModel, Vectors


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """Text embeddings of the bundled model: two thirds red stars, one third blue boats."""
    folder, model = tmp_path_factory.mktemp("painted"), ClipModel("demo")
    texts = ["a photo of a red star", "a drawing of a red star", "a photo of a blue boat"] * 40
    write_shard(folder / "meta" / "0.parquet", laion_table(120))
    npy(folder / "emb" / "0.npy", np.asarray(model.text(texts)))
    frame = ld.read_shards(folder / "meta")
    return SimpleNamespace(frame=frame, embeddings=ld.open_embeddings(folder / "emb", model=model))


def test_prompts_as_texts(painted):
    prompts = {"shape": {"star": "a red star", "boat": ["a blue boat", "a picture of a blue boat"]}}
    result = perceived(painted.frame, painted.embeddings, prompts)
    assert result["k"].tolist() == [80, 40, 0] and result["n"].tolist() == [120] * 3
    model = painted.embeddings.model
    scale = model.load().logit_scale
    assert f"logit scale {scale:.4g}, margin 0.2; Wilson" in result["method"][0]
    # Without the outer level the attribute has no name. Vectors of the same prompts give the same.
    flat = {"star": model.text("a red star"), "boat": model.text(["a blue boat", "blue boat"])}
    result = perceived(painted.frame, painted.embeddings, flat)
    assert result["k"].tolist() == [80, 40, 0]
    assert result["term"][0] == "perceived attribute (model-assigned)"
    assert result["group"].tolist() == ["star", "boat", "not assigned"]
    assert "logit scale 100," in result["method"][0]


def test_hostile_labels_stay_text(painted):
    prompts = {"<b>x</b>": {"<script>": "a red star", "|\u202e": "a blue boat"}}
    result = perceived(painted.frame, painted.embeddings, prompts)
    assert "<script>" not in result._repr_html_() and "<script>" not in result.to_markdown()


def test_what_is_refused_at_once(prompted_shards, painted):
    two = {"one": np.ones(8), "two": -np.ones(8)}
    with dask.config.set(scheduler=refuse):
        for prompts, message in (
            ({}, "prompts is"),
            (["a", "b"], "prompts is"),
            ({"gender": two, "age": "old"}, "prompts is"),
            ({"gender": {}}, "has 0 label"),
            ({"gender": {"woman": np.ones(8)}}, "has 1 label"),
            ({"gender": {"": np.ones(8), "b": np.ones(8)}}, "Expected non-empty text"),
            ({"gender": {1: np.ones(8), "b": np.ones(8)}}, "Expected non-empty text"),
            ({"gender": {"not assigned": np.ones(8), "b": np.ones(8)}}, "is reserved"),
            ({"a": np.ones(7), "b": np.ones(7)}, "vectors of length 7"),
            ({"a": np.zeros(8), "b": np.ones(8)}, "no direction"),
            ({"a": [np.ones(8), -np.ones(8)], "b": np.ones(8)}, "no direction"),
            ({"a": np.full(8, np.nan), "b": np.ones(8)}, "no direction"),
            ({"a": None, "b": np.ones(8)}, "a"),
            (
                {"a": ["text", np.ones(8)], "b": np.ones(8)},
                "vectors are passed alone, not in a list",
            ),
        ):
            with pytest.raises(OptionError, match=message):
                perceived(prompted_shards.frame, prompted_shards.embeddings, prompts)
        for options in (
            {"margin": 1},
            {"margin": -0.1},
            {"margin": math.nan},
            {"margin": "high"},
            {"level": 1},
            {"by": 3},
            {"by": "similarity"},
        ):
            with pytest.raises(OptionError):
                perceived(prompted_shards.frame, prompted_shards.embeddings, two, **options)
        with pytest.raises(ColumnError, match="language"):
            perceived(prompted_shards.frame, prompted_shards.embeddings, two, by="langauge")
        with pytest.raises(ProvenanceError):
            perceived(prompted_shards.frame[["url"]], prompted_shards.embeddings, two)
        with pytest.raises(PairingError):
            perceived(painted.frame, prompted_shards.embeddings, two)
        with pytest.raises(ModelMismatchError):
            wrong = Vectors(np.ones(8), painted.embeddings.model)
            perceived(
                prompted_shards.frame, prompted_shards.embeddings, {"a": wrong, "b": np.ones(8)}
            )
        for frame, embeddings in (
            (prompted_shards.frame.head, prompted_shards.embeddings),
            (prompted_shards.frame, "img_emb"),
        ):
            with pytest.raises(OptionError):
                perceived(frame, embeddings, two)
