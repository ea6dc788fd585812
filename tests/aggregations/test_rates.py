"""Rates and curves per group against loops over the same rows in plain pandas."""

import pickle

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binomtest, false_discovery_control, fisher_exact
from scipy.stats.contingency import relative_risk
from support.frames import both
from support.groupings import Words
from support.shards import laion_table, refuse, write_shard

import laion_dask as ld
from laion_dask.aggregations import counts
from laion_dask.aggregations.curve import curve
from laion_dask.aggregations.rates import rates
from laion_dask.demo.planting import LANGUAGE_SHARES, plan_rows
from laion_dask.errors import ColumnError, OptionError, PredicateError
from laion_dask.stats import shard_bootstrap

pytestmark = both

WORDS = Words("words", ("bird", "a", "car", "zebra"))
UNSAFE = "punsafe > 0.5"


@pytest.fixture
def shards(tmp_path):
    for i, n in enumerate((120, 0, 333, 77)):
        write_shard(tmp_path / f"part_{i}.parquet", laion_table(n, i))
    return str(tmp_path)


def tables(shards):
    """The Dask frame, and the same rows as a pandas frame."""
    frame = ld.read_shards(shards)
    return frame, frame.compute()


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


def test_every_number_against_loops(shards):
    frame, plain = tables(shards)
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


def test_a_group_that_is_never_seen_is_suppressed_and_counted(shards):
    frame, _ = tables(shards)
    table = ld.statistics(frame, rates(UNSAFE, by=WORDS))
    assert table.n_suppressed == 1 and "zebra" not in set(table["group"])
    table = ld.statistics(frame, rates(UNSAFE, by=WORDS), min_n=0)
    line = table[table["group"] == "zebra"].iloc[0]
    assert table.n_suppressed == 0
    assert (line["n"], line["k"], line["lo"], line["hi"]) == (0, 0, 0.0, 1.0)
    assert line[["rate", "ratio", "p", "q", "boot_lo", "boot_hi"]].isna().all()
    assert (line["ratio_lo"], line["ratio_hi"]) == (0, np.inf)


def test_what_is_not_shown_does_not_count_as_compared(shards):
    """One group is too small to show: q is adjusted for the other groups only."""
    frame, _ = tables(shards)
    table = ld.statistics(frame, rates(UNSAFE, by="language"), min_n=100)
    shown = table[table["axis"] == "language"]
    assert table.n_suppressed == 1 and len(shown) == 3
    np.testing.assert_allclose(shown["q"], false_discovery_control(shown["p"]))


def test_without_an_expression_it_is_the_share_of_each_group(shards):
    frame, plain = tables(shards)
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


def partitionings(shards):
    whole = ld.read_shards(shards)
    yield ld.read_shards(shards, max_rows_per_partition=10)
    yield whole.repartition(npartitions=1)
    yield whole.repartition(npartitions=9)
    yield whole.shuffle("row", npartitions=13)
    yield dd.concat([whole.partitions[2:], whole.partitions[:2]])


def test_it_does_not_depend_on_partitioning(shards):
    measures = (
        rates(UNSAFE, by=["language", WORDS, "width"]),
        rates(None, by=WORDS),
        curve("similarity", by=["language", WORDS]),
    )
    wanted = ld.statistics(ld.read_shards(shards), *measures, min_n=1)
    for frame in partitionings(shards):
        table = ld.statistics(frame, *measures, min_n=1)
        assert table.equals(wanted) and table.n_suppressed == wanted.n_suppressed
    for scheduler in ("sync", "threads"):
        with dask.config.set(scheduler=scheduler):
            table = ld.statistics(ld.read_shards(shards), *measures, min_n=1)
        assert table.equals(wanted)


def test_shards_may_be_numbered_otherwise(shards):
    """The bootstrap depends on the contents of shards, not on their numbers."""
    frame = ld.read_shards(shards)
    wanted = ld.statistics(frame, rates(UNSAFE, by="language"))
    other = frame.assign(shard=(frame["shard"] * -7 + 3).astype("int32"))
    assert ld.statistics(other, rates(UNSAFE, by="language")).equals(wanted)


