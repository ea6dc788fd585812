"""Hate content rates against a published reference, a plain loop and SciPy."""

from __future__ import annotations

import itertools
import json
import math
import pickle

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats as scipy_stats

import laion_dask as ld
from laion_dask.aggregations.engine.statistics import statistics
from laion_dask.aggregations.hate import hate_content_rate as measure
from laion_dask.errors import ColumnError, OptionError
from laion_dask.stats import compare_hate, hate_content_rate, welch, wilson


@pytest.fixture(scope="module")
def published():
    from support.paths import SHARED

    folder = SHARED / "reference"
    if not (folder / "hate_scaling_filewise.csv").exists():
        pytest.skip("the reference of Birhane et al. is not available")
    expected = json.loads((folder / "expected.json").read_text())["hate_scaling"]
    files = pd.read_csv(folder / "hate_scaling_filewise.csv")
    return expected, {name: rows for name, rows in files.groupby("dataset")}


CAPTIONS = 100_000  # per file, according to the reference


def test_the_published_rates_intervals_and_increase(published):
    """Each file samples 100,000 captions, so every rate corresponds to a count."""
    expected, files = published
    n = {name: CAPTIONS * len(rows) for name, rows in files.items()}
    assert n == {"400m": 3_200_000, "2B": 12_800_000}
    # The rates of "any" are printed to four digits, so several counts round to each. All of them
    # give the printed intervals, except for bounds at a rounding tie, and some of them give the
    # printed increase to its last digit.
    increases = []
    counts = {}
    for name, rate in expected["any_rate_percent"].items():
        around = round(rate / 100 * n[name])
        near = range(around - n[name] // 2_000_000, around + n[name] // 2_000_000 + 1)
        counts[name] = [k for k in near if round(100 * k / n[name], 4) == rate]
        printed = expected["any_wilson_95_percent"][name]
        lo, hi = wilson(around, n[name])
        assert [round(100 * lo, 4), round(100 * hi, 4)] == printed
    for a, b in itertools.product(counts["400m"], counts["2B"]):
        result = compare_hate(a, n["400m"], b, n["2B"])
        assert math.isnan(result.t)
        increases.append(result.increase)
    wanted = expected["increase_of_interval_bounds_percent"]
    assert wanted in [round(increase, 3) for increase in increases]
    assert max(increases) - min(increases) < 0.06


def test_the_published_means_and_welchs_t_of_files(published):
    expected, files = published
    k = {name: np.rint(rows["P_hateful"] * CAPTIONS / 100) for name, rows in files.items()}
    result = compare_hate(k["400m"], CAPTIONS, k["2B"], CAPTIONS)
    assert result.rate1 == pytest.approx(expected["mean_P_hateful"]["400m"], abs=1e-5)
    assert result.rate2 == pytest.approx(expected["mean_P_hateful"]["2B"], abs=1e-5)
    assert round(result.t, 2) == expected["welch_t"]["P_hateful"]
    theirs = scipy_stats.ttest_ind(
        files["2B"]["P_hateful"], files["400m"]["P_hateful"], equal_var=False
    )
    ours = (result.t, result.df, result.p)
    assert ours == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue), rel=1e-9)
    straight = welch(files["2B"]["P_hateful"], files["400m"]["P_hateful"])
    assert straight == pytest.approx(ours, rel=1e-9)


def test_the_comparison_by_hand():
    result = compare_hate([1, 2, 0], [100, 100, 0], [8, 12, 11], [100, 100, 100])
    assert result.rate1 == 1.5 and result.rate2 == pytest.approx(100 * 31 / 300)
    lo, hi = wilson(31, 300, 0.95)
    assert (result.lo2, result.hi2) == (100 * lo, 100 * hi)
    assert result.increase == pytest.approx(100 * (100 * lo / result.hi1 - 1))
    theirs = scipy_stats.ttest_ind([8, 12, 11], [1, 2], equal_var=False)
    assert (result.t, result.df) == pytest.approx((theirs.statistic, theirs.df))
    swapped = compare_hate([8, 12, 11], 100, [1, 2], 100)
    assert swapped.t == pytest.approx(-result.t) and swapped.increase < 0
    empty = compare_hate([], [], [0], [0])
    assert (empty.lo1, empty.hi1) == (0, 100) and math.isnan(empty.rate1) and math.isnan(empty.t)
    with pytest.raises(OptionError, match="0 <= k <= n"):
        compare_hate([3], [2], [1], [2])


