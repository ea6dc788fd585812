"""The best rows of a whole frame: exact, as DataComp's own code keeps them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.shards import collection

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError

COLUMNS = {"l14": "clip_l14_similarity_score", "b32": "similarity"}


@pytest.mark.parametrize("model", COLUMNS)
def test_the_uids_that_datacomp_keeps(shared, model):
    folder = shared / "reference/carve/datacomp"
    frame = ld.read_shards(folder, max_rows_per_partition=1000)
    reference = np.load(folder / f"clip_{model}_30_percent.npy")
    kept = frame.laion.top(COLUMNS[model], 0.3)
    assert uids(kept) == {(int(high), int(low)) for high, low in reference.tolist()}
    assert len(kept) == len(reference)


def test_the_uids_above_datacomps_threshold(shared):
    folder = shared / "reference/carve/datacomp"
    reference = np.load(folder / "clip_l14_threshold_0.243.npy")
    kept = ld.read_shards(folder).laion.where("clip_l14_similarity_score >= 0.243")
    assert uids(kept) == {(int(high), int(low)) for high, low in reference.tolist()}


def uids(frame) -> set:
    texts = frame["uid"].compute().tolist()
    return {(int(text[:16], 16), int(text[16:], 16)) for text in texts}


def write_scores(folder, scores: np.ndarray, sizes=(90, 0, 60, 50)):
    """Shards of these scores; a tenth of them NaN, another null."""
    draw = np.random.default_rng(1)
    start = 0
    for number, n in enumerate(sizes):
        part = pa.array(scores[start : start + n])
        part = pa.array(
            [None if u < 0.1 else v for v, u in zip(part.to_pylist(), draw.random(n), strict=True)],
            part.type,
        )
        if pa.types.is_floating(part.type):
            part = pa.array(
                [
                    math.nan if v is not None and u < 0.1 else v
                    for v, u in zip(part.to_pylist(), draw.random(n), strict=True)
                ],
                part.type,
            )
        columns = {"score": part, "width": pa.array(draw.integers(0, 9, n), pa.int32())}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=30)
        start += n
    return folder


DRAW = np.random.default_rng(0)
VALUES = {
    "float64": DRAW.normal(size=200),
    "float32": DRAW.integers(-3, 3, 200).astype(np.float32) / 8,
    "int64": DRAW.integers(-(2**62), 2**62, 200),
    "uint64": DRAW.integers(0, 2**64 - 1, 200, dtype=np.uint64),
    "int8": DRAW.integers(-2, 2, 200).astype(np.int8),
    "bool": DRAW.random(200) < 0.4,
    "extreme": np.array([math.inf, -math.inf, 5e-324, -0.0, 0.0] * 40),
}


@pytest.mark.parametrize("kind", VALUES)
def test_against_a_sort_of_all_scores(tmp_path, kind):
    folder = write_scores(tmp_path, VALUES[kind])
    for rows in (40, 1000):
        frame = ld.read_shards(folder, max_rows_per_partition=rows)
        scores = frame["score"].compute()
        ordered = sorted([v for v in scores.tolist() if not pd.isna(v)], reverse=True)
        for fraction in (0.005, 0.3, 0.79, 1.0):
            kept = frame.laion.top("score", fraction)
            position = int(len(scores) * fraction)
            threshold = ordered[position] if position < len(ordered) else ordered[-1]
            assert sorted(kept["score"].compute().tolist(), reverse=True) == [
                v for v in ordered if v >= threshold
            ]
    n = kept.laion.rows()
    assert n.unscored == scores.isna().sum() and n.read == 200


def test_a_number_of_rows_and_their_ties(tmp_path):
    frame = ld.read_shards(write_scores(tmp_path, VALUES["float64"]), max_rows_per_partition=40)
    assert [len(frame.laion.top("score", n=n)) for n in (1, 7, 150)] == [1, 7, 150]
    assert len(frame.laion.top("score", n=10**9)) == frame["score"].count().compute()
    tied = ld.read_shards(write_scores(tmp_path, VALUES["int8"]))
    best = tied["score"].compute()
    assert len(tied.laion.top("score", n=1)) == (best == best.max()).sum()


def test_of_filtered_frames_and_before_filters(tmp_path):
    frame = ld.read_shards(write_scores(tmp_path, VALUES["float64"]), max_rows_per_partition=40)
    rows = frame.compute()
    wide = rows[rows["width"] > 3]["score"]
    before = frame.laion.where("width > 3").laion.top("score", 0.25)
    ordered = sorted(wide.dropna().tolist(), reverse=True)
    assert sorted(before["score"].compute(), reverse=True) == ordered[: int(len(wide) * 0.25) + 1]
    twice = before.laion.top("score", n=5).laion.where("width < 8")
    funnel = twice.laion.funnel()
    assert funnel["clause"].tolist() == [
        "width > 3", "top('score', 0.25)", "top('score', n=5)", "width < 8"
    ]  # fmt: skip
    assert funnel["after"].iloc[-1] == len(twice) <= 5
    assert len(twice) + len(twice.laion.excluded()) == 200


def test_no_rows_and_no_scores(write):
    frame = ld.read_shards(write("empty.parquet", {"score": pa.array([], pa.float32())}))
    assert len(frame.laion.top("score", 0.3)) == 0
    frame = ld.read_shards(write("none/0.parquet", {"score": pa.array([None, math.nan])}))
    assert str(frame.laion.top("score", 0.3).laion.rows()).startswith("2 read = 0 kept + 0 dropped")


def test_arguments_are_checked_before_data_is_read(tmp_path, no_compute):
    frame = ld.read_shards(write_scores(tmp_path, VALUES["bool"])).assign(text="a")
    for arguments in ({}, {"fraction": 0.3, "n": 3}, {"fraction": 0}, {"fraction": 1.1}, {"n": 0}):
        with pytest.raises(OptionError, match=r"fraction|n is 0"):
            frame.laion.top("score", **arguments)
    with pytest.raises(ColumnError, match="Did you mean 'score'"):
        frame.laion.top("scor", 0.3)
    with pytest.raises(OptionError, match="column of numbers"):
        frame.laion.top("text", 0.3)


def test_the_threshold_can_be_that_of_other_rows(tmp_path):
    frame = ld.read_shards(collection(tmp_path, (60, 0, 40)).metadata)
    wide = frame.laion.where("width > 900")
    kept = wide.laion.top("similarity", 0.3, of=frame)
    scores = frame["similarity"].compute().sort_values(ascending=False, na_position="last")
    threshold = scores.iloc[int(len(scores) * 0.3)]
    rows = wide.compute()
    assert len(kept) == int((rows["similarity"] >= threshold).sum()) > 0
    assert kept.laion.rows().kept == len(kept)
