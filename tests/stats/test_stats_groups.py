"""Differences of shares, divergence, concentration, categories, infinite and huge values."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as shannon
from support.shards import write_shard

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError
from laion_dask.stats import (
    effective_number,
    jensen_shannon,
    reliability,
    risk_difference,
    theil,
)

#: The counts in table II of Newcombe, R. G. (1998), Statistics in Medicine 17; the limits from
#: statsmodels 0.15.0, confint_proportions_2indep(..., compare="diff", method="newcomb").
NEWCOMBE = {
    (56, 70, 48, 80): (0.05243147240236498, 0.33387265403690614),
    (9, 10, 3, 10): (0.1705227239345029, 0.809017973535488),
    (6, 7, 2, 7): (0.05822792748231209, 0.8062496375242278),
    (5, 56, 0, 29): (-0.038137147903536936, 0.19256001385511165),
    (0, 10, 0, 20): (-0.1611251580528194, 0.27753279986288926),
    (0, 10, 0, 10): (-0.27753279986288926, 0.27753279986288926),
    (10, 10, 0, 20): (0.6790860371419145, 1.0),
    (10, 10, 0, 10): (0.6075093504305241, 1.0),
}


def test_risk_difference_against_statsmodels():
    for counts, ends in NEWCOMBE.items():
        k1, n1, k2, n2 = counts
        difference, lo, hi = risk_difference(*counts)
        assert difference == pytest.approx(k1 / n1 - k2 / n2)
        assert (lo, hi) == pytest.approx(ends, abs=1e-12)
    difference, *ends = risk_difference(0, 0, 3, 9)
    assert math.isnan(difference) and ends == [-1, 1]


def test_risk_difference_covers():
    draw = np.random.default_rng(2)
    k1, k2 = draw.binomial(300, 0.02, 20_000), draw.binomial(500, 0.05, 20_000)
    _, lo, hi = risk_difference(k1, 300, k2, 500)
    assert 0.93 <= np.mean((lo <= -0.03) & (hi >= -0.03)) <= 0.97


def test_divergence_against_scipy():
    draw = np.random.default_rng(3)
    for _ in range(20):
        a, b = draw.integers(0, 50, (2, 9))
        assert jensen_shannon(a, b) == pytest.approx(jensenshannon(a, b, base=2) ** 2, abs=1e-12)
    assert jensen_shannon(pd.Series({"en": 3, "de": 1}), {"de": 1, "en": 3}) == 0
    assert jensen_shannon({"en": 5}, {"fr": 1}) == 1
    assert math.isnan(jensen_shannon([0, 0], [1, 2]))
    for bad in (([1], [1, 2]), ({"a": 1}, [1]), ([-1], [1])):
        with pytest.raises(OptionError):
            jensen_shannon(*bad)


def test_concentration_against_scipy():
    counts = np.array([5, 1, 9, 300, 2])
    shares = counts / counts.sum()
    assert theil(counts) == pytest.approx(math.log(5) - shannon(counts))
    assert effective_number(counts) == pytest.approx(1 / (shares**2).sum())
    assert theil([4, 4, 4]) == 0 and effective_number([4, 4, 4]) == pytest.approx(3)
    assert theil([7, 0]) == pytest.approx(math.log(2)) and math.isnan(theil([0]))


@pytest.mark.parametrize(
    "args",
    [
        ([0.5, 1.5], [0, 1]),
        ([0.5, math.nan], [0, 1]),
        ([0.5], [0, 1]),
        ([0.5], [0.3]),
        (["a"], [1]),
        ([0.5], [1], 0),
        ([[0.5]], [[1]]),
    ],
)
def test_reliability_refuses_what_is_no_probability(args):
    with pytest.raises(OptionError):
        reliability(*args)


@pytest.fixture
def frame(tmp_path):
    n = 120
    similarity = np.linspace(0, 1, n, dtype="f4")
    similarity[:5] = [np.inf, -np.inf, np.inf, np.nan, np.nan]
    table = pa.table(
        {
            "URL": [None if i % 40 == 0 else f"https://a{i % 3}.org/{i}" for i in range(n)],
            "TEXT": [f"c {i}" for i in range(n)],
            "LANGUAGE": [("en", "de", None)[i % 3] for i in range(n)],
            "similarity": similarity,
            "hash": [2**53 + i for i in range(n)],
        }
    )
    return ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))


def test_values_missing_and_infinite_add_up_to_the_rows(frame):
    summary = frame.laion.summary()
    found = summary.nulls
    assert (found[["n", "nulls", "infinite"]].sum(axis=1) == 120).all()
    assert found.loc["similarity", ["n", "nulls", "infinite"]].tolist() == [115, 2, 3]
    assert found.loc["url", "nulls"] == 3 and summary.quantiles.loc["similarity", "n"] == 115
    result = frame.laion.statistics(ld.describe())
    result = result[result["term"] == "similarity"].set_index("group")
    assert result.loc["mean", "n"] + result.loc[["missing", "infinite"], "k"].sum() == 120


def test_a_category_is_as_its_values(frame):
    category = frame.categorize(["language"])
    measures = (ld.rates("similarity > 0.5", by="language"), ld.describe())
    wanted, found = (f.laion.statistics(*measures) for f in (frame, category))
    assert found.equals(wanted)
    assert category.laion.summary().languages.equals(frame.laion.summary().languages)
    audited = [f.laion.audit("similarity > 0.5", by="language") for f in (frame, category)]
    assert audited[0].equals(audited[1])
    assert len(frame.laion.statistics(ld.rates("language == 'en'"))) == 1


def test_numbers_above_float64_are_compared_exactly(frame):
    cuts = [-math.inf, -1.5, 2.0**53, 2.0**53 + 2, 2.0**53 + 60, 1e30, math.inf]
    for above in (True, False):
        result = frame.laion.statistics(ld.curve("hash", thresholds=cuts, above=above))
        numbers = [2**53 + i for i in range(120)]
        wanted = [sum((v > cut) if above else (v < cut) for v in numbers) for cut in cuts]
        assert result["k"].tolist() == wanted


def test_domains_are_named_where_a_column_is_not_there(frame):
    with pytest.raises(ColumnError, match=r"ld\.domains\(\)"):
        frame.laion.statistics(ld.rates("similarity > 0.5", by="domain"))


def test_the_largest_groups_and_an_order(frame):
    result = frame.laion.statistics(ld.rates("similarity > 0.5", by=ld.domains()), min_n=0).of(
        "rates"
    )
    top_two = result.top(2)
    groups = result[result["axis"].notna() & ~result["group"].isin(["(all)", "(none)"])]
    largest = groups.nlargest(2, "n")["group"].tolist()
    assert {*top_two[top_two["group"].isin(groups["group"])]["group"]} == {*largest}
    assert len(top_two) == len(result) - 1 and "1 others" in top_two.caveats[-1]
    assert result.top(99).equals(result) and result.top(99).attrs == result.attrs
    ordered = result.sort("rate")
    assert ordered["rate"].dropna().is_monotonic_decreasing and len(ordered) == len(result)
    assert result.sort("n", ascending=True)["n"].is_monotonic_increasing
    for bad in (lambda: result.top(0), lambda: result.top(True)):
        with pytest.raises(OptionError):
            bad()
    with pytest.raises(ColumnError, match="Did you mean 'rate'"):
        result.sort("rates")
