"""Exclusion audits of frames: brute force, planted exclusion, one pass or two."""

from __future__ import annotations

import math
import pickle

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import false_discovery_control, fisher_exact
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
from laion_dask.frame.filter_difference import filter_between
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.where_kernel import passes
from laion_dask.io.parquet.scan import Scan
from laion_dask.stats.exclusion_rates import exclusion

WHERE = "similarity > 0.25 and width >= 300"


def row_of(table, group, axis=None) -> pd.Series:
    rows = table[(table["group"] == group) & (True if axis is None else table["axis"] == axis)]
    assert len(rows) == 1
    return rows.iloc[0]


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

    def test_a_frame_that_is_not_a_subset_is_rejected(self, folder):
        frame = ld.read_shards(folder)
        with pytest.raises(OptionError, match="Expected a subset"):
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
