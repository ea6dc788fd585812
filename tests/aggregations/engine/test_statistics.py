"""The one-pass engine: behavior that every statistic inherits from it."""

import importlib
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.frames import both
from support.partitionings import read_combined
from support.shards import laion_table, refuse, write_shard

import laion_dask as ld
from laion_dask.aggregations import (
    ByColumn,
    Members,
    Partition,
    ReportOptions,
    Statistic,
    members,
)
from laion_dask.aggregations.engine.statistics import report_options
from laion_dask.aggregations.grouping.base import grouping
from laion_dask.errors import ColumnError, OptionError, ShardError
from laion_dask.io.parquet.scan import Scan
from laion_dask.stats import wilson

pytestmark = both


@dataclass(frozen=True)
class Count(Statistic):
    """Rows per group: a statistic as a user might write it."""

    column: str
    name = "count"

    def bind(self, column_types: Mapping[str, str]) -> Statistic:
        ByColumn(self.column).bind(column_types)
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def chunk(self, partition: Partition) -> dict[str, int]:
        result = members(partition, ByColumn(self.column))
        none = int((~result.in_any()).sum())
        return dict(zip(result.labels, result.counts().tolist(), strict=True)) | {"(null)": none}

    def combine(self, states: Sequence[dict]) -> dict[str, int]:
        labels = {label for state in states for label in state}
        return {label: sum(s.get(label, 0) for s in states) for label in sorted(labels)}

    def finalize(self, state: dict, options: ReportOptions) -> pd.DataFrame:
        rows = [{"group": g, "n": n, "k": n} for g, n in state.items()]
        return pd.DataFrame(rows, columns=["group", "n", "k"])


@pytest.fixture
def shards(tmp_path):
    for i, n in enumerate((40, 0, 333, 27, 90)):
        write_shard(tmp_path / "a" / f"part_{i}.parquet", laion_table(n, i))
    return tmp_path / "a"


def whole(folder) -> pd.DataFrame:
    return ld.read_shards(str(folder)).compute()


def test_several_statistics_share_one_reading(shards, monkeypatch):
    read = []
    plainly = Scan.read

    def spy(self, partition, columns):
        read.extend((piece.shard.path, tuple(columns)) for piece in partition.pieces)
        return plainly(self, partition, columns)

    frame = ld.read_shards(str(shards))
    if ld.get_option("backend") == "pandas":
        monkeypatch.setattr(Scan, "read", spy)
    table = frame.laion.statistics(Count("language"), Count("width"), Count("language"), min_n=0)
    if read:
        assert len(read) == len(set(read)) == 5
        assert {columns for _, columns in read} == {("width", "language")}
    counted = whole(shards)["language"].value_counts(dropna=False)
    result = table[table["group"].isin(["en", "de", "fr"])]
    assert (result.groupby("group")["n"].first() == counted.dropna()[["de", "en", "fr"]]).all()
    assert table.attrs["rows"] == {
        "read": 490, "kept": 490, "dropped": 0, "unscored": 0, "rejected": 0
    }  # fmt: skip


def test_the_same_for_any_partitioning_order_and_scheduler(shards, tmp_path):
    measures = (ld.describe(), Count("language"))
    frame = ld.read_shards(str(shards))
    wanted = frame.laion.statistics(*measures)
    rows = pa.concat_tables([laion_table(n, i) for i, n in enumerate((40, 0, 333, 27, 90))])
    order = np.random.default_rng(0).permutation(len(rows))
    write_shard(tmp_path / "b" / "one.parquet", rows.take(order), row_group=1000)
    for i, rows_of_file in enumerate(np.array_split(order, 19)):
        write_shard(tmp_path / "c" / f"{i:02}.parquet", rows.take(rows_of_file))
    others = [ld.read_shards(str(tmp_path / which)) for which in "bc"]
    others += [read_combined(shards), read_combined(tmp_path / "c")]
    others += [frame.repartition(npartitions=2), frame.assign(row=frame["row"])]
    for other in others:
        for scheduler in ("synchronous", "threads"):
            with dask.config.set(scheduler=scheduler):
                assert other.laion.statistics(*measures).equals(wanted)


def test_filters_are_part_of_the_account(shards):
    table = ld.read_shards(str(shards)).laion.where("width > 900").laion.statistics(ld.describe())
    kept = whole(shards)
    rows = table.attrs["rows"]
    assert rows["kept"] == int((kept["width"] > 900).fillna(False).sum())
    assert rows["unscored"] == int(kept["width"].isna().sum())
    assert sum(v for k, v in rows.items() if k != "read") == rows["read"] == 490


def test_few_rows_are_left_out_and_counted(shards):
    frame = ld.read_shards(str(shards))
    everything = frame.laion.statistics(Count("language"), min_n=0)
    most = int(everything["n"].max())
    table = frame.laion.statistics(Count("language"), min_n=most)
    assert table["n"].tolist() == [most]
    assert table.n_suppressed == table.attrs["suppressed"] == len(everything) - 1
    assert f"fewer than {most} rows" in table.to_markdown()
    assert frame.laion.statistics(Count("language"), min_n=10**6).empty


