"""Rates per group against loops over the same rows in plain Python, SciPy and planted shares."""

import pickle

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, false_discovery_control, fisher_exact
from scipy.stats.contingency import relative_risk
from support.frames import both
from support.partitionings import read_combined
from support.rated_shards import UNSAFE, WORDS, tables
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.aggregations import counts
from laion_dask.aggregations.curve import curve
from laion_dask.aggregations.rates import rates
from laion_dask.demo.planting import LANGUAGE_SHARES, plan_rows
from laion_dask.stats import shard_bootstrap

pytestmark = both


def truth(plain: pd.DataFrame) -> list:
    """The value of `UNSAFE` for each row, by a loop: True, False, or None if undecided."""
    return [None if pd.isna(p) else bool(p > np.float32(0.5)) for p in plain["punsafe"]]


def by_language(plain: pd.DataFrame) -> list[set]:
    return [{"(null)"} if pd.isna(value) else {value} for value in plain["language"]]


def by_word(plain: pd.DataFrame) -> list[set]:
    return [WORDS.of(text) or {"(none)"} for text in plain["text"]]


def counted(decided: list, inside: list[bool]) -> tuple[int, int, int]:
    """k, n and the undecided count of the rows where `inside` is true."""
    values = [value for value, yes in zip(decided, inside, strict=True) if yes]
    return values.count(True), len(values) - values.count(None), values.count(None)


def check(table: pd.DataFrame, plain: pd.DataFrame, groups: list[set]) -> None:
    """Compare every number of one axis with loops and SciPy."""
    decided = truth(plain)
    all_k, all_n, _ = counted(decided, [True] * len(plain))
    for line in table.to_dict("records"):
        inside = [line["group"] in of for of in groups]
        k, n, undecided = counted(decided, inside)
        assert (line["k"], line["n"], line["undecided"]) == (k, n, undecided)
        interval = binomtest(k, n).proportion_ci(0.95, "wilson")
        wanted = (k / n, interval.low, interval.high)
        assert [line[c] for c in ("rate", "lo", "hi")] == pytest.approx(wanted, abs=1e-12)
        risk = relative_risk(k, n, all_k - k, all_n - n)
        interval = risk.confidence_interval(0.95)
        wanted = (risk.relative_risk, interval.low, interval.high)
        assert [line[c] for c in ("ratio", "ratio_lo", "ratio_hi")] == pytest.approx(wanted)
        cells = [[k, n - k], [all_k - k, all_n - n - all_k + k]]
        assert line["p"] == pytest.approx(fisher_exact(cells).pvalue)
        pairs = {}
        for shard, value, yes in zip(plain["shard"], decided, inside, strict=True):
            if yes and value is not None:
                pairs.setdefault(shard, []).append(value)
        wanted = shard_bootstrap([sum(v) for v in pairs.values()], [*map(len, pairs.values())])
        assert (line["boot_lo"], line["boot_hi"]) == pytest.approx(wanted, abs=1e-12)
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]))


def test_every_number_against_loops(rated_shards):
    frame, plain = tables(rated_shards)
    table = ld.statistics(frame, rates(UNSAFE, by=["language", WORDS])).of("rates")
    assert table["term"].eq(UNSAFE).all() and table["group"].eq("(all)").sum() == 1
    whole = table.iloc[0]
    assert whole["group"] == "(all)" and pd.isna(whole["axis"]) and pd.isna(whole["ratio"])
    assert (whole["k"], whole["n"], whole["undecided"]) == counted(truth(plain), [True] * 530)
    languages, words = (table[table["axis"] == axis] for axis in ("language", "words"))
    check(languages, plain, by_language(plain))
    check(words, plain, by_word(plain))
    assert set(languages["group"]) == {"en", "de", "fr", "(null)"}
    assert list(words["group"])[-1] == "(none)" and "zebra" not in set(words["group"])
    assert languages["n"].sum() + languages["undecided"].sum() == len(plain)  # no row is lost


