"""Duplicate rates: exact counts, interval coverage by simulation, any partitioning."""

from __future__ import annotations

import pickle
import re
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.stats import zipf
from support.shards import write_shard

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError
from laion_dask.reports.datasheet_sections import section_markup
from laion_dask.stats.sketches.bottom_k import BottomK

WHAT = ["missing", "distinct", "repeats", "rows whose value repeats", "most frequent"]


def duplicate_table(frame, *args, **options) -> pd.DataFrame:
    result = ld.statistics(frame, ld.duplicate_share(*args, **options), min_n=0)
    assert result["group"].tolist() == WHAT
    return result.set_index("group")


@pytest.fixture
def captions():
    draw = np.random.default_rng(0)
    texts = [f"caption {i}" for i in zipf.rvs(1.4, size=3000, random_state=draw)]
    texts += ["Caption 1", "caption 1 ", "", "caf\u00e9", "cafe\u0301", "\0", "\0\0"] + [None] * 50
    return [texts[i] for i in draw.permutation(len(texts))]


@pytest.fixture
def frame(captions, tmp_path):
    for i in range(4):
        texts = captions[i::4]
        table = pa.table(
            {"URL": [f"https://a.b/{j % 700}" for j in range(len(texts))], "TEXT": texts}
        )
        write_shard(tmp_path / "in" / f"part_{i}.parquet", table)
    return ld.read_shards(tmp_path / "in", max_rows_per_partition=200)


def test_against_a_counter(frame, captions):
    """The truth comes from Python and Arrow, because pandas equates "" and "\\0"."""
    known = [text for text in captions if text is not None]
    counts = Counter(known)
    assert len(counts) == pc.count_distinct(pa.array(known)).as_py()
    result = duplicate_table(frame, "text")
    assert result["n"].tolist() == [len(captions)] + [len(known)] * 4
    assert result["k"].tolist()[:1] == [50]
    assert result.loc["distinct", "value"] == len(counts)
    assert result.loc["repeats", "k"] == len(known) - len(counts)
    often = sum(n for n in counts.values() if n > 1)
    assert result.loc["rows whose value repeats", "k"] == often
    for what in ("repeats", "rows whose value repeats"):
        assert result.loc[what, "rate"] == result.loc[what, "k"] / len(known)
    assert result.loc["most frequent", "value"] == max(counts.values())
    assert result["method"].tolist() == ["Wilson", *["exact"] * 4]
    assert result.loc[WHAT[1:], ["lo", "hi"]].isna().all(axis=None)
    assert duplicate_table(frame)["value"].dropna().tolist()[0] == 700  # counts URLs by default


def test_beyond_the_capacity(frame, captions):
    want, got = duplicate_table(frame, "text"), duplicate_table(frame, "text", capacity=200)
    assert got.loc["distinct", "method"] == "bottom-k, k = 200"
    for what in WHAT[1:4]:
        name = "value" if what == "distinct" else "rate"
        assert got.loc[what, "lo"] <= want.loc[what, name] <= got.loc[what, "hi"]
        assert got.loc[what, "lo"] <= got.loc[what, name] <= got.loc[what, "hi"]
    moved = frame.repartition(npartitions=3)
    pd.testing.assert_frame_equal(duplicate_table(moved, "text", capacity=200), got)
    whole = frame.sample(frac=1.0, random_state=2)
    pd.testing.assert_frame_equal(duplicate_table(whole, "text", capacity=200), got)


def test_the_state_is_the_same_however_rows_are_parted():
    draw = np.random.default_rng(1)
    hashes = draw.integers(0, 1 << 63, 5000, dtype=np.uint64)[draw.integers(0, 5000, 20_000)]
    whole = BottomK.of(hashes, 300)
    for cuts in ([1], [10, 500, 500, 19_999], range(0, 20_000, 37)):
        parts = [BottomK.of(texts, 300) for texts in np.split(hashes, list(cuts))]
        parts = [pickle.loads(pickle.dumps(part)) for part in parts[::-1]]
        merged = BottomK.merged([BottomK.merged(parts[:3]), *parts[3:]])
        assert (merged.hashes == whole.hashes).all() and (merged.counts == whole.counts).all()
        assert (merged.n, merged.is_exact) == (20_000, False)
    exactly = BottomK.of(np.arange(300, dtype=np.uint64), 300)
    assert exactly.is_exact and exactly.distinct() == (300, 300, 300)
    assert not BottomK.merged([exactly, BottomK.of(np.array([300], np.uint64), 300)]).is_exact


@pytest.mark.parametrize("single", [0.02, 0.5, 0.98])
def test_the_intervals_cover(single):
    """The sketch keeps 256 of 5,000 distinct values; some occur once, the others three times."""
    hits, draw = np.zeros(2), np.random.default_rng(5)
    singles = int(5000 * single)
    counts = np.where(np.arange(5000) < singles, 1, 3)
    for _ in range(1000):
        hashes = draw.integers(0, 1 << 64, 5000, dtype=np.uint64, endpoint=False)
        order = np.argsort(hashes)[:256]
        state = BottomK(hashes[order], counts[order], int(counts.sum()), 256, False)
        for i, (result, truth) in enumerate(
            [(state.distinct(), 5000), (state.singletons(), singles)]
        ):
            value, lo, hi = result
            hits[i] += lo <= truth <= hi
            assert lo <= value <= hi
    assert 0.93 <= hits[0] / 1000 <= 0.97
    assert hits[1] / 1000 >= 0.93  # Garwood's interval is conservative


def test_numbers_empty_frames_and_nulls(tmp_path):
    table = pa.table({
        "URL": pa.array([None] * 40, pa.string()), "WIDTH": [1, 1, 2, None] * 10,
        "hash": np.arange(40) + (1 << 53),
    })  # fmt: skip
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
    result = duplicate_table(frame)
    assert result["k"].tolist()[:1] == [40] and result.loc["distinct", "value"] == 0
    assert result.loc["repeats", "rate"] != result.loc["repeats", "rate"]
    assert duplicate_table(frame, "width").loc["repeats", "k"] == 28
    assert duplicate_table(frame, "hash").loc["distinct", "value"] == 40
    empty = frame.laion.where("width > 5")
    assert duplicate_table(empty)["n"].tolist() == [0] * 5
    category = frame.assign(width=frame["width"].astype("category").cat.as_known())
    assert duplicate_table(category, "width").loc["distinct", "value"] == 2


def test_what_is_refused(frame):
    for wrong in ({"column": 5}, {"capacity": 2}, {"capacity": 2.5}, {"capacity": True}):
        with pytest.raises(OptionError):
            ld.duplicate_share(**wrong)
    with pytest.raises(ColumnError, match="caption"):
        duplicate_table(frame, "caption")
    with pytest.raises(OptionError, match="float"):
        duplicate_table(frame.assign(similarity=frame["row"] * 0.5), "similarity")


def test_the_page_tells_shares_in_percent_and_counts_as_numbers(write):
    values = {"URL": [f"u{i}" for i in range(70_000)], "TEXT": ["t"] * 70_000}
    frame = ld.read_shards(write("0.parquet", values))
    page = section_markup("duplicate_share", frame.laion.statistics(ld.duplicate_share("url")))
    assert re.search(r"distinct.*?6\d,\d{3} … 70,000<", page)
    assert not re.search(r"\d,\d{3} %", page)