def test_describe_against_pandas(shards):
    report, rows = (
        ld.read_shards(str(shards)).laion.statistics(ld.describe(), min_n=0),
        whole(shards),
    )
    table = report.of("describe")

    def of(term, group):
        (line,) = table[(table["term"] == term) & (table["group"] == group)].to_dict("records")
        return line

    for column in ("url", "text", "width", "height", "similarity", "punsafe", "language"):
        line = of(column, "missing")
        assert (line["k"], line["n"]) == (rows[column].isna().sum(), len(rows))
    lengths = rows["text"].dropna().str.len()
    columns = {"text_length": lengths, "width": rows["width"], "similarity": rows["similarity"]}
    for column, values in columns.items():
        values = values.dropna().to_numpy(float)
        for share in (0.05, 0.5, 0.95):
            line = of(column, f"quantile {share:.2f}")
            assert line["value"] == np.quantile(values, share, method="inverted_cdf")
            assert (line["n"], line["method"]) == (len(values), "exact")
        assert of(column, "mean")["value"] == pytest.approx(values.mean(), rel=1e-12)
    unsafe = rows["punsafe"].dropna()
    line, k = of("punsafe", "above"), int((unsafe > 0.5).sum())
    assert (line["k"], line["n"], line["threshold"]) == (k, len(unsafe), 0.5)
    assert (line["lo"], line["hi"]) == wilson(k, len(unsafe))
    both_sides = rows[["width", "height"]].dropna().min(axis=1)
    line = table[table["threshold"] == 512].iloc[0]
    assert line["k"] == (both_sides >= 512).sum()
    assert of("language", "en")["k"] == (rows["language"] == "en").sum()


def test_an_empty_frame_and_one_without_the_columns(tmp_path):
    write_shard(tmp_path / "none.parquet", laion_table(0))
    table = ld.read_shards(str(tmp_path)).laion.statistics(ld.describe(), min_n=0)
    assert (table["n"] == 0).all() and not table["k"].fillna(0).any()
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "none.parquet")
    table = ld.read_shards(str(tmp_path)).laion.statistics(ld.describe(), min_n=0)
    assert table.empty and table.attrs["rows"]["kept"] == 3


@pytest.mark.only_pandas
def test_what_is_asked_is_checked_before_anything_is_read(shards):
    frame = ld.read_shards(str(shards))
    with dask.config.set(scheduler=refuse):
        with pytest.raises(ColumnError, match="Did you mean 'language'"):
            frame.laion.statistics(Count("langauge"))
        with pytest.raises(OptionError, match=r"ld\.curve"):
            frame.laion.statistics(Count("similarity"))
        with pytest.raises(OptionError, match="No statistic was given"):
            frame.laion.statistics()
        with pytest.raises(OptionError, match="a statistic of laion_dask"):
            frame.laion.statistics("describe")
        for level in (0, 1, 95, float("nan")):
            with pytest.raises(OptionError, match="level"):
                frame.laion.statistics(ld.describe(), level=level)
        for min_n in (-1, 1.5, True, None):
            with pytest.raises(OptionError, match="min_n"):
                frame.laion.statistics(ld.describe(), min_n=min_n)
        with pytest.raises(OptionError, match="by is 3"):
            grouping(3)


@pytest.mark.only_pandas
def test_a_damaged_shard_is_named(shards):
    frame = ld.read_shards(str(shards))
    file = shards / "part_2.parquet"
    data = bytearray(file.read_bytes())
    data[4:2000] = b"\xff" * 1996
    file.write_bytes(data)
    with pytest.raises(ShardError, match="part_2"):
        frame.laion.statistics(ld.describe())


def test_groups_that_are_not_bounded_are_refused(shards, monkeypatch):
    base = importlib.import_module("laion_dask.aggregations.grouping.base")
    monkeypatch.setattr(base, "MAX_GROUPS", 3)
    with pytest.raises(OptionError, match="at most 3 are allowed"):
        ld.read_shards(str(shards)).laion.statistics(Count("width"))


def test_members():
    groups = Members(("a", "b"), np.array([0, 0, 2]), np.array([0, 1, 1], np.int32), 4)
    other = Members(("x",), np.array([0, 2, 3]), np.zeros(3, np.int32), 4)
    assert groups.counts().tolist() == [1, 2]
    assert groups.counts(np.array([False, True, True, True])).tolist() == [0, 1]
    assert groups.in_any().tolist() == [True, False, True, False]
    assert groups.intersections(other).tolist() == [[1], [2]]
    assert groups.intersections(groups).tolist() == [[1, 1], [1, 2]]


def test_what_a_pass_needs_can_be_sent_to_a_worker(shards):
    frame = ld.read_shards(str(shards))
    column_types = dict.fromkeys(("text", "width", "language", "punsafe"), "string")
    for measure in (ld.describe(), Count("language")):
        bound = measure.bind(column_types)
        assert pickle.loads(pickle.dumps(bound)) == bound
        hash(bound)
    with dask.config.set(scheduler="processes", num_workers=2):
        assert frame.laion.statistics(ld.describe()).equals(frame.laion.statistics(ld.describe()))


