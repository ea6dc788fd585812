"""Soft-cap sampling against a loop over rounds, and draws one after another."""

from __future__ import annotations

import math

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from support.scored_frames import by_row, opened
from support.shards import collection

import laion_dask as ld
from laion_dask.curation import soft_cap_kernel as kernels
from laion_dask.curation.row_hash import row_hash
from laion_dask.errors import ColumnError, OptionError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("soft_cap"), (40, 0, 33))


def by_loop(scores: dict, n: int, penalty: float, per_round: int, seed: int) -> dict:
    """The repeats of each row, round by round, by sorting all rows."""
    repeats = dict.fromkeys(scores, 0)
    left, number = n, 0
    while left:
        perturbed = {}
        for (shard, row), score in scores.items():
            hashes = row_hash(np.array([shard]), np.array([row]), seed)
            noise = float(kernels.gumbel(hashes, number)[0])
            perturbed[shard, row] = score - penalty * repeats[shard, row] + noise
        order = sorted(perturbed, key=lambda one: (-perturbed[one], one))
        for one in order[: min(per_round, left)]:
            repeats[one] += 1
        left, number = left - min(per_round, left, len(order)), number + 1
    return repeats


@pytest.mark.parametrize("n, penalty, per_round", [(200, 0.15, 10), (55, 2, 25), (300, 0, 100)])
def test_repeats_are_what_a_loop_says(small, n, penalty, per_round):
    frame, *_ = opened(small)
    drawn = frame.laion.soft_cap("similarity", n, penalty=penalty, per_round=per_round, seed=5)
    got = by_row(drawn, "repeats")
    scores = {k: v for k, v in by_row(frame, "similarity").items() if not math.isnan(v)}
    wanted = by_loop(scores, n, penalty, per_round, 5)
    assert got.to_dict() == {one: count for one, count in wanted.items() if count}
    assert got.dtype == np.int64 and got.sum() == n
    assert list(drawn.columns) == [*frame.columns, "repeats"]


def test_draws_have_the_probabilities_of_draws_one_after_another():
    """Two of four rows without replacement, against the exact probability of each pair."""
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    scores, keys = np.log(weights), np.arange(4)
    counts = np.zeros((4, 4))
    for seed in range(8_000):
        hashes = row_hash(np.zeros(4), keys, seed)
        counts[tuple(sorted(kernels._round(scores, hashes, keys, np.zeros(4), 0, 2, 0.0)))] += 1
    share = weights / weights.sum()
    for i in range(4):
        for j in range(i + 1, 4):
            exact = share[i] * share[j] * (1 / (1 - share[i]) + 1 / (1 - share[j]))
            spread = math.sqrt(exact * (1 - exact) / 8_000)
            assert abs(counts[i, j] / 8_000 - exact) < 4.5 * spread


def test_rounds_are_independent():
    hashes = row_hash(np.zeros(20_000), np.arange(20_000), 0)
    one, two = kernels.gumbel(hashes, 0), kernels.gumbel(hashes, 1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
    assert one.mean() == pytest.approx(np.euler_gamma, abs=0.04)
    assert one.var() == pytest.approx(math.pi**2 / 6, abs=0.08)


def test_the_penalty_limits_repeats(small):
    frame, *_ = opened(small)
    logits = frame.laion.mix({"similarity": 50}, to="logit")
    most = [
        int(logits.laion.soft_cap("logit", 400, per_round=4, penalty=p)["repeats"].max().compute())
        for p in (0, 1, 10)
    ]
    assert most[0] > most[1] > most[2]


def test_partitions_and_blocks_change_nothing(small, monkeypatch):
    frame, *_ = opened(small)

    def drawn(frame):
        return by_row(frame.laion.soft_cap("similarity", 100, per_round=9), "repeats")

    wanted = drawn(frame)
    fine = ld.read_shards(small.metadata, max_rows_per_partition=1)
    swapped = dd.concat([frame.partitions[1:], frame.partitions[:1]])
    for variant in (fine, fine.repartition(npartitions=2), frame.shuffle("row"), swapped):
        pd.testing.assert_series_equal(drawn(variant), wanted)
    monkeypatch.setattr(kernels, "_BLOCK", 7)
    with dask.config.set(scheduler="sync"):
        pd.testing.assert_series_equal(drawn(fine), wanted)


def test_rows_are_accounted_for(small, tmp_path):
    frame, *_ = opened(small)
    scored = frame.laion.where("width > 200")
    drawn = scored.laion.soft_cap("similarity", 60, per_round=20)
    rows, unscored = drawn.laion.rows(), int(scored["similarity"].isna().sum().compute())
    funnel = drawn.laion.funnel()
    assert rows.kept == len(drawn.compute())
    assert funnel["clause"].iloc[-1].startswith("soft_cap('similarity', 60")
    assert funnel["unscored"].iloc[-1] == unscored > 0
    assert len(drawn.laion.excluded().compute()) + rows.kept == rows.read
    later = drawn.laion.where("repeats > 1")
    assert 0 < len(later.compute()) < rows.kept
    export = drawn.laion.export(tmp_path / "out")
    assert export.rows == rows
    read = ld.read_shards(tmp_path / "out" / "shards")
    assert int(read["repeats"].sum().compute()) == 60
    assert '"soft_cap": "similarity"' in (tmp_path / "out" / "_recipe.json").read_text()


def test_extremes_are_legal(small):
    frame, *_ = opened(small)
    n_scored = int(frame["similarity"].count().compute())
    every = frame.laion.soft_cap("similarity", n_scored + 5, per_round=1000).compute()
    assert len(every) == n_scored and every["repeats"].sum() == n_scored + 5
    assert len(frame.laion.where("width < 0").laion.soft_cap("similarity", 9).compute()) == 0
    infinite = frame.assign(s=frame["width"].astype("float64").fillna(0) * -math.inf)
    drawn = infinite.laion.soft_cap("s", 10)
    assert len(drawn.compute()) == 0 and drawn.laion.rows().kept == 0
    twice = frame.laion.soft_cap("similarity", 50, per_round=30)
    again = twice.laion.soft_cap("similarity", 20, per_round=5, to="again").compute()
    assert again["again"].sum() == 20 and (again["repeats"] > 0).all()


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (("similarty", 5), ColumnError, "similarity"),
        (("text", 5), OptionError, "Expected numbers"),
        (("similarity", 0), OptionError, "n is 0"),
        (("similarity", 0.5), OptionError, "n is 0.5"),
    ],
)
def test_wrong_arguments_are_told(small, arguments, error, message):
    frame, *_ = opened(small)
    with pytest.raises(error, match=message):
        frame.laion.soft_cap(*arguments)
    with pytest.raises(OptionError, match="penalty is -1"):
        frame.laion.soft_cap("similarity", 5, penalty=-1)
    with pytest.raises(OptionError, match="already has a column"):
        frame.laion.soft_cap("similarity", 5, to="width")
