"""Summaries against plain pandas on the same rows."""

import math
from itertools import pairwise

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from support.frames import both
from support.partitionings import read_combined
from support.paths import SHARED
from support.property_tests import examples
from support.shards import laion_table, quantiles, refuse, write_shard

import laion_dask as ld
from laion_dask.aggregations import Partition
from laion_dask.aggregations.describe import SHARES, Describe, Description
from laion_dask.stats import ACCURACY
from laion_dask.stats.sketches.heavy_hitters import HeavyHitters
from laion_dask.text.domains import registered_domain

pytestmark = both

WEB = SHARED / "data" / "web_captions_10000.parquet"


@pytest.fixture
def shards(tmp_path):
    for i, n in enumerate((40, 0, 333, 27)):
        write_shard(tmp_path / f"part_{i}.parquet", laion_table(n, i))
    return str(tmp_path)


def described(table: pa.Table) -> Description:
    """The state that a summary computes for one partition."""
    return Describe(tuple(table.column_names), everything=True).chunk(Partition(table))


def plain(frame: pd.DataFrame, column: str) -> np.ndarray:
    """The values of a column that are not null."""
    if column == "text_length":
        return np.array([len(t) for t in frame["text"].dropna()], float)
    return frame[column].astype("Float64").dropna().to_numpy(float)


def check(summary: ld.Summary, frame: pd.DataFrame) -> None:
    """Compare every number of a summary with pandas."""
    n = len(frame)
    assert summary.n_rows == n
    missing = frame.drop(columns=["shard", "row"], errors="ignore").isna().sum()
    assert summary.nulls["nulls"].to_dict() == missing.to_dict()
    np.testing.assert_allclose(summary.nulls["share"], missing / n)
    for column, line in summary.quantiles.iterrows():
        values = plain(frame, column)
        values = values[np.isfinite(values)]
        assert line["n"] == len(values)
        assert line["mean"] == pytest.approx(values.mean(), rel=1e-12)
        wanted = np.array(quantiles(values, SHARES))
        whole = column in ("width", "height", "text_length")
        np.testing.assert_allclose(
            line[list(SHARES)], wanted, rtol=1.001 * ACCURACY, atol=0.5 if whole else 1e-9
        )
        if whole:
            small = wanted < 1000
            np.testing.assert_array_equal(line[list(SHARES)][small], wanted[small])
    if "width" in frame and "height" in frame:
        for side, line in summary.sizes.iterrows():
            both = (frame["width"] >= side) & (frame["height"] >= side)
            assert line["count"] == both.fillna(False).sum()
    for what, column, threshold in (("unsafe", "punsafe", 0.5), ("watermarked", "pwatermark", 0.8)):
        if column not in frame:
            assert what not in summary.shares.index
            continue
        values, line = plain(frame, column), summary.shares.loc[what]
        k = int((values > threshold).sum())
        got = line[["threshold", "k", "n", "unscored"]].tolist()
        assert got == [threshold, k, len(values), n - len(values)]
        interval = binomtest(k, len(values)).proportion_ci(0.95, "wilson")
        assert (line["share"], line["lo"], line["hi"]) == pytest.approx(
            (k / len(values), interval.low, interval.high), abs=1e-12
        )
    if "language" in frame:
        wanted = frame["language"].value_counts()
        assert summary.languages["count"].to_dict() == wanted[:20].to_dict()
        assert summary.languages["undercount"].eq(0).all()


def test_every_number_against_pandas(shards):
    frame = ld.read_shards(shards)
    summary = frame.laion.summary()
    check(summary, frame.compute())
    assert summary.rows == ld.Rows(400, 400, 0, 0, 0)
    assert set(summary.quantiles.index) == {"width", "height", "text_length", "similarity"}
    counts = frame["url"].compute().value_counts()
    wanted = {
        "example.com": counts["https://a.example.com/x"] + counts["http://b.example.com:80/y?z"],
        "shop.co.uk": counts["http://shop.co.uk/1"],
    }
    assert summary.domains["count"].to_dict() == wanted


def test_a_score_at_the_threshold_is_not_above_it(tmp_path):
    """As in a filter, a float32 0.8 equals 0.8, although it exceeds 0.8 as float64."""
    for kind in (pa.float32(), pa.float64()):
        scores = pa.array([0.8, 0.8, 0.9, 0.1, None], kind)
        table = pa.table({"text": ["x"] * 5, "pwatermark": scores, "punsafe": scores})
        frame = ld.read_shards(write_shard(tmp_path / str(kind) / "p.parquet", table))
        summary = frame.laion.summary()
        rates = frame.laion.statistics(ld.rates("pwatermark > 0.8"), min_n=0)
        assert summary.shares.loc["watermarked", ["k", "n"]].tolist() == [1, 4]
        assert rates["k"].tolist() == [1] == [len(frame.laion.where("pwatermark > 0.8"))]


