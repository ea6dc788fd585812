"""Concentration of domains and columns against plain loops, for any partitioning, in one pass."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from math import e

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tldextract
from support.frames import both
from support.paths import SHARED
from support.shards import refuse

import laion_dask as ld
from laion_dask.aggregations.concentration import concentration
from laion_dask.aggregations.engine.statistics import statistics
from laion_dask.errors import ColumnError, OptionError
from laion_dask.io.parquet import duckdb_connection
from laion_dask.stats import wilson
from laion_dask.stats.sketches import heavy_hitters

SPLIT = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
HOSTS = [
    "img.shop.co.uk",
    "Shop.co.uk.",
    "a.example.com:80",
    "u@b.example.com",
    "x.org",
    "10.0.0.1",
]


def rows(n=600, seed=0) -> pa.Table:
    draw = np.random.default_rng(seed)
    hosts = [HOSTS[i] for i in np.minimum(draw.geometric(0.4, n) - 1, len(HOSTS) - 1)]
    urls = [f"https://{host}/{i}.jpg" for i, host in enumerate(hosts)]
    for i in range(0, n, 50):
        urls[i] = [None, "javascript:1", "", "x/y"][i // 50 % 4]
    for i in range(1, n, 60):
        urls[i] = f"http://site{i}.net/"
    languages = draw.choice(np.array(["en", "de", None], object), n, p=[0.7, 0.2, 0.1])
    return pa.table({
        "URL": pa.array(urls, pa.string()),
        "LANGUAGE": pa.array(languages, pa.string()),
        "WIDTH": pa.array(draw.choice([100, 200, 300], n), pa.int32()),
        "TEXT": pa.array(["a"] * n, pa.string()),
    })  # fmt: skip


def domain(url):
    result = SPLIT((url or "").lower())
    host = result.fqdn or result.ipv4
    is_web = url is not None and "//" in url
    return (result.top_domain_under_public_suffix or host or None) if is_web else None


def loops(labels) -> dict:
    """Each concentration measure, computed from its definition with plain loops."""
    counts = sorted(Counter(label for label in labels if label is not None).values())
    n, m = sum(counts), len(counts)
    shares = [c / n for c in counts]
    differences = sum(abs(a - b) for a in counts for b in counts)
    return {
        "distinct": m,
        "gini": differences / (2 * m * n),
        "herfindahl": sum(p * p for p in shares),
        "entropy": -sum(p * math.log(p) for p in shares) / math.log(m),
        **{f"top {k}": sum(counts[-k:]) / n for k in (1, 3, 1000)},
    }


@pytest.fixture
def paths(write):
    return [write(f"{i}.parquet", rows(n, i)) for i, n in enumerate((400, 0, 240))]


def everything(paths, **options):
    return statistics(ld.read_shards(paths), concentration(k=(1, 3, 1000), top=100), **options)


def check(result, labels, level=0.95):
    """Compare a table with loops over the labels of all rows (None: the row has no label)."""
    labelled = result[result["group"] == "label"]
    counts = Counter(label for label in labels if label is not None)
    n = counts.total()
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: len(labelled)]
    assert list(zip(labelled["term"], labelled["k"], strict=True)) == expected
    for k, rate, lo, hi in labelled[["k", "rate", "lo", "hi"]].itertuples(index=False):
        assert rate == k / n and (lo, hi) == pytest.approx(wilson(int(k), n, level), rel=1e-12)
    whole = result[result["group"] == "all"].set_index("term")
    for term, value in loops(labels).items():
        if term in whole.index:
            name = "rate" if term.startswith("top") else "value"
            assert whole.loc[term, name] == pytest.approx(value, rel=1e-12), term
            assert whole.loc[term, "n"] == n
    none = whole.loc["none"]
    assert (none["k"], none["n"]) == (len(labels) - n, len(labels))


@both
def test_domains_against_loops(paths):
    result = everything(paths)
    urls = [url for path in paths for url in pq.read_table(path)["URL"].to_pylist()]
    check(result, [domain(url) for url in urls])
    assert set(result["axis"]) == {"domain"} and set(result["statistic"]) == {"concentration"}
    assert set(result["method"]) == {"Wilson", "exact"}
    assert result["term"].tolist()[:2] == ["shop.co.uk", "example.com"]


@both
@pytest.mark.parametrize("of", ["language", "width"])
def test_columns_against_loops(paths, of):
    values = [v for path in paths for v in pq.read_table(path)[of.upper()].to_pylist()]
    labels = [None if v is None else str(v) for v in values]
    frame = ld.read_shards(paths)
    check(statistics(frame, concentration(of, k=(1, 3)), level=0.9), labels, 0.9)


def test_levels_share_a_pass(paths, monkeypatch):
    queries, plain = [], duckdb_connection.query_in_batches
    monkeypatch.setattr(
        duckdb_connection, "query_in_batches", lambda *a: queries.append(a[0]) or plain(*a)
    )
    several = [concentration(of, top=3) for of in ("domain", "tld", "suffix", "host")]
    result = statistics(ld.read_shards(paths), *several)
    assert len(queries) == 3
    assert all('"URL"' in sql and '"TEXT"' not in sql for sql in queries)
    first = result[result["group"] == "label"].groupby("axis", sort=False)["term"].first()
    assert first.to_dict() == {
        "domain": "shop.co.uk", "tld": "uk", "suffix": "co.uk", "host": "img.shop.co.uk",
    }  # fmt: skip


@pytest.mark.parametrize("capacity", [1_000_000, 3])
def test_parts_order_and_workers_do_not_matter(paths, write, capacity):
    """Results are identical to the last bit, both exact and from the sketch."""
    measure = concentration(k=(1, 3), capacity=capacity)
    frame = ld.read_shards(paths)
    expected = statistics(frame, measure)
    halves = ld.read_shards(paths, max_rows_per_partition=50)
    whole = pa.concat_tables([pq.read_table(path) for path in paths])
    mixed = whole.take(np.random.default_rng(5).permutation(len(whole)))
    many = [write(f"m{i}.parquet", mixed.slice(i * 40, 40)) for i in range(17)]
    for other in (halves, ld.read_shards(paths[::-1]), ld.read_shards(many)):
        assert statistics(other, measure).equals(expected)
    with dask.config.set(scheduler="threads", num_workers=4):
        assert statistics(ld.read_shards(many), measure).equals(expected)
    assert ("count-min" in expected["method"][0]) == (capacity == 3)


def test_many_domains_by_the_sketch(write, monkeypatch):
    """Results beyond the sketch's capacity are consistent with a full count."""
    monkeypatch.setattr(heavy_hitters, "WIDTH", 2048)
    monkeypatch.setattr(heavy_hitters, "ERROR", e / 2048)
    draw = np.random.default_rng(1)
    p = 1 / np.arange(1, 4001) ** 1.2
    names = [f"d{i}.com" for i in draw.choice(4000, 30_000, p=p / p.sum())]
    path = write("a.parquet", {"URL": pa.array([f"https://{name}/x" for name in names])})
    result = statistics(ld.read_shards(path), concentration(k=(2, 10, 500), capacity=300))
    exact, n = Counter(names), len(names)
    labelled = result[result["group"] == "label"]
    assert (
        len(labelled) == 20
        and (labelled["method"].str.contains("count-min, at most 40 too high")).all()
    )
    for row in labelled.itertuples():
        assert exact[row.term] <= row.k and row.lo <= exact[row.term] / n <= row.hi
    assert set(labelled["term"][:5]) == {name for name, _ in exact.most_common(5)}
    whole, book = result[result["group"] == "all"].set_index("term"), loops(names)
    for k in (2, 10, 500):
        share = sum(count for _, count in exact.most_common(k)) / n
        assert whole.loc[f"top {k}", "lo"] <= share <= whole.loc[f"top {k}", "hi"]
        known = whole.loc[f"top {k}", "rate"]  # for k = 500, only the tracked domains
        assert whole.loc[f"top {k}", "lo"] <= known <= whole.loc[f"top {k}", "hi"]
        assert share <= known or k == 500
    index = whole.loc["herfindahl"]
    assert index["lo"] <= book["herfindahl"] <= index["hi"] < 1.3 * index["lo"]
    assert whole.loc["distinct", "value"] == book["distinct"]
    for term in ("gini", "entropy"):
        assert math.isnan(whole.loc[term, "value"])
        assert whole.loc[term, "method"] == "omitted: more than 300 labels, most of them discarded"


