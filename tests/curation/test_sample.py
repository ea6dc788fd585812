"""Samples: as many rows as asked for, the same ones from any partitioning, without bias."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError

SIZES = (900, 0, 1, 1600, 499)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    draw = np.random.default_rng(0)
    for number, n in enumerate(SIZES):
        languages = np.array(["en", "de", "fr", None], object)[
            draw.choice(4, n, p=[0.7, 0.2, 0.07, 0.03])
        ]
        weights = draw.choice([0.0, 1.0, 3.0, np.nan], n, p=[0.2, 0.4, 0.35, 0.05])
        columns = {
            "language": pa.array(languages.tolist(), pa.string()),
            "weight": pa.array(weights),
            "url": [f"u{x}" for x in draw.integers(0, 900, n)],
        }
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=500)
    return folder


def identities(frame) -> set:
    rows = frame.compute()
    return set(zip(rows["shard"].tolist(), rows["row"].tolist(), strict=True))


CALLS = {
    "fraction": {"fraction": 0.3},
    "n": {"n": 700},
    "by": {"n": 50, "by": "language"},
    "share by": {"fraction": 0.3, "by": "language"},
    "weights": {"n": 700, "weights": "weight"},
    "weights by": {"fraction": 0.2, "weights": "weight", "by": "language"},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_same_rows_from_any_partitioning_and_others_by_another_seed(folder, call):
    drawn = []
    for rows in (500, 10_000):
        frame = ld.read_shards(folder, max_rows_per_partition=rows)
        drawn.append(identities(frame.laion.sample(**call, seed=3)))
    shuffled = frame.shuffle("url", npartitions=3)
    drawn.append(identities(shuffled.laion.sample(**call, seed=3)))
    assert drawn[0] == drawn[1] == drawn[2]
    assert identities(frame.laion.sample(**call, seed=4)) != drawn[0]


def test_as_many_rows_as_asked_for(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=500)
    counts = frame["language"].value_counts().compute()
    assert len(frame.laion.sample(n=700)) == 700
    assert len(frame.laion.sample(n=10**9)) == len(frame.laion.sample(1.0)) == sum(SIZES)
    assert 800 < len(frame.laion.sample(0.3)) < 1000  # 900 expected, standard deviation 25
    by = frame.laion.sample(n=50, by="language")
    assert by["language"].value_counts().compute().to_dict() == dict.fromkeys(counts.index, 50)
    share = frame.laion.sample(0.3, by="language")["language"].value_counts().compute()
    assert share.to_dict() == {name: round(0.3 * n) for name, n in counts.items()}
    rows = by.laion.rows()
    assert rows.unscored == sum(SIZES) - counts.sum() and rows.read == sum(SIZES)


def test_larger_samples_contain_smaller_ones(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=500)
    for few, many in (({"fraction": 0.1}, {"fraction": 0.2}), ({"n": 10}, {"n": 100})):
        assert identities(frame.laion.sample(**few)) < identities(frame.laion.sample(**many))


def test_the_draws_of_a_weighted_sample(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=500)
    weights = frame["weight"].compute()
    drawn = frame.laion.sample(n=300, weights="weight", seed=1)
    counts = drawn["weight"].value_counts().compute()
    assert set(counts.index) == {1.0, 3.0} and counts.sum() == 300
    rate = {w: counts[w] / (weights == w).sum() for w in (1.0, 3.0)}
    assert 2.1 < rate[3.0] / rate[1.0] < 4  # about 2.8: fewer than 3, since rows are used up
    rows = drawn.laion.rows()
    assert rows.unscored == weights.isna().sum()
    assert len(frame.laion.sample(n=10**9, weights="weight")) == (weights > 0).sum()


def test_a_sample_of_what_a_random_dedup_kept_is_no_biased_one(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=500)
    unique = frame.laion.dedup(keep="random")
    n = len(unique)
    assert 0.4 * n < len(unique.laion.sample(0.5)) < 0.6 * n


def test_filters_before_and_after(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=500)
    both = frame.laion.where("language == 'en'").laion.sample(n=100).laion.where("weight > 0")
    funnel = both.laion.funnel()
    assert funnel["clause"].tolist()[1] == "sample(n=100, seed=0)"
    assert funnel["after"].iloc[-1] == len(both) <= 100
    assert len(both) + len(both.laion.excluded()) == sum(SIZES)


def test_wrong_weights_and_arguments(folder, write):
    frame = ld.read_shards(folder)
    for call in ({}, {"fraction": 0.1, "n": 1}, {"fraction": 2}, {"n": 0}, {"fraction": True}):
        with pytest.raises(OptionError):
            frame.laion.sample(**call)
    with pytest.raises(ColumnError, match="Did you mean 'language'"):
        frame.laion.sample(n=1, by="langage")
    with pytest.raises(OptionError, match="column of numbers"):
        frame.laion.sample(n=1, weights="url")
    for wrong in (-1.0, np.inf):
        bad = ld.read_shards(write(f"{wrong}.parquet", {"w": [1.0, wrong]}))
        with pytest.raises(OptionError, match="Expected finite numbers"):
            bad.laion.sample(n=1, weights="w").compute()
    assert len(ld.read_shards(write("e.parquet", {"w": pa.array([], "f8")})).laion.sample(n=1)) == 0
