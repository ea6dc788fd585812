"""Exclusion audits: closed-form cases, brute force, planted exclusion, one pass or two."""

from __future__ import annotations

import math
import pickle

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest, false_discovery_control, fisher_exact
from scipy.stats.contingency import relative_risk
from support.frames import both, on_host
from support.shards import laion_table, refuse, write_shard

import laion_dask as ld
from laion_dask.aggregations.audit import audit, default_axes
from laion_dask.aggregations.engine.statistics import statistics
from laion_dask.aggregations.exclusion import Exclusion, excluded_by
from laion_dask.aggregations.grouping.base import axes
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.demo.planting import plan_rows
from laion_dask.errors import ColumnError, OptionError, PredicateError
from laion_dask.frame.narrowing import filter_between
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.where_kernel import passes
from laion_dask.io.parquet.scan import Scan
from laion_dask.stats.exclusion_rates import exclusion

WHERE = "similarity > 0.25 and width >= 300"


def row_of(table, group, axis=None) -> pd.Series:
    rows = table[(table["group"] == group) & (True if axis is None else table["axis"] == axis)]
    assert len(rows) == 1
    return rows.iloc[0]


def verdicts(table) -> list[str]:
    """The verdict of each group; "" where there is no test."""
    return table["verdict"].fillna("").tolist()


