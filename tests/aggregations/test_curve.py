"""A curve is the rates of its thresholds, and its thresholds round as their column does."""

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.frames import both
from support.rated_shards import WORDS, tables
from support.shards import write_shard

import laion_dask as ld
from laion_dask.aggregations import counts
from laion_dask.aggregations.curve import curve
from laion_dask.aggregations.rates import rates
from laion_dask.errors import OptionError

pytestmark = both


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("column", ["punsafe", "similarity", "width"])
def test_a_curve_is_the_rates_of_its_thresholds(rated_shards, column, above):
    """Some thresholds equal a stored value, in float32 and in integer columns."""
    frame, plain = tables(rated_shards)
    values = plain[column].dropna()
    cuts = [0.1, 0.3, 0.5, float(values.iloc[0]), float(values.iloc[7]), 500, 2000.5]
    table = ld.statistics(
        frame, curve(column, by=["language", WORDS], thresholds=cuts, above=above)
    )
    assert table["side"].eq("above" if above else "below").all()
    sign = ">" if above else "<"
    terms = {cut: f"{column} {sign} {cut!r}" for cut in cuts}
    each = [rates(term, by=["language", WORDS]) for term in terms.values()]
    wanted = ld.statistics(frame, *each).set_index(["term", "axis", "group"])
    assert sorted(set(table["threshold"])) == sorted(cuts) and len(table) == len(wanted)
    for line in table.to_dict("records"):
        other = wanted.loc[(terms[line["threshold"]], line["axis"], line["group"])]
        for name in ("n", "k", "undecided", "rate", "lo", "hi"):
            assert line[name] == other[name], (line, other)


@pytest.mark.only_pandas
def test_a_threshold_rounds_as_the_column_does():
    frame = pd.DataFrame({"x": np.array([0.1, 0.3, np.nan, np.inf, -np.inf] * 10, np.float32)})
    frame = dd.from_pandas(frame, npartitions=2)
    table = ld.statistics(frame, curve("x", thresholds=[0.3, 0.1, 1e300]))
    assert table["threshold"].tolist() == [0.1, 0.3, 1e300]
    assert table["k"].tolist() == [20, 10, 10] and table["n"].eq(40).all()
    assert table["undecided"].eq(10).all()
    below = ld.statistics(frame, curve("x", thresholds=[0.3, 0.1], above=False))
    assert below["k"].tolist() == [10, 20]


def test_the_default_thresholds(rated_shards):
    table = ld.statistics(ld.read_shards(rated_shards), curve("punsafe"))
    assert table["threshold"].tolist() == [round(0.05 * i, 2) for i in range(1, 20)]
    assert table["rate"].is_monotonic_decreasing


@pytest.mark.only_pandas
def test_too_many_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(counts, "MAX_NUMBERS", 100)
    frame = dd.from_pandas(pd.DataFrame({"x": np.arange(60.0), "g": np.arange(60)}), npartitions=4)
    with pytest.raises(OptionError, match="fewer thresholds"):
        ld.statistics(frame, curve("x", by="g", thresholds=[1, 2, 3]))
    assert len(ld.statistics(frame, curve("x", thresholds=range(60)))) == 60
    with pytest.raises(OptionError, match=r"The thresholds require .* fewer thresholds"):
        ld.statistics(frame, curve("x", thresholds=range(120)))


@pytest.mark.parametrize("above", [True, False])
def test_thresholds_beyond_2_to_the_53(tmp_path, above):
    numbers = [2**53 + i for i in range(60)]
    table = pa.table({"URL": ["u"] * 60, "hash": pa.array(numbers, pa.int64())})
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
    cuts = [2**53 + 1, 2**53 + 2, 2**53 + 31, 2**70]
    result = ld.statistics(frame, curve("hash", thresholds=cuts, above=above), min_n=0)
    k = [sum(n > cut if above else n < cut for n in numbers) for cut in cuts]
    assert result["k"].tolist() == k
    for cut, n in zip(cuts[:3], k, strict=False):
        one = ld.statistics(frame, ld.rates(f"hash {'>' if above else '<'} {cut}"), min_n=0)
        assert one["k"].tolist() == [n]
    exact = ld.statistics(frame, curve("hash", thresholds=cuts[:3], above=above), min_n=0)
    assert exact["threshold"].tolist() == cuts[:3]
    for thresholds in ([2**53, 2**53 + 1], [1, 2**53 + 1], [5.0, 2**63 + 1, 2**64 - 1]):
        exact = ld.statistics(frame, curve("hash", thresholds=thresholds, above=above), min_n=0)
        assert exact["threshold"].tolist() == thresholds