def test_the_rate_of_an_array_and_of_classes():
    assert hate_content_rate([0.5, 0.51, 0.2, 0.9]) == 50.0
    assert hate_content_rate([0.5, 0.51, np.nan, 0.9]) == pytest.approx(200 / 3)
    assert hate_content_rate([0.2, 1.0], threshold=0) == 100.0
    assert hate_content_rate([0.2, 1.0], threshold=1) == 0.0
    assert math.isnan(hate_content_rate([])) and math.isnan(hate_content_rate([np.nan]))
    p = {"a": [0.6, np.nan, 0.1, 0.2, np.nan], "b": [0.1, 0.7, np.nan, 0.3, np.nan]}
    # "any" is above, above, undecided, not above, undecided.
    wanted = {"a": pytest.approx(100 / 3), "b": pytest.approx(100 / 3)}
    assert hate_content_rate(p) == {**wanted, "any": pytest.approx(200 / 3)}
    assert hate_content_rate(pd.DataFrame(p)) == hate_content_rate(p)
    # Compares as where= does: in float32, where the threshold 0.1 equals a stored 0.1.
    assert hate_content_rate(np.array([0.1], np.float32), 0.1) == 0.0


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, "0.5", None, True])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(OptionError, match="Expected a probability"):
        hate_content_rate([0.5], threshold)
    with pytest.raises(OptionError, match="Expected a probability"):
        measure("p", threshold=threshold)


def test_what_are_no_probabilities_of_the_same_captions():
    for wrong in ([-0.1, 0.5], [0.2, 2.0], [math.inf]):
        with pytest.raises(OptionError, match=r"probabilities in \[0, 1\]"):
            hate_content_rate(wrong)
    with pytest.raises(OptionError, match="differ in length: a 1, b 2"):
        hate_content_rate({"a": [0.1], "b": [0.1, 0.2]})
    with pytest.raises(OptionError, match="'any'"):
        hate_content_rate({"any": [0.1]})
    with pytest.raises(OptionError, match="Expected"):
        hate_content_rate([[0.1]])
    with pytest.raises(OptionError, match="numbers"):
        hate_content_rate(["x"])


CLASSES = ("hateful", "targeted odd-name!")