def test_few_rows_and_none(write):
    path = write("a.parquet", rows(20))
    result = statistics(ld.read_shards(path), concentration())
    assert len(result) == 0 and result.n_suppressed > 4
    empty = write("b.parquet", rows(0))
    frame = ld.read_shards(empty)
    assert len(statistics(frame, concentration())) == 0
    labelled = statistics(frame, concentration(k=(1,)), min_n=0).set_index("term")
    assert labelled.loc["distinct", "value"] == 0 and np.isnan(labelled.loc["gini", "value"])
    assert (labelled.loc["top 1", "lo"], labelled.loc["top 1", "hi"]) == (0, 1)
    one = write("c.parquet", {"URL": ["https://a.com/"] * 40})
    labelled = statistics(ld.read_shards(one), concentration(k=3)).set_index("term")
    values = labelled.loc[["gini", "herfindahl", "entropy"], "value"].tolist()
    assert values == [0, 1, 0] and labelled.loc["top 3", "rate"] == 1
    none = write("d.parquet", {"URL": pa.array([None, "x"] * 40)})
    labelled = statistics(ld.read_shards(none), concentration())
    assert labelled["term"].tolist() == ["none"] and labelled.loc[0, "rate"] == 1


def test_it_binds_pickles_and_has_equals():
    column_types = {"url": "string", "language": "string", "similarity": "float64"}
    for measure in (concentration(), concentration("language"), concentration("tld", column="url")):
        bound = measure.bind(column_types)
        assert pickle.loads(pickle.dumps(bound)) == bound and hash(bound) == hash(bound)
    assert concentration("language").bind(column_types).reads == ("language",)
    assert concentration().bind(column_types).reads == ("url",)
    assert concentration(k=[10, 1, 10]) == concentration(k=(1, 10))