def test_hostile_labels_stay_text(tmp_path):
    hostile = "<script>alert(1)</script>|\n# head\u202e"
    table = pa.table({"URL": ["u"] * 40, "TEXT": ["t"] * 40, "LANGUAGE": [hostile] * 40})
    write_shard(tmp_path / "a.parquet", table)
    report = ld.read_shards(str(tmp_path)).laion.statistics(Count("language"))
    assert report["group"].tolist() == [hostile]
    markdown = report.to_markdown()
    assert len(markdown.splitlines()) == 5 + bool(report.n_suppressed) * 2
    for shown in (markdown, report._repr_html_()):
        assert "<script" not in shown and "\u202e" not in shown


def test_what_laion_published_comes_back(tmp_path):
    """Quantiles match those that the generator drew from, within 0.3 % of the rows in rank."""
    from laion_dask.demo.synthetic import write_laion_like
    from laion_dask.demo.synthetic_rows import published

    figures = published("laion2B-en")
    write_laion_like(tmp_path, 200_000, rows_per_shard=100_000)
    frame = ld.read_shards(str(tmp_path / "metadata"))
    table, rows = (
        frame.laion.statistics(ld.describe()).of("describe"),
        frame[["width", "height", "text"]],
    )
    rows = rows.compute()
    rows["text_length"] = rows["text"].str.len()
    shares = [i / 20 for i in range(1, 20)]
    for column in ("width", "height", "text_length"):
        of = table[table["term"] == column].set_index("group")["value"]
        values = rows[column].dropna().to_numpy(float)
        for share, wanted in zip(shares, figures[f"{column}_quantiles"], strict=True):
            result = of[f"quantile {share:.2f}"]
            low, high = sorted((result, wanted))
            assert ((values > low) & (values < high)).mean() < 0.003, (column, share)
    above = table[table["group"] == "above"].set_index("term")
    for column, share in (("punsafe", figures["unsafe"]), ("pwatermark", figures["watermark"])):
        line = above.loc[column]
        assert line["lo"] - 0.001 < share < line["hi"] + 0.001


def test_a_statistic_of_which_all_is_left_out_is_an_empty_table(shards):
    table = ld.read_shards(str(shards)).laion.statistics(Count("language"), min_n=10**6)
    assert table.of("count").empty and {"group", "n", "k", "rate"} <= set(table.of("count"))
    assert "4 results based on fewer" in table.to_markdown()
    table.of("count").plot()
    with pytest.raises(OptionError, match="Did you mean 'count'"):
        table.of("coumt")


def test_an_index_that_has_a_name_is_shown(shards):
    table = ld.read_shards(str(shards)).laion.statistics(Count("language"), min_n=0)
    pivot = table.pivot_table(index="group", columns="statistic", values="k", aggfunc="sum")
    for shown in (pivot._repr_html_(), repr(pivot), pivot.to_markdown()):
        assert "(null)" in shown and "group" in shown
    for odd in (
        table.rename(columns={"k": 0}),
        table.T,
        table[["n", "n"]],
        table.set_index("group"),
    ):
        assert odd.to_markdown() and odd._repr_html_() and repr(odd)
    assert "language" not in table.set_index("group").to_markdown()


@pytest.mark.parametrize("level", ["0.95", None, 0, 1, float("nan")])
def test_a_level_that_is_none(level):
    with pytest.raises(OptionError, match="level is"):
        report_options(level, 30)


def test_missing_infinite_and_others_are_all_rows(tmp_path):
    numbers = [1.5, math.inf, -math.inf, math.nan, None, 2.0] * 10
    table = pa.table({
        "URL": ["u", None, "u", "u", None, ""] * 10, "TEXT": ["a", None, "", None, "b", "c"] * 10,
        "similarity": pa.array(numbers, pa.float64()), "WIDTH": [1, None, 2, 3, 4, 5] * 10,
        "punsafe": pa.array(numbers, pa.float32()), "LANGUAGE": ["en", None] * 30,
    })  # fmt: skip
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
    report = frame.laion.statistics(ld.describe(), min_n=0)

    def of(term, group, what="k"):
        result = report.loc[(report["term"] == term) & (report["group"] == group), what]
        return int(result.iloc[0]) if len(result) else 0

    assert of("url", "missing") == 20 and of("text", "missing") == 20
    assert of("text_length", "mean", "n") == 40 and of("language", "missing") == 30
    for column in ("similarity", "width"):
        others = of(column, "mean", "n")
        assert of(column, "missing") + of(column, "infinite") + others == 60
    assert (of("similarity", "missing"), of("similarity", "infinite")) == (20, 20)
    assert of("punsafe", "missing") + of("punsafe", "above", "n") == 60  # inf is above
    assert of("punsafe", "infinite") == 20