class TestPure:
    def test_rates_ratios_and_shares_of_a_worked_case(self):
        result = exclusion([600, 300, 100], [480, 240, 30], ["a", "b", "c"])
        assert result["group"].tolist() == ["a", "b", "c"]
        assert result["n"].tolist() == [600, 300, 100] and result["k"].tolist() == [120, 60, 70]
        assert result["kept"].tolist() == [480, 240, 30]
        assert result["rate"].tolist() == pytest.approx([0.2, 0.2, 0.7])
        assert result["overall"].tolist() == pytest.approx([0.25] * 3)
        assert result["ratio"].tolist() == pytest.approx([0.8, 0.8, 2.8])
        assert result["share_before"].tolist() == pytest.approx([0.6, 0.3, 0.1])
        assert result["share_after"].tolist() == pytest.approx([0.64, 0.32, 0.04])
        assert result["share_expected"].tolist() == pytest.approx([1 / 3] * 3)
        assert result["under_represented"].tolist() == [False, True, True]
        assert verdicts(result) == ["excluded less", "excluded less", "amplified"]

    @pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
    def test_intervals_against_scipy(self, level):
        n, kept = [600, 300, 100], [480, 210, 30]
        result = exclusion(n, kept, list("abc"), level=level)
        for i, row in result.iterrows():
            k = n[i] - kept[i]
            wilson = binomtest(k, n[i]).proportion_ci(level, method="wilson")
            assert (row["lo"], row["hi"]) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
            k_rest, n_rest = sum(n) - sum(kept) - k, sum(n) - n[i]
            theirs = relative_risk(k, n[i], k_rest, n_rest)
            ends = theirs.confidence_interval(level)
            # The ratio to the overall rate, from the risk ratio rho; the rest's rate cancels.
            part = n[i] / sum(n)
            lo, hi = (rho / (part * rho + 1 - part) for rho in (ends.low, ends.high))
            assert (row["ratio_lo"], row["ratio_hi"]) == pytest.approx((lo, hi), rel=1e-9)
            rho = theirs.relative_risk
            assert row["ratio"] == pytest.approx(rho / (part * rho + 1 - part), rel=1e-12)
            assert (row["ratio"] > 1) == (rho > 1)

    def test_the_ratio_interval_covers(self):
        draw = np.random.default_rng(0)
        n, p = np.array([400, 1600]), np.array([0.3, 0.2])
        true = p[0] / (n @ p / n.sum())
        hits = 0
        for k in draw.binomial(n, p, (200, 2)):
            row = exclusion(n, n - k, ["a", "b"]).iloc[0]
            hits += row["ratio_lo"] <= true <= row["ratio_hi"]
        assert 0.93 <= hits / 200 <= 0.97

    def test_mappings_series_and_sequences_agree(self):
        want = exclusion([10, 20], [5, 20], ["x", "y"])
        arguments = [
            exclusion({"x": 10, "y": 20}, {"x": 5, "y": 20}),
            exclusion(pd.Series({"x": 10, "y": 20}), pd.Series({"x": 5, "y": 20})),
            exclusion(np.array([10, 20]), (5, 20), np.array(["x", "y"])),
            exclusion(pd.Series([10, 20]), pd.Series([5.0, 20.0]), pd.Index(["x", "y"])),
            exclusion({"y": 20, "x": 10}, {"y": 20, "x": 5}, ["x", "y"]),
        ]
        assert all(one.equals(want) for one in arguments)
        assert exclusion({"x": 1}, {}, "language")["axis"].tolist() == ["language"]
        named = pd.Series([1, 2], pd.Index(["a", "b"], name="gender"))
        assert set(exclusion(named, named)["axis"]) == {"gender"}
        assert exclusion({"x": 3, "y": 1}, {"x": 3}).loc[1, "rate"] == 1  # no rows of "y" are kept

    def test_zeros_by_definition(self):
        result = exclusion([50, 0, 50], [50, 0, 50], list("abc"))  # nothing was excluded
        assert result["rate"].tolist()[::2] == [0, 0] and math.isnan(result["rate"][1])
        assert result["ratio"].isna().all()
        assert verdicts(result) == ["inconclusive", "", "inconclusive"]
        assert (result["lo"][1], result["hi"][1]) == (0, 1)
        result = exclusion([50, 10, 0], [50, 0, 0], list("abc"))  # all of b excluded, none of a
        assert result["ratio"].tolist()[:2] == [0, 6] and result["ratio_lo"][0] == 0
        assert result["ratio_hi"][1] == 6  # 60 / 10 rows is the largest possible ratio
        assert verdicts(result) == ["excluded less", "amplified", ""]
        whole = exclusion([9], [3], ["only"])
        assert whole.loc[0, ["ratio", "ratio_lo", "ratio_hi"]].tolist() == [1, 1, 1]
        assert not len(exclusion({}, {}))
        assert exclusion({"a": 0}, {"a": 0})["rate"].isna().all()

    def test_totals_of_overlapping_groups(self):
        result = exclusion([60, 60], [30, 60], ["a", "b"], total=(100, 70))
        assert result["overall"].tolist() == pytest.approx([0.3, 0.3])
        assert result["ratio"].tolist() == pytest.approx([0.5 / 0.3, 0])
        assert result["share_before"].tolist() == [0.5, 0.5]

    def test_reference(self):
        result = exclusion([70, 30], [60, 20], ["a", "b"], reference={"a": 0.7, "b": 0.3})
        assert not result["under_represented"].any()  # 0.7 is not below 0.7, rounding aside
        result = exclusion([700, 300], [600, 200], ["a", "b"], reference={"b": 4, "a": 5, "c": 1})
        assert result["group"].tolist() == ["a", "b", "c"]
        assert result["share_expected"].tolist() == pytest.approx([0.5, 0.4, 0.1])
        assert result["under_represented"].tolist() == [False, True, True]
        assert verdicts(result) == ["excluded less", "amplified", ""]  # c has no rows
        result = exclusion([700, 300], [600, 200], ["a", "b"], reference={"a": 1})
        assert math.isnan(result["share_expected"][1])
        assert verdicts(result) == ["excluded less", "excluded more"]

    def test_a_ratio_a_little_above_1_is_no_verdict(self):
        result = exclusion([1000, 5000, 4000], [797, 4001, 3202], list("abc"))
        assert 1 < result["ratio"][0] < 1.02 and result["under_represented"][0]
        assert result["verdict"].eq("inconclusive").all()

    def test_groups_without_names_have_numbers(self):
        result = exclusion([10, 20], [5, 15], "gender")
        assert result["axis"].tolist() == ["gender"] * 2 and result["group"].tolist() == ["0", "1"]

    def test_sureness_allows_for_the_number_of_groups(self):
        draw = np.random.default_rng(1)
        n = np.full(200, 500)
        result = exclusion(n, n - draw.binomial(n, 0.3), [f"g{i}" for i in range(200)])
        assert (result["p"] < 0.05).sum() > 3 and not (result["q"] < 0.05).any()
        assert result["verdict"].eq("inconclusive").all()

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (([1], [2], ["a"]), "2 rows after and 1 before"),
            (([1, 2], [1], ["a", "b"]), "2 counts before, 1 after, and 2 groups"),
            (([1, 2], [1, 2], ["a", "a"]), "duplicate"),
            (([1, 2], [1, 2]), "groups' names"),
            (({"a": 1}, {"b": 0}), "not in n_before"),
            (([1.5], [1], ["a"]), "non-negative integer"),
            (([True], [1], ["a"]), "non-negative integer"),
            (([math.nan], [1], ["a"]), "non-negative integer"),
            (([-1], [-1], ["a"]), "non-negative integer"),
            ((["2"], [1], ["a"]), "non-negative integer"),
            ((5, 3, "a"), "as counts"),
        ],
    )
    def test_what_is_refused(self, arguments, says):
        with pytest.raises(OptionError, match=says):
            exclusion(*arguments)

    @pytest.mark.parametrize(
        "options",
        [
            {"level": 1},
            {"total": (5, 9)},
            {"total": (9, 9)},
            {"total": 9},
            {"total": ("a", 1)},
            {"reference": {}},
            {"reference": {"a": 0}},
            {"reference": {"a": -1}},
            {"reference": {"a": math.inf}},
            {"reference": {"a": "1"}},
            {"reference": 0.5},
        ],
    )
    def test_options_that_are_refused(self, options):
        with pytest.raises(OptionError):
            exclusion([6, 3], [5, 1], ["a", "b"], **options)


