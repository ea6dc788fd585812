"""Fitted weights of scores, against scikit-learn on all rows and planted weights."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pytest
from support.scored_frames import opened
from support.shards import collection

from laion_dask.errors import OptionError, PredicateError


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return opened(collection(tmp_path_factory.mktemp("fit_mix"), (400, 0, 300)))[0]


def test_planted_weights_are_found(frame):
    rng = np.random.default_rng(0)
    table = frame.compute().reset_index(drop=True)
    table["a"], table["b"], table["c"] = rng.normal(size=(3, len(table))) * [[1], [10], [0.1]]
    logit = 2 * table["a"] - 0.3 * table["b"]
    table["good"] = 1.0 * (rng.random(len(table)) < 1 / (1 + np.exp(-logit)))
    key = table[["shard", "row", "a", "b", "c", "good"]]
    joined = frame.merge(key, on=["shard", "row"], how="left")
    weights = joined.laion.fit_mix(["a", "b", "c"], trusted="good == 1")
    assert weights["a"] == pytest.approx(2, rel=0.3)
    assert weights["b"] == pytest.approx(-0.3, rel=0.3)
    assert abs(weights["c"]) < 2.5  # its standard deviation is 0.1
    assert all(type(weight) is float for weight in weights.values())


def test_partitions_change_nothing(frame):
    columns = ["similarity", "width"]
    wanted = frame.laion.fit_mix(columns, trusted="punsafe < 0.3", max_rows=300)
    swapped = dd.concat([frame.partitions[1:], frame.partitions[:1]])
    for variant in (frame.repartition(npartitions=1), frame.shuffle("row"), swapped):
        assert variant.laion.fit_mix(columns, trusted="punsafe < 0.3", max_rows=300) == wanted


def test_scores_of_any_size_are_weighted(frame):
    rng = np.random.default_rng(1)
    a = rng.normal(size=700)
    scores = {
        "a": a,
        "huge": a * 1e300,
        "tiny": a * 1e-300,
        "same": np.full(700, 0.3),
        "rounded": 0.3 + 5e-17 * rng.integers(0, 2, 700),
        "ids": rng.integers(2**62, 2**63 - 1, 700),
        "good": (a + rng.normal(size=700) > 0) * 1,
    }
    key = frame[["shard", "row"]].compute().reset_index(drop=True)
    joined = frame.merge(key.assign(**scores), on=["shard", "row"], how="left")
    good = "good == 1"
    weight = joined.laion.fit_mix(["a"], good)["a"]
    with_constants = joined.laion.fit_mix(["a", "same", "rounded"], good)
    assert with_constants == {"a": pytest.approx(weight, rel=1e-3), "same": 0, "rounded": 0}
    for name, size in (("huge", 1e300), ("tiny", 1e-300)):
        assert joined.laion.fit_mix([name], good)[name] * size == pytest.approx(weight, rel=1e-3)
    assert abs(joined.laion.fit_mix(["a", "ids"], good)["ids"]) < 1e-18
    with pytest.raises(OptionError, match="same, rounded: the same for all 700 rows"):
        joined.laion.fit_mix(["same", "rounded"], good)


def test_wrong_arguments_are_told(frame):
    with pytest.raises(OptionError, match="columns is empty"):
        frame.laion.fit_mix([], trusted="width > 3")
    with pytest.raises(OptionError, match="Expected numbers"):
        frame.laion.fit_mix(["text"], trusted="width > 3")
    with pytest.raises(PredicateError):
        frame.laion.fit_mix(["similarity"], trusted="width >")
    with pytest.raises(OptionError, match="0 trusted and"):
        frame.laion.fit_mix(["similarity"], trusted="width < 0")