def test_a_group_that_is_never_seen_is_suppressed_and_counted(rated_shards):
    frame, _ = tables(rated_shards)
    table = ld.statistics(frame, rates(UNSAFE, by=WORDS))
    assert table.n_suppressed == 1 and "zebra" not in set(table["group"])
    table = ld.statistics(frame, rates(UNSAFE, by=WORDS), min_n=0)
    line = table[table["group"] == "zebra"].iloc[0]
    assert table.n_suppressed == 0
    assert (line["n"], line["k"], line["lo"], line["hi"]) == (0, 0, 0.0, 1.0)
    assert line[["rate", "ratio", "p", "q", "boot_lo", "boot_hi"]].isna().all()
    assert (line["ratio_lo"], line["ratio_hi"]) == (0, np.inf)


def test_what_is_not_shown_does_not_count_as_compared(rated_shards):
    """One group is too small to show: q is adjusted for the other groups only."""
    frame, _ = tables(rated_shards)
    table = ld.statistics(frame, rates(UNSAFE, by="language"), min_n=100)
    shown = table[table["axis"] == "language"]
    assert table.n_suppressed == 1 and len(shown) == 3
    np.testing.assert_allclose(shown["q"], false_discovery_control(shown["p"]))


def test_without_an_expression_it_is_the_share_of_each_group(rated_shards):
    frame, plain = tables(rated_shards)
    table = ld.statistics(frame, rates(None, by=["language", WORDS])).of("rates")
    assert table["term"].eq("rows").all() and table["n"].eq(530).all()
    assert table[["ratio", "q"]].isna().all(axis=None)
    for line in table[1:].to_dict("records"):
        groups = by_language(plain) if line["axis"] == "language" else by_word(plain)
        inside = [line["group"] in of for of in groups]
        k = sum(inside)
        interval = binomtest(k, 530).proportion_ci(0.95, "wilson")
        wanted = (k / 530, interval.low, interval.high)
        assert line["k"] == k
        assert [line[c] for c in ("rate", "lo", "hi")] == pytest.approx(wanted, abs=1e-12)
        in_shards = pd.Series(inside).groupby(plain["shard"].to_numpy()).agg(["sum", "count"])
        wanted = shard_bootstrap(in_shards["sum"], in_shards["count"])
        assert (line["boot_lo"], line["boot_hi"]) == pytest.approx(wanted, abs=1e-12)
    assert table.loc[table["axis"] == "language", "k"].sum() == 530


def partitionings(rated_shards):
    whole = ld.read_shards(rated_shards)
    yield ld.read_shards(rated_shards, max_rows_per_partition=10)
    yield read_combined(rated_shards)
    yield whole.repartition(npartitions=1)
    yield whole.repartition(npartitions=9)
    yield whole.shuffle("row", npartitions=13)
    yield dd.concat([whole.partitions[2:], whole.partitions[:2]])


def test_it_does_not_depend_on_partitioning(rated_shards):
    measures = (
        rates(UNSAFE, by=["language", WORDS, "width"]),
        rates(None, by=WORDS),
        curve("similarity", by=["language", WORDS]),
    )
    wanted = ld.statistics(ld.read_shards(rated_shards), *measures, min_n=1)
    for frame in partitionings(rated_shards):
        table = ld.statistics(frame, *measures, min_n=1)
        assert table.equals(wanted) and table.n_suppressed == wanted.n_suppressed
    for scheduler in ("sync", "threads"):
        with dask.config.set(scheduler=scheduler):
            table = ld.statistics(ld.read_shards(rated_shards), *measures, min_n=1)
        assert table.equals(wanted)


def test_shards_may_be_numbered_otherwise(rated_shards):
    """The bootstrap depends on the contents of shards, not on their numbers."""
    frame = ld.read_shards(rated_shards)
    wanted = ld.statistics(frame, rates(UNSAFE, by="language"))
    other = frame.assign(shard=(frame["shard"] * -7 + 3).astype("int32"))
    assert ld.statistics(other, rates(UNSAFE, by="language")).equals(wanted)


