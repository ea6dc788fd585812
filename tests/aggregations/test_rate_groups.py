"""The groups of rates: hostile, numeric, pooled and undecided ones, and what is refused."""

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.frames import both
from support.rated_shards import UNSAFE, WORDS
from support.shards import refuse, write_shard

import laion_dask as ld
from laion_dask.aggregations.curve import curve
from laion_dask.aggregations.rates import rates
from laion_dask.errors import ColumnError, OptionError, PredicateError

pytestmark = both


@pytest.mark.only_pandas
def test_none_all_and_every_row_undecided():
    frame = pd.DataFrame({"x": [1.0] * 40 + [None] * 40, "g": ["a"] * 40 + ["b"] * 40})
    frame = dd.from_pandas(frame, npartitions=3)
    table = ld.statistics(frame, rates("x > 2", by="g"), rates("x == 1", by="g"), min_n=0)
    table = table.set_index(["term", "group"])
    none, every = table.loc[("x > 2", "a")], table.loc[("x == 1", "a")]
    assert (none["k"], none["rate"], none["lo"]) == (0, 0, 0) and 0 < none["hi"] < 0.1
    assert (every["k"], every["rate"], every["hi"]) == (40, 1, 1)
    for line in (none, every):  # all other rows are undecided, so there is nothing to compare with
        assert pd.isna(line["ratio"]) and pd.isna(line["p"])
    for term in ("x > 2", "x == 1"):
        line = table.loc[(term, "b")]
        assert (line["n"], line["undecided"], line["hi"]) == (0, 40, 1)
    assert table.loc[("x > 2", "(null)"), "n"] == 0


@pytest.mark.only_pandas
def test_hostile_groups_stay_text():
    bad = "<script>alert(1)</script>|\u202e(all)\n"
    frame = dd.from_pandas(
        pd.DataFrame({"x": [1, 2] * 40, "g": [bad, "(null)"] * 40}), npartitions=2
    )
    table = ld.statistics(frame, rates("x > 1", by="g"))
    assert set(table["group"]) == {"(all)", "'(null)'", bad}
    assert "<script>" not in table._repr_html_() and "<script>" not in table.to_markdown()


@pytest.mark.only_pandas
def test_groups_of_whole_numbers_and_truth_values():
    frame = pd.DataFrame({"x": np.arange(100), "i": np.arange(100) % 3, "b": np.arange(100) < 40})
    table = ld.statistics(dd.from_pandas(frame, npartitions=4), rates("x < 30", by=["i", "b"]))
    table = table.set_index(["axis", "group"])
    assert table.loc[("i", "0"), ["k", "n"]].tolist() == [10, 34]
    assert table.loc[("b", "True"), ["k", "n"]].tolist() == [30, 40]
    assert table.loc[("b", "False"), "ratio"] == 0


@pytest.mark.only_pandas
def test_what_is_no_rate_is_refused_at_once(rated_shards):
    frame = ld.read_shards(rated_shards)
    with dask.config.set(scheduler=refuse):
        for make in (
            lambda: rates(3),
            lambda: rates(UNSAFE, by=3),
            lambda: rates(UNSAFE, by=[]),
            lambda: curve("punsafe", thresholds=[]),
            lambda: curve("punsafe", thresholds=[0.1, np.nan]),
            lambda: curve("punsafe", thresholds=["x"]),
            lambda: curve("punsafe", above="yes"),
            lambda: curve(3),
            lambda: ld.statistics(frame, curve("text")),
            lambda: ld.statistics(frame, rates(UNSAFE, by="punsafe")),
        ):
            with pytest.raises(OptionError, match=r"Expected|Name|Count"):
                make()
        with pytest.raises(PredicateError):
            ld.statistics(frame, rates("punsafe >"))
        with pytest.raises(ColumnError, match="Did you mean"):
            ld.statistics(frame, rates("punsave > 0.5"))
        with pytest.raises(ColumnError, match="Did you mean"):
            ld.statistics(frame, rates(UNSAFE, by="langage"))
        with pytest.raises(ColumnError, match="Did you mean"):
            ld.statistics(frame, curve("punsave"))


def test_top_pools_the_other_groups(tmp_path):
    draw = np.random.default_rng(0)
    labels = draw.choice([*"abcdefgh"], 900, p=np.array([9, 8, 7, 6, 5, 4, 3, 2]) / 44).tolist()
    score = draw.random(900)
    urls = [f"https://img.{x}.com/1.jpg" for x in labels]
    table = pa.table({
        "URL": urls, "LANGUAGE": [*labels[:-9], *[None] * 9],
        "punsafe": pa.array(score, pa.float32()), "TEXT": ["a bird on a car"] * 900,
    })  # fmt: skip
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table, row_group=100))
    where, whole = "punsafe > 0.5", ld.rates("punsafe > 0.5", by="language")
    every = ld.statistics(frame, whole, min_n=0)
    result = ld.statistics(frame, ld.rates(where, by="language", top=3), min_n=0)
    assert result["group"].tolist() == [*every["group"][:4], "(others)", "(null)"]
    others = every.iloc[4:-1]
    assert result.loc[4, ["n", "k"]].tolist() == others[["n", "k"]].sum().tolist()
    assert result["n"][1:].sum() == result["n"][0] and result["k"][1:].sum() == result["k"][0]
    compared = ["group", "n", "k", "ratio", "difference_lo", "p", "boot_lo"]
    pd.testing.assert_frame_equal(result.loc[:3, compared], every.loc[:3, compared], rtol=1e-12)
    assert result["q"].notna().sum() == 5  # the rows shown
    assert ld.statistics(frame, ld.rates(where, by="language", top=8), min_n=0).equals(every)
    curves = ld.statistics(frame, curve("punsafe", by="language", thresholds=[0.5], top=3), min_n=0)
    assert curves[["group", "n", "k"]].equals(result[["group", "n", "k"]])
    sites = ld.statistics(frame, ld.rates(None, by=ld.domains(), top=2), min_n=0)
    assert sites["group"].tolist() == ["(all)", *sites["group"][1:3], "(others)", "(none)"]
    assert sites["k"][1:].sum() == 900
    words = ld.rates(None, by=WORDS, top=1)  # a row may be in several groups
    assert "(others)" not in set(ld.statistics(frame, words, min_n=0)["group"])
    assert {"(others)", "(null)"} <= set(result.top(1)["group"])
    for wrong in (0, -1, 2.5, True, "3"):
        with pytest.raises(OptionError):
            ld.rates(where, by="language", top=wrong)


def test_a_domain_is_no_column_but_a_grouping(rated_shards):
    frame = ld.read_shards(rated_shards)
    with pytest.raises(ColumnError, match=r"use ld\.domains\(\)"):
        ld.statistics(frame, ld.rates("punsafe > 0.5", by="domain"))