def test_of_a_filtered_frame(shards):
    frame = ld.read_shards(shards, where="similarity > 0.2").laion.where("width >= 500")
    summary = frame.laion.summary()
    check(summary, frame.compute())
    rows = summary.rows
    assert rows == frame.laion.rows() and rows.unscored > 0
    assert rows.read == 400 == rows.kept + rows.dropped + rows.unscored + rows.rejected


def test_it_does_not_depend_on_partitioning(shards):
    wanted = ld.read_shards(shards).laion.summary()
    whole = ld.read_shards(shards)
    for frame in (
        ld.read_shards(shards, max_rows_per_partition=1),
        read_combined(shards),
        whole.repartition(npartitions=1),
        whole.repartition(npartitions=9),
        whole.shuffle("row", npartitions=13),
        dd.concat([whole.partitions[2:], whole.partitions[:2]]),
    ):
        summary = frame.laion.summary()
        for name in ("nulls", "quantiles", "sizes", "shares", "languages", "domains"):
            pd.testing.assert_frame_equal(
                getattr(summary, name), getattr(wanted, name), check_exact=True, obj=name
            )


@pytest.mark.only_pandas
@given(st.lists(st.integers(0, 399), max_size=6), st.randoms())
@examples(25)
def test_contributions_add_up_in_any_order(cuts, random):
    table = laion_table(400).rename_columns([c.lower() for c in laion_table(0).column_names])
    edges = [0, *sorted(cuts), 400]
    parts = [described(table[a:b]) for a, b in pairwise(edges)]
    random.shuffle(parts)
    total = Description()
    for part in parts:
        total = total.merge(part)
    wanted = described(table).merge(Description())
    for name in ("rows", "nulls", "quantiles", "over", "sides"):
        assert getattr(total, name) == getattr(wanted, name)
    for name in ("languages", "domains"):
        result, sure = getattr(total, name).heavy(), getattr(wanted, name).heavy()
        assert [column.tolist() for column in result] == [column.tolist() for column in sure]


def test_zero_rows(shards, tmp_path):
    summary = ld.read_shards(shards, where="width > 99999").laion.summary()
    assert summary.n_rows == 0 and summary.rows.read == 400 and summary.rows.kept == 0
    assert summary.nulls["nulls"].eq(0).all() and summary.nulls["share"].isna().all()
    assert summary.quantiles["n"].eq(0).all() and summary.quantiles["mean"].isna().all()
    line = summary.shares.loc["unsafe"]
    assert (line["k"], line["n"], line["lo"], line["hi"]) == (0, 0, 0.0, 1.0)
    assert math.isnan(line["share"])
    assert len(summary.languages) == len(summary.domains) == 0
    assert "0 kept" in str(summary) and "<table" in summary._repr_html_()
    write_shard(tmp_path / "empty" / "e.parquet", laion_table(0))
    assert ld.read_shards(tmp_path / "empty").laion.summary().n_rows == 0


def test_without_url_and_text(tmp_path):
    table = laion_table(30).select(["WIDTH", "HEIGHT", "punsafe"])
    frame = ld.read_shards(write_shard(tmp_path / "p.parquet", table))
    summary = frame.laion.summary()
    check(summary, frame.compute())
    assert set(summary.quantiles.index) == {"width", "height"}
    assert len(summary.domains) == len(summary.languages) == 0 and "Domains" not in summary.tables()


@pytest.mark.only_pandas
def test_of_a_frame_from_elsewhere():
    frame = pd.DataFrame(
        {
            "text": ["a", None, "\U0001f600\U0001f600"],
            "width": [1, 2, 3],
            "height": [4.0, np.nan, 1],
        }
    )
    summary = ld.summary(dd.from_pandas(frame, npartitions=2))
    check(summary, frame)
    assert summary.rows is None and summary.headline() == "3 rows"
    assert summary.quantiles.loc["text_length", "mean"] == 1.5


def test_of_a_persisted_frame(shards):
    frame = ld.read_shards(shards)
    summary = frame.persist(scheduler="sync").laion.summary()
    assert summary.rows is None and summary.n_rows == 400
    assert summary.shares.equals(frame.laion.summary().shares)