@pytest.mark.only_pandas
@pytest.mark.parametrize("where", [UNSAFE, None])
def test_without_shards_there_is_no_bootstrap(rated_shards, where):
    frame, _ = tables(rated_shards)
    table = ld.statistics(frame.drop(columns="shard"), rates(where, by="language"))
    assert table[["boot_lo", "boot_hi"]].isna().all(axis=None)
    one = ld.statistics(frame.partitions[:1], rates(where, by="language"))
    assert one["boot_lo"].isna().all()
    few = frame.assign(shard=frame["shard"].astype("Int32").mask(frame["row"] > 40))
    few = dd.from_pandas(few.compute(), npartitions=3)  # a frame without provenance
    assert ld.statistics(few, rates(where, by="language"))["boot_lo"].notna().all()


def test_too_many_groups_times_shards_keep_no_bootstrap(rated_shards, monkeypatch):
    monkeypatch.setattr(counts, "MAX_CELLS", 17)  # 5 language labels times 3 shards are 15
    table = []
    for frame in (ld.read_shards(rated_shards), *partitionings(rated_shards)):
        table.append(ld.statistics(frame, rates(UNSAFE, by=["language", WORDS])))
    assert all(one.equals(table[0]) for one in table)
    by_axis = table[0].groupby("axis")["boot_lo"]
    assert by_axis.count()["language"] == 4 and by_axis.count()["words"] == 0


def test_zero_rows(rated_shards, tmp_path):
    write_shard(tmp_path / "empty" / "e.parquet", laion_table(0))
    for frame in (
        ld.read_shards(rated_shards, where="width > 99999"),
        ld.read_shards(tmp_path / "empty"),
    ):
        for measure in (rates(UNSAFE, by=["language", WORDS]), rates(None, by=WORDS)):
            assert len(ld.statistics(frame, measure)) == 0
            table = ld.statistics(frame, measure, min_n=0)
            assert table["n"].eq(0).all() and table.reindex(columns=["rate"]).isna().all(axis=None)
            assert table["lo"].eq(0).all() and table["hi"].eq(1).all()
        table = ld.statistics(frame, curve("punsafe", by=WORDS, thresholds=[0.5]), min_n=0)
        assert table["n"].eq(0).all() and table.reindex(columns=["rate"]).isna().all(axis=None)


def test_only_the_named_columns_are_read(rated_shards):
    column_types = {
        "text": "string",
        "punsafe": "float32",
        "language": "string",
        "shard": "integer",
    }
    column_types["similarity"] = "float64"
    assert rates(UNSAFE, by="language").bind(column_types).reads == ("punsafe", "language", "shard")
    assert rates(None, by=WORDS).bind(column_types).reads == ("text", "shard")
    assert rates(UNSAFE).bind({"punsafe": "float32"}).reads == ("punsafe",)
    assert curve("similarity", by=WORDS).bind(column_types).reads == ("similarity", "text")


def test_statistics_pickle(rated_shards):
    column_types = {"punsafe": "float32", "language": "string", "shard": "integer"}
    for measure in (rates(UNSAFE, by="language"), curve("punsafe", by=["language"])):
        for one in (measure, measure.bind(column_types)):
            assert pickle.loads(pickle.dumps(one)) == one and hash(one) == hash(one)


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    rows = plan_rows(20_000, 5)
    return pd.DataFrame(
        {
            "text": [row.text for row in rows],
            "language": [None if row.null_language else row.language for row in rows],
            "punsafe": [
                None if row.null_punsafe else 0.9 if row.picture.unsafe else 0.1 for row in rows
            ],
            "pwatermark": [0.9 if row.picture.watermarked else 0.1 for row in rows],
            "shard": np.arange(20_000, dtype=np.int32) // 1000,
        }
    )


@pytest.mark.only_pandas
def test_planted_shares_are_recovered(planted):
    frame = dd.from_pandas(planted, npartitions=4)
    table = ld.statistics(
        frame, rates("punsafe > 0.5"), rates("pwatermark > 0.8"), rates(None, by="language")
    )
    wanted = {("punsafe > 0.5", "(all)"): 0.029 / 0.995, ("pwatermark > 0.8", "(all)"): 0.061}
    wanted |= {("rows", language): share for language, share in LANGUAGE_SHARES.items()}
    table = table.set_index(["term", "group"])
    for key, share in wanted.items():
        line = table.loc[key]
        assert line["lo"] <= share <= line["hi"] and line["boot_lo"] <= share <= line["boot_hi"]
    assert table.loc[("rows", "(null)"), "k"] == 800