@pytest.fixture
def folder(tmp_path):
    for i, n in enumerate((400, 0, 250, 310)):
        write_shard(tmp_path / "in" / f"part_{i:04d}.parquet", laion_table(n, i), row_group=100)
    return tmp_path / "in"


def by_hand(folder) -> tuple[dict, dict, dict]:
    """Rows per language before, kept and undecided, by a loop."""
    before, after, undecided = {}, {}, {}
    for path in sorted(folder.glob("*.parquet")):
        for line in pq.read_table(path).to_pylist():
            label = line["LANGUAGE"] if line["LANGUAGE"] is not None else "(null)"
            similarity, width = line["similarity"], line["WIDTH"]
            known = similarity is not None and similarity == similarity
            tests = [similarity > 0.25 if known else None, None if width is None else width >= 300]
            before[label] = before.get(label, 0) + 1
            after[label] = after.get(label, 0) + (tests == [True, True])
            open_ = None in tests and False not in tests
            undecided[label] = undecided.get(label, 0) + open_
    return before, after, undecided


@both
class TestAudit:
    def test_against_a_loop(self, folder):
        before, after, undecided = by_hand(folder)
        result = audit(ld.read_shards(folder), WHERE, by="language")
        labels = sorted(set(before) - {"(null)"}, key=lambda label: (-before[label], label))
        assert result["group"].tolist() == ["(all)", *labels, "(null)"]
        for label in [*labels, "(null)"]:
            row = row_of(result, label)
            assert (row["n"], row["kept"], row["k"]) == (
                before[label], after[label], before[label] - after[label],
            )  # fmt: skip
            assert row["undecided"] == undecided[label]
        total = (sum(before.values()), sum(after.values()))
        counts = [{label: side[label] for label in labels} for side in (before, after)]
        pure = exclusion(*counts, "language", total=total)
        got = result.iloc[1:-1].drop(columns=["undecided", "q", "verdict"]).reset_index(drop=True)
        assert got.equals(pure.drop(columns=["q", "verdict"]))
        q = false_discovery_control(result["p"].iloc[1:].to_numpy(float))
        assert result["q"].iloc[1:].tolist() == pytest.approx(q.tolist())  # adjusted with (null)
        everyone = row_of(result, "(all)")
        assert (everyone["n"], everyone["kept"]) == total and everyone["ratio"] == 1
        assert everyone["undecided"] == sum(undecided.values())
        null = row_of(result, "(null)")
        assert not null["under_represented"] and math.isnan(null["share_before"])
        rest = [everyone[name] - null[name] for name in ("k", "kept")]
        cells = [[null["k"], null["kept"]], rest]
        assert null["p"] == pytest.approx(fisher_exact(cells).pvalue)
        rows = result.attrs["rows"]
        assert rows["kept"] == total[1] and rows["unscored"] == sum(undecided.values())
        assert rows["read"] == total[0] == sum(rows[n] for n in list(rows)[1:])
        assert result.attrs["rows_before"]["kept"] == total[0]

    def test_an_expression_and_frames_say_the_same(self, folder):
        frame = ld.read_shards(folder)
        want = audit(frame, WHERE, by=["language", "text"])
        first, second = WHERE.split(" and ")
        scanned = frame.laion.where(first).laion.where(second)
        made = frame.assign(double=frame["width"] * 2)
        filtered = made.laion.where(first).laion.where(second)
        for before, after in ((frame, scanned), (made, filtered), (made, filtered[["url"]])):
            assert filter_between(Provenance.of(before), Provenance.of(after), passes) is not None
            result = audit(before, after, by=["language", "text"])
            assert result.equals(want) and result.attrs == want.attrs
        # Without usable provenance the audit takes two passes, and cannot count undecided rows.
        mask = (frame["similarity"] > 0.25) & (frame["width"] >= 300)
        masked = frame[mask.fillna(False)]
        others = [(frame, masked), (made, scanned), (frame, scanned.assign(more=1))]
        others += [(frame, ld.read_shards(folder, where=WHERE)[["text", "language"]].copy())]
        for before, after in others[:3]:
            assert filter_between(Provenance.of(before), Provenance.of(after), passes) is None
        for before, after in others:
            result = audit(before, after, by=["language", "text"])
            kept = [name for name in want if name != "undecided"]
            assert result[kept].equals(want[kept])
            assert result.attrs["rows"]["kept"] == want.attrs["rows"]["kept"]

    def test_before_may_be_filtered_itself(self, folder):
        first, second = WHERE.split(" and ")
        whole = ld.read_shards(folder)
        want = audit(whole.assign(x=1).laion.where(first), second, by="language")
        for frame in (whole, whole.assign(x=1)):
            before = frame.laion.where(first)
            after = before.laion.where(second)
            assert (
                filter_between(Provenance.of(before), Provenance.of(after), passes).columns[-1]
                == "width"
            )
            result = audit(before, after, by="language")
            assert result.equals(want) and result.attrs == want.attrs
        assert audit(before, before, by="language")["rate"].eq(0).all()

    def test_partitions_and_order_change_nothing(self, folder):
        want = audit(ld.read_shards(folder), WHERE, by=["language", "text"])
        other = folder.parent / "other"
        other.mkdir()
        for i, path in enumerate(sorted(folder.glob("*.parquet"), reverse=True)):
            path.rename(other / f"part_{i:04d}.parquet")
        frames = [ld.read_shards(other, max_rows_per_partition=n) for n in (7, 90, 10_000)]
        frames.append(ld.read_shards(other).repartition(npartitions=2))
        for frame in frames:
            assert audit(frame, WHERE, by=["language", "text"]).equals(want)

    def test_only_the_named_columns_are_read(self, folder, monkeypatch):
        read = set()
        for name in ("read", "__call__"):
            method = getattr(Scan, name)

            def spy(self, piece, columns, method=method):
                read.update(columns)
                return method(self, piece, columns)

            monkeypatch.setattr(Scan, name, spy)
        frame = ld.read_shards(folder)
        audit(frame, WHERE, by="language")
        audit(frame, frame.laion.where(WHERE), by="language")
        assert read <= {"similarity", "width", "language", "row"}

    def test_small_groups_are_left_out_and_counted(self, tmp_path):
        languages = ["en"] * 200 + ["de"] * 60 + ["xx"] * 29 + ["yy"] * 30
        table = pa.table({"URL": ["u"] * 319, "LANGUAGE": languages, "WIDTH": range(319)})
        frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
        result = audit(frame, "width < 100", by="language")
        assert result["group"].tolist() == ["(all)", "en", "de", "yy"]
        assert result.attrs["suppressed"] == 2 and result.attrs["min_n"] == 30  # xx, empty (null)
        assert row_of(result, "en")["share_expected"] == 0.25  # xx still counts as a group
        expected = exclusion([200, 60, 30], [100, 0, 0], list("abc"), total=(319, 100))
        assert result["q"].tolist()[1:] == expected["q"].tolist()
        assert len(audit(frame, "width < 100", by="language", min_n=0)) == 6

    def test_hostile_labels_stay_text(self, tmp_path):
        labels = ["<script>alert(1)</script>", "(all)", "(null)", "a\u202eb", "", "\0", None] * 40
        table = pa.table({"URL": ["u"] * 280, "LANGUAGE": labels, "WIDTH": range(280)})
        frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
        result = audit(frame, "width < 100", by="language")
        assert len(result) == 8 and result["n"].tolist() == [280] + [40] * 7
        assert {"'(all)'", "'(null)'"} <= set(result["group"]) and result["group"].is_unique
        assert result.iloc[0]["group"] == "(all)" and math.isnan(result.iloc[-1]["share_before"])
        assert "<script>" not in result.to_markdown() + result._repr_html_()

    def test_truth_values_and_numbers_make_groups(self, tmp_path):
        table = pa.table({"URL": ["u"] * 90, "WIDTH": [1, 2, None] * 30, "ok": [True, False] * 45})
        frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
        result = audit(frame, "ok", by=["width", "ok"])
        assert result["group"].tolist() == [
            "(all)", "1", "2", "(null)", "(all)", "False", "True",
        ]  # fmt: skip
        assert result[result["axis"] == "ok"]["rate"].tolist() == [0.5, 1, 0]

    def test_an_empty_frame(self, tmp_path):
        frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", laion_table(0)))
        result = audit(frame, WHERE, by="language", min_n=0)
        assert result["group"].tolist() == ["(all)", "(null)"] and result["n"].tolist() == [0, 0]
        assert result["rate"].isna().all()

    def test_a_reference(self, folder):
        frame = ld.read_shards(folder)
        shares = {"en": 0.1, "de": 0.1, "fr": 0.8}
        result = audit(frame, WHERE, by="language", reference=shares)
        assert row_of(result, "fr")["under_represented"]
        assert not row_of(result, "en")["under_represented"]
        both_axes = audit(frame, WHERE, by=["language", "text"], reference={"language": shares})
        assert both_axes[both_axes["axis"] == "language"].equals(result)
        for wrong in (shares, {"langauge": shares}, 0.5):
            with pytest.raises(OptionError):
                audit(frame, WHERE, by=["language", "text"], reference=wrong)

    def test_what_is_refused_at_once(self, folder):
        frame = ld.read_shards(folder)
        with dask.config.set(scheduler=refuse):
            for arguments, error in (
                ((frame, "widht > 1", "language"), (ColumnError, PredicateError)),
                ((frame, "width >", "language"), PredicateError),
                ((frame, WHERE, "langauge"), ColumnError),
                ((frame, WHERE, "similarity"), OptionError),
                ((frame, WHERE, []), OptionError),
                ((frame, WHERE, 7), OptionError),
                ((frame, 7, "language"), OptionError),
                ((WHERE, frame, "language"), OptionError),
                ((frame, frame.drop(columns="language").assign(x=1), "language"), ColumnError),
            ):
                with pytest.raises(error):
                    audit(*arguments)
            with pytest.raises(OptionError):
                audit(frame, WHERE, "language", min_n=-1)

    def test_what_is_no_narrowing_is_refused(self, folder):
        frame = ld.read_shards(folder)
        with pytest.raises(OptionError, match="narrowing"):
            audit(
                frame.laion.where("width > 900"), frame.sample(frac=0.9, random_state=0), "language"
            )

    def test_it_shares_a_pass_with_others(self, folder):
        frame = ld.read_shards(folder)
        measure = excluded_by(WHERE, "language")
        combined = statistics(frame, measure, ld.describe())
        assert set(combined["statistic"]) == {"exclusion", "describe"}
        alone = audit(frame, WHERE, by="language")
        expected = combined.of("exclusion")
        pd.testing.assert_frame_equal(
            expected, alone.of("exclusion")[list(expected)], check_dtype=False
        )
        assert pickle.loads(pickle.dumps(measure)) == measure
        assert hash(measure) == hash(Exclusion(WHERE, axes("language")))

    def test_the_frame_before_every_filter(self, folder):
        frame = ld.read_shards(folder)
        made = frame.laion.where("width > 300").assign(x=1)
        carved = made[made["x"] == 1].laion.where("similarity > 0.2").dropna()
        carved = carved.sample(frac=0.5, random_state=0).drop_duplicates("url")
        with dask.config.set(scheduler=refuse):
            before = Provenance.of(carved).unfiltered
        assert list(before.columns) == list(carved.columns)
        host = on_host(before[["row"]].compute())
        assert len(host) == 960 and len(carved) < 400
        assert Provenance.of(frame).unfiltered._name == frame._name