@pytest.mark.only_pandas
@pytest.mark.parametrize("how", ["null", "string", "huge", "boolean", "list"])
def test_columns_of_a_strange_type(how):
    values = {
        "null": pa.nulls(3),
        "string": pa.array(["1", "x", None]),
        "huge": pa.array([2**62 + 1, None, -(2**62)], pa.int64()),
        "boolean": pa.array([True, False, None]),
        "list": pa.array([[1], [], None], pa.list_(pa.int64())),
    }[how]
    names = ["text", "aesthetic", "url", "language", "punsafe", "aesthetics"]
    frame = dd.from_pandas(
        pa.table(dict.fromkeys(names, values)).to_pandas(types_mapper=pd.ArrowDtype)
    )
    summary = frame.laion.summary()
    assert summary.n_rows == 3
    assert summary.nulls["nulls"].to_dict() == dict.fromkeys(names, 3 if how == "null" else 1)
    if how == "huge":
        assert summary.quantiles.loc["aesthetic", 0.05] == pytest.approx(-(2**62), rel=ACCURACY)
    assert str(summary)


def test_hostile_text(tmp_path):
    text = ["a\0b", "\u202eabc", "x" * 10_000_000, None, ""]
    urls = ["javascript:1", "http://[::1]:80/x", "http://user@h.example.org:1/?", "http:///", ""]
    table = pa.table({"text": text, "url": urls})
    summary = ld.read_shards(write_shard(tmp_path / "p.parquet", table)).laion.summary()
    line = summary.quantiles.loc["text_length"]
    assert line["n"] == 4 and line[0.95] == pytest.approx(1e7, rel=ACCURACY)
    assert summary.domains["count"].to_dict() == {"[::1]": 1, "example.org": 1}
    html = ld.read_shards(
        write_shard(tmp_path / "q.parquet", pa.table({"language": ["<script>x</script>"]}))
    ).laion.summary()
    assert "<script>" not in html._repr_html_()


@pytest.mark.only_pandas
def test_many_hosts_of_one_domain_are_all_counted(monkeypatch):
    monkeypatch.setattr(HeavyHitters.__init__, "__defaults__", (5, None, None, None))
    urls = [f"http://h{i}.example.com/" for i in range(40)] + ["http://x.org"] * 3
    state = described(pa.table({"url": urls}))
    labels, least, most = state.domains.heavy()
    assert dict(zip(labels.to_pylist(), least.tolist(), strict=True)) == {
        "example.com": 40,
        "x.org": 3,
    }
    assert least.tolist() == most.tolist() and state.domains.is_exact


@pytest.mark.only_pandas
def test_registered_domains():
    for host, domain in {
        "images.shop.co.uk": "shop.co.uk",
        "Example.COM": "example.com",
        "10.0.0.1": "10.0.0.1",
        "localhost": "localhost",
        "xn--bcher-kva.example": "xn--bcher-kva.example",
    }.items():
        assert registered_domain(host) == domain


def test_building_its_graph_computes_nothing_and_errors_come_out(shards):
    frame = ld.read_shards(shards)
    with dask.config.set(scheduler=refuse), pytest.raises(AssertionError, match="computed"):
        frame.laion.summary()


@pytest.mark.only_pandas
def test_one_pass(shards, monkeypatch):
    from laion_dask.io.parquet import duckdb_connection

    queries = []
    query = duckdb_connection.query_in_batches
    monkeypatch.setattr(
        duckdb_connection, "query_in_batches", lambda *a: queries.append(a[0]) or query(*a)
    )
    ld.read_shards(shards).laion.summary()
    assert len(queries) == 4


@pytest.mark.skipif(not WEB.exists(), reason="the web captions are not available")
def test_real_web_captions():
    frame = ld.read_shards(WEB)
    summary = frame.laion.summary()
    raw = pd.read_parquet(WEB)
    check(summary, frame.compute())
    assert summary.n_rows == len(raw) == 10_000
    lengths = raw["TEXT"].dropna().map(len)
    assert summary.quantiles.loc["text_length", "mean"] == pytest.approx(lengths.mean(), rel=1e-12)
    hosts = raw["URL"].str.extract(r"^\w+://(?:[^/@]*@)?([^/:?#]+)")[0].dropna()
    wanted = hosts.map(registered_domain).value_counts()
    assert summary.domains["count"].tolist() == wanted[:20].tolist()
    for domain, n in summary.domains["count"].items():
        assert wanted[domain] == n


def test_what_the_web_wrote_does_not_steer_the_terminal(write):
    path = write("a.parquet", {"URL": ["u"] * 2, "LANGUAGE": ["\x1b[2J", "\u202een"]})
    shown = str(ld.read_shards(path).laion.summary())
    assert "\x1b" not in shown and "\u202e" not in shown
    assert "\\u001b[2J" in shown and "\\u202een" in shown