@pytest.mark.only_pandas
@pytest.mark.parametrize("where", [UNSAFE, None])
def test_without_shards_there_is_no_bootstrap(shards, where):
    frame, _ = tables(shards)
    table = ld.statistics(frame.drop(columns="shard"), rates(where, by="language"))
    assert table[["boot_lo", "boot_hi"]].isna().all(axis=None)
    one = ld.statistics(frame.partitions[:1], rates(where, by="language"))
    assert one["boot_lo"].isna().all()
    few = frame.assign(shard=frame["shard"].astype("Int32").mask(frame["row"] > 40))
    few = dd.from_pandas(few.compute(), npartitions=3)  # a frame without provenance
    assert ld.statistics(few, rates(where, by="language"))["boot_lo"].notna().all()


def test_too_many_groups_times_shards_keep_no_bootstrap(shards, monkeypatch):
    monkeypatch.setattr(counts, "MAX_CELLS", 17)  # 5 language labels times 3 shards are 15
    table = []
    for frame in (ld.read_shards(shards), *partitionings(shards)):
        table.append(ld.statistics(frame, rates(UNSAFE, by=["language", WORDS])))
    assert all(one.equals(table[0]) for one in table)
    by_axis = table[0].groupby("axis")["boot_lo"]
    assert by_axis.count()["language"] == 4 and by_axis.count()["words"] == 0


def test_zero_rows(shards, tmp_path):
    write_shard(tmp_path / "empty" / "e.parquet", laion_table(0))
    for frame in (
        ld.read_shards(shards, where="width > 99999"),
        ld.read_shards(tmp_path / "empty"),
    ):
        for measure in (rates(UNSAFE, by=["language", WORDS]), rates(None, by=WORDS)):
            assert len(ld.statistics(frame, measure)) == 0
            table = ld.statistics(frame, measure, min_n=0)
            assert table["n"].eq(0).all() and table.reindex(columns=["rate"]).isna().all(axis=None)
            assert table["lo"].eq(0).all() and table["hi"].eq(1).all()
        table = ld.statistics(frame, curve("punsafe", by=WORDS, thresholds=[0.5]), min_n=0)
        assert table["n"].eq(0).all() and table.reindex(columns=["rate"]).isna().all(axis=None)


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


def test_only_the_named_columns_are_read(shards):
    kinds = {"text": "string", "punsafe": "float32", "language": "string", "shard": "integer"}
    kinds["similarity"] = "float64"
    assert rates(UNSAFE, by="language").bind(kinds).reads == ("punsafe", "language", "shard")
    assert rates(None, by=WORDS).bind(kinds).reads == ("text", "shard")
    assert rates(UNSAFE).bind({"punsafe": "float32"}).reads == ("punsafe",)
    assert curve("similarity", by=WORDS).bind(kinds).reads == ("similarity", "text")


def test_statistics_pickle(shards):
    kinds = {"punsafe": "float32", "language": "string", "shard": "integer"}
    for measure in (rates(UNSAFE, by="language"), curve("punsafe", by=["language"])):
        for one in (measure, measure.bind(kinds)):
            assert pickle.loads(pickle.dumps(one)) == one and hash(one) == hash(one)


@pytest.mark.only_pandas
def test_what_is_no_rate_is_refused_at_once(shards):
    frame = ld.read_shards(shards)
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


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("column", ["punsafe", "similarity", "width"])
def test_a_curve_is_the_rates_of_its_thresholds(shards, column, above):
    """Some thresholds equal a stored value, in float32 and in integer columns."""
    frame, plain = tables(shards)
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


def test_the_default_thresholds(shards):
    table = ld.statistics(ld.read_shards(shards), curve("punsafe"))
    assert table["threshold"].tolist() == [round(0.05 * i, 2) for i in range(1, 20)]
    assert table["rate"].is_monotonic_decreasing


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


@pytest.mark.only_pandas
def test_too_many_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(counts, "MAX_NUMBERS", 100)
    frame = dd.from_pandas(pd.DataFrame({"x": np.arange(60.0), "g": np.arange(60)}), npartitions=4)
    with pytest.raises(OptionError, match="fewer thresholds"):
        ld.statistics(frame, curve("x", by="g", thresholds=[1, 2, 3]))
    assert len(ld.statistics(frame, curve("x", thresholds=range(60)))) == 60
    with pytest.raises(OptionError, match=r"The thresholds make .* fewer thresholds"):
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


def test_a_domain_is_no_column_but_a_grouping(shards):
    frame = ld.read_shards(shards)
    with pytest.raises(ColumnError, match=r"use ld\.domains\(\)"):
        ld.statistics(frame, ld.rates("punsafe > 0.5", by="domain"))