def test_planted_exclusion_is_found(tmp_path):
    """Exclude mismatched captions, unsafe images and half of the French rows; keep people."""
    rows = plan_rows(4000, 0)
    french = [i for i, row in enumerate(rows) if row.language == "fr"]
    gone = {i for i, row in enumerate(rows) if row.mismatched} | set(french[::2])
    score = np.where([i in gone for i in range(len(rows))], 0.1, 0.4)
    table = pa.table(
        {
            "URL": [f"https://{row.domain}/{i}" for i, row in enumerate(rows)],
            "TEXT": [row.text for row in rows],
            "LANGUAGE": [row.language for row in rows],
            "similarity": score,
            "person": [row.picture.occupation is not None for row in rows],
        }
    )
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table, row_group=500))
    result = audit(frame, "similarity > 0.3", by=["language", "person"])
    assert row_of(result, "(all)", "language")["k"] == len(gone)
    french_row = row_of(result, "fr")
    expected = sum(i in gone for i in french) / len(french)
    assert french_row["rate"] == expected == 0.5
    assert french_row["verdict"] == "amplified" and french_row["ratio_lo"] > 5
    assert result.loc[result["axis"] == "language", "verdict"].eq("amplified").sum() == 1
    people = row_of(result, "True", "person")
    assert people["rate"] == 0 and people["under_represented"]
    assert people["verdict"] == "excluded less"
    assert people["share_after"] > people["share_before"]