def captions(n=900, seed=0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({name: draw.uniform(0, 1, n) ** 3 for name in CLASSES})
    frame["hateful"] = frame["hateful"].astype(np.float32)
    for name in CLASSES:
        frame.loc[draw.uniform(size=n) < 0.1, name] = np.nan
    frame["shard"] = np.sort(draw.integers(0, 12, n)).astype(np.int32)
    frame["text"] = "never read"
    return frame


def by_loop(frame, terms, threshold) -> dict:
    counts = {}
    for row in frame.to_dict("records"):
        over = [row[t] > threshold if not math.isnan(row[t]) else None for t in terms]
        anything = True if True in over else (None if None in over else False)
        for term, one in zip((*terms, "any"), (*over, anything), strict=True):
            for group in ("(all)", str(row["shard"])):
                k, n, rest = counts.get((term, group), (0, 0, 0))
                undecided = one is None
                counts[term, group] = (k + (one is True), n + (not undecided), rest + undecided)
    return counts


def test_the_statistic_against_a_loop():
    frame = captions()
    many = dd.from_pandas(frame, npartitions=5, sort=False)
    result = statistics(
        many, measure(*CLASSES, threshold=[0.5, 0.8], per_file=True), min_n=0, level=0.9
    )
    for threshold in (0.5, 0.8):
        selected = result[result["threshold"] == threshold]
        ours = {
            (row.term, row.group): (row.k, row.n, row.undecided) for row in selected.itertuples()
        }
        assert ours == by_loop(frame, CLASSES, threshold)
    for row in result.itertuples():
        assert (row.lo, row.hi) == wilson(row.k, row.n, 0.9)
        assert row.rate == row.k / row.n and row.percent == 100 * row.rate
    whole = result[result["axis"].isna() & (result["threshold"] == 0.5)]
    pure = hate_content_rate(frame[list(CLASSES)])
    assert dict(zip(whole["term"], whole["percent"], strict=True)) == pytest.approx(pure)
    files = result[result["axis"] == "shard"]
    assert files["group"].drop_duplicates().tolist() == [str(i) for i in range(12)]


def test_partitions_files_and_order_do_not_matter():
    frame = captions()
    statistic = measure(*CLASSES, threshold=(0.3, 0.5), per_file=True)
    whole = statistics(dd.from_pandas(frame, npartitions=1, sort=False), statistic, min_n=0)
    shuffled = frame.sample(frac=1, random_state=3)
    for other, parts in ((frame, 2), (frame, 17), (shuffled, 5), (frame[::-1], 3)):
        again = statistics(dd.from_pandas(other, npartitions=parts, sort=False), statistic, min_n=0)
        assert whole.equals(again)
    with_empty = dd.concat(
        [
            dd.from_pandas(frame[:0], npartitions=1),
            dd.from_pandas(frame, npartitions=2, sort=False),
            dd.from_pandas(frame[:0], npartitions=1),
        ]
    )
    assert whole.equals(statistics(with_empty, statistic, min_n=0))


def test_of_shards_only_the_named_columns_are_read(write, monkeypatch):
    from laion_dask.io.parquet.scan import Scan

    parts = [captions(200, seed).drop(columns="shard") for seed in (0, 1, 2)]
    paths = [write(f"{i}.parquet", pa.Table.from_pandas(p)) for i, p in enumerate(parts)]
    statistic, read = [], Scan.read
    monkeypatch.setattr(
        Scan,
        "read",
        lambda self, piece, columns: statistic.append(columns) or read(self, piece, columns),
    )
    result = statistics(ld.read_shards(paths), measure("hateful", per_file=True))
    assert all(sorted(columns) == ["hateful", "shard"] for columns in statistic) and statistic
    table = result[(result["term"] == "hateful") & (result["axis"] == "shard")]
    assert table["group"].tolist() == ["0", "1", "2"]
    wanted = [hate_content_rate(part["hateful"]) for part in parts]
    assert table["percent"].tolist() == pytest.approx(wanted)
    assert result.attrs["rows"]["read"] == 600


def test_no_rows_and_nothing_known():
    frame = captions(20)
    none = statistics(
        dd.from_pandas(frame[:0], npartitions=1), measure("hateful", per_file=True), min_n=0
    )
    assert none["n"].tolist() == [0, 0] and none["rate"].isna().all()
    assert none[["lo", "hi"]].to_numpy().tolist() == [[0, 1], [0, 1]]
    frame["hateful"] = np.nan
    unknown = statistics(dd.from_pandas(frame, npartitions=2), measure("hateful"), min_n=0)
    assert unknown["undecided"].tolist() == [20, 20] and unknown["k"].tolist() == [0, 0]
    few = statistics(dd.from_pandas(frame, npartitions=2), measure("hateful"))
    assert len(few) == 0 and few.n_suppressed == 2


def test_two_frames_compared_by_their_files():
    tables = []
    for seed in (0, 1):
        frame = captions(seed=seed)
        frame["hateful"] = frame["hateful"] ** (1.0 if seed else 2.0)
        result = statistics(
            dd.from_pandas(frame, npartitions=3, sort=False), measure("hateful", per_file=True)
        )
        tables.append(result[(result["term"] == "hateful") & (result["axis"] == "shard")])
    a, b = tables
    result = compare_hate(a["k"], a["n"], b["k"], b["n"])
    theirs = scipy_stats.ttest_ind(b["percent"], a["percent"], equal_var=False)
    assert (result.t, result.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert result.increase > 0


def test_what_it_reads_and_refuses():
    frame = dd.from_pandas(captions(30), npartitions=2)
    statistic = measure("hateful")
    column_types = {"hateful": "float32", "text": "string", "shard": "integer"}
    assert statistic.bind(column_types).reads == ("hateful",)
    assert measure("hateful", per_file=True).bind(column_types).reads == ("hateful", "shard")
    assert pickle.loads(pickle.dumps(statistic.bind(column_types))) == statistic.bind(column_types)
    assert hash(statistic) == hash(measure("hateful", threshold=[0.5]))
    with pytest.raises(ColumnError, match="Did you mean 'hateful'"):
        statistics(frame, measure("hatefull"))
    with pytest.raises(OptionError, match="'text' holds string"):
        statistics(frame, measure("text"))
    with pytest.raises(OptionError, match="column 'shard'"):
        statistics(frame.drop(columns="shard"), measure("hateful", per_file=True))
    for wrong in ((), ("a", "a"), ("any",), (3,)):
        with pytest.raises(OptionError):
            measure(*wrong)
    with pytest.raises(OptionError, match="threshold is empty"):
        measure("a", threshold=[])
    odd = captions(30).assign(hateful=lambda f: f["hateful"] * 3 - 1)
    with pytest.raises(OptionError, match=r"probabilities in \[0, 1\]; convert a logit"):
        statistics(dd.from_pandas(odd, npartitions=1), measure("hateful"))
