"""Weighted sums of score columns, against a loop over rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.scored_frames import by_row, opened
from support.shards import collection

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError
from laion_dask.scoring.queries import Mix


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("mix"), (33, 0, 21))


def test_a_mix_is_what_a_loop_says(small):
    frame, emb, texts = opened(small)
    scored = frame.laion.similarity(emb, texts, to="clip_score")
    weights = {"clip_score": 2, "similarity": -0.5, "punsafe": np.float32(0.25), "width": 0}
    mixed = scored.laion.mix(weights, to="quality")
    table = mixed.compute()
    for record in table.to_dict("records"):
        total = 0.0
        for name, weight in weights.items():
            value = record[name]
            total += float(weight) * (np.nan if pd.isna(value) else float(value))
        np.testing.assert_equal(record["quality"], total)
    assert table["quality"].isna().any() and table["quality"].dtype == np.float64
    other = scored.repartition(npartitions=1).laion.mix(weights, to="quality")
    pd.testing.assert_series_equal(by_row(mixed, "quality"), by_row(other, "quality"))


def test_a_row_without_a_score_is_unscored(small):
    frame, *_ = opened(small)
    rows = frame.laion.mix({"similarity": 1, "punsafe": 1}).laion.where("mix > -9").laion.rows()
    assert rows.unscored > 0 and rows.kept + rows.unscored == rows.read


def test_without_a_frame_it_is_a_query():
    assert ld.mix({"a star": 1}) == Mix((("a star", 1.0),))
    with pytest.raises(OptionError, match="mixture is empty"):
        ld.mix({})
    with pytest.raises(OptionError, match="Expected a dict of parts"):
        ld.mix(["a star"])


@pytest.mark.parametrize(
    "weights, error, message",
    [
        ({}, OptionError, "no weights"),
        ({"similarty": 1}, ColumnError, "Did you mean 'similarity'"),
        ({"text": 1}, OptionError, "Expected numbers"),
        ({"similarity": float("nan")}, OptionError, "finite number"),
        ({"similarity": True}, OptionError, "finite number"),
        (["similarity"], OptionError, "Expected a dict"),
    ],
)
def test_wrong_weights_are_told(small, weights, error, message):
    frame, *_ = opened(small)
    with pytest.raises(error, match=message):
        frame.laion.mix(weights)


def test_the_manifest_names_the_weights(small, tmp_path):
    frame, *_ = opened(small)
    mixed = frame.laion.mix({"similarity": 2}).laion.where("mix > 0.5")
    export = mixed.laion.export(tmp_path / "out")
    assert '"similarity": 2.0' in (Path(export.path) / "_recipe.json").read_text()