def test_captions_may_be_in_several_groups(tmp_path):
    captions = ["a cat", "a dog", "a cat and a dog", "a car", None, "CAT cat", "catalogue"] * 30
    table = pa.table({"URL": ["u"] * 210, "TEXT": captions, "WIDTH": range(210)})
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
    groups = {"cats": ["cat"], "dogs": ["dog"], "newts": ["newt"]}
    result = audit(frame, "width < 100", by=terms(groups, axis="pets"), min_n=0)
    mentions = {
        "cats": [i for i, c in enumerate(captions) if c and "cat" in c.lower().split()],
        "dogs": [i for i, c in enumerate(captions) if c and "dog" in c.split()],
        "newts": [],
    }
    for label, rows in mentions.items():
        row = row_of(result, label)
        assert (row["n"], row["kept"]) == (len(rows), sum(i < 100 for i in rows))
        assert row["share_before"] == len(rows) / 150 and row["share_expected"] == 1 / 3
        assert row["overall"] == 110 / 210
    assert result["n"].iloc[-1] == 90 and row_of(result, "newts")["under_represented"]
    assert pd.isna(row_of(result, "newts")["verdict"]) and result.attrs["groupings"]["pets"]


def test_default_axes(tmp_path):
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", laion_table(3)))
    result = [axis.axis for axis in default_axes(frame)]
    assert result[:4] == ["language", "gender", "age", "religion"]
    assert not default_axes(frame[["width", "url"]])