def test_what_it_refuses():
    column_types = {"url": "string", "language": "string", "similarity": "float64"}
    for options, kind, message in [
        ({"of": "domian"}, ColumnError, r"of is 'domian'\. .*Did you mean 'domain'"),
        ({"of": "similarity"}, OptionError, "holds float64, which cannot be used as labels"),
        ({"column": "similarity"}, OptionError, "holds float64. Name a column of URLs"),
        ({"column": "link"}, ColumnError, "no column 'link'"),
    ]:
        with pytest.raises(kind, match=message):
            concentration(**options).bind(column_types)
    for options, message in [
        ({"of": 3}, "of is 3"),
        ({"top": -1}, "top is -1"),
        ({"top": 2.5}, "top is 2.5"),
        ({"k": (10, 0)}, "k is 0"),
        ({"k": "many"}, "k is 'm'"),
        ({"k": True}, "k is True"),
        ({"capacity": 0}, "capacity is 0"),
        ({"column": None}, "column is None"),
    ]:
        with pytest.raises(OptionError, match=message):
            concentration(**options)
    with pytest.raises(TypeError):
        concentration("domain", 20)


def test_errors_come_before_anything_is_read(paths):
    frame = ld.read_shards(paths)
    with dask.config.set(scheduler=refuse):
        with pytest.raises(ColumnError, match="of is 'hosts'"):
            statistics(frame, concentration("hosts"))
        with pytest.raises(AssertionError, match="computed"):
            statistics(frame, concentration())


def test_hostile_domains_stay_text(write):
    names = ["<script>alert(1)</script>", "\u202egnp.exe", "a|b", "=cmd", "x\x00y", "'--"]
    urls = [f"https://{name}.com/" for name in names for _ in range(40)]
    result = statistics(ld.read_shards(write("a.parquet", {"URL": urls})), concentration())
    assert "<script>" not in result.to_markdown() + result._repr_html_()
    assert "\u202e" not in result.to_markdown() + result._repr_html_()


@pytest.mark.skipif(not SHARED.exists(), reason="the web captions are not available")
def test_real_addresses():
    path = SHARED / "data/web_captions_10000.parquet"
    result = statistics(ld.read_shards(path), concentration(top=50, k=(1, 3)))
    check(result, [domain(url) for url in pd.read_parquet(path)["URL"]])
    shown = result[result["group"] == "label"]["term"].tolist()
    assert shown[:3] == ["shopify.com", "wp.com", "dreamstime.com"]
