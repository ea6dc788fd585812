"""``url.domain()`` and ``url.tld()``: the groups of the statistics, in a scan and in a frame."""

from __future__ import annotations

from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tldextract
from support.frames import both
from support.paths import SHARED

import laion_dask as ld
from laion_dask.errors import PredicateError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet import scan_batches, scan_duckdb
from laion_dask.predicate import certain_and_possible, parse
from laion_dask.predicate.prune import Range, may_pass
from laion_dask.predicate.sites import split
from laion_dask.text.domains import host_of, registered_domain, top_level_domain

SPLIT = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
KINDS = {"url": "string", "text": "string", "similarity": "float64"}
HOSTILE = [
    "https://images.shop.co.uk/a.jpg", "HTTPS://Images.SHOP.co.uk:443/", "https://user:p@shop.co.uk/",
    "https://google.com@evil.example.com/", "http://10.0.0.1/x", "http://[2001:DB8::1]/", "", None,
    "http://localhost/x", "//cdn.example.com/x", "example.com/x", "javascript:alert('//x.com/')",
    "data:image/png;base64,AAAA//BB/", "http://", "http:///shop.co.uk/", "https:/\n/example.com/",
    "https://b\u00fccher.de/", "http://xn--bcher-kva.de/", "https://\u4f8b\u3048\u3002jp/",
    "https://exa\tmple.com/x", "https://exa mple.com/x", "https://\u202eexample.com/", "https://com/",
    "https://example.com\x00.evil.com/", "https://co.uk/", "https://someone.github.io/",
    "https://a..com/", "ftp://ftp.example.org/x", "https://" + "a" * 70_000 + ".com/",
    "https://example.com/" + "x" * 70_000, "<script>alert(1)</script>", "https://example.com./x",
    "https://%65xample.com/", "https://x.y.city.kawasaki.jp/", "https://\U0001f600.ws/",
]  # fmt: skip


def site(url: str | None, level: str) -> str | None:
    """The domain or top-level domain of one URL, as the statistics define it."""
    host = None if url is None else host_of(url)
    if host is None:
        return None
    return registered_domain(host) if level == "domain" else top_level_domain(host)


def kept(path, expression):
    """The rows kept and the number undecided; a scan, and a mask of the frame, must agree."""
    scan, [piece] = Provenance.of(ld.read_shards(path)).as_read
    predicate = parse(expression, scan.column_types)
    scanned = scan.and_where(predicate).read(piece, ["row"])
    result = scanned.table["row"].to_pylist(), scanned.unscored
    frame = scan(piece, list(scan.column_types))
    certain, possible = certain_and_possible(predicate, frame)
    assert (frame["row"][certain].tolist(), int((possible & ~certain).sum())) == result
    filtered = scan.and_where(predicate)
    assert filtered(piece, ["row"])["row"].tolist() == result[0]
    assert filtered.counts(piece)[0] == result[1]
    return result


@pytest.mark.parametrize("level", ["domain", "tld"])
def test_web_urls_row_by_row(level):
    """Rows are those of a loop with tldextract, which is an independent implementation."""
    path = SHARED / "data" / "web_captions_10000.parquet"
    urls = pq.read_table(path)["URL"].to_pylist()
    parts = [SPLIT(urlsplit(url).netloc.lower()) for url in urls]
    labels = [
        (p.top_domain_under_public_suffix or p.domain if level == "domain" else p.suffix) or None
        for p in parts
    ]
    if level == "tld":
        labels = [label and label.rpartition(".")[2] for label in labels]
    frequent = pd.Series(labels).value_counts().index[:40]
    for some in (frequent[:1], frequent[1:5], frequent[5:40]):
        wanted = [i for i, label in enumerate(labels) if label in set(some)]
        rows, _ = kept(path, f"url.{level}() in {tuple(some)!r}")
        assert rows == wanted and len(wanted) > 10
    suffix = ".co.uk" if level == "domain" else "uk"
    rows, _ = kept(path, f"url.{level}().endswith({suffix!r})")
    assert rows == [i for i, label in enumerate(labels) if label and label.endswith(suffix)]


@both
@pytest.mark.parametrize("level", ["domain", "tld"])
def test_hostile_urls(write, level):
    path = write("a.parquet", {"URL": HOSTILE, "n": list(range(len(HOSTILE)))})
    labels = [site(url, level) for url in HOSTILE]
    unknown = labels.count(None)
    assert unknown > 8
    missing = [i for i, label in enumerate(labels) if label is None]
    assert kept(path, f"url.{level}() is None") == (missing, 0)
    assert kept(path, f"url.{level}() is not None")[1] == 0
    for label in dict.fromkeys(label for label in labels if label):
        equal = [i for i, one in enumerate(labels) if one == label]
        other = [i for i, one in enumerate(labels) if one not in (label, None)]
        assert kept(path, f"url.{level}() == {label!r}") == (equal, unknown)
        assert kept(path, f"url.{level}() != {label!r}") == (other, unknown)
        assert kept(path, f"not url.{level}() in ({label!r},)") == (other, unknown)
    long = [i for i, one in enumerate(labels) if one and len(one) > 5]
    assert kept(path, f"url.{level}().len() > 5") == (long, unknown)


@pytest.mark.parametrize(
    ("expression", "meaning"),
    [
        (
            "url.domain() == 'a.com' and n > 2",
            lambda d, n: d == "a.com" and n is not None and n > 2,
        ),
        ("n > 2 or url.domain() == 'a.com'", lambda d, n: d == "a.com" or (n or 0) > 2),
        ("not (n > 2 and url.domain() == 'a.com')", None),
        ("url.domain() == text.domain()", None),
        ("url.domain() is None and n is None", lambda d, n: d is None and n is None),
        ("(url.domain() == 'a.com' or url.tld() == 'org') and (n < 4 and shard == 0)", None),
        ("url.lower().domain().contains('a') and row < 8", None),
    ],
)
def test_parts_for_duckdb_and_parts_for_the_mask_combine(write, expression, meaning):
    urls = ["http://x.a.com/", "http://b.org/", "data:,", None] * 4
    numbers = [1, 2, 3, 4, 5, None, None, None] * 2
    path = write("a.parquet", {"URL": urls, "TEXT": urls[::-1], "n": numbers})
    rows, _ = kept(path, expression)
    if meaning is not None:
        domains = [site(url, "domain") for url in urls]
        pairs = zip(domains, numbers, strict=True)
        assert rows == [i for i, pair in enumerate(pairs) if meaning(*pair)]


def test_the_filter_is_divided_at_and_only():
    predicate = parse("similarity > 0.3 and (text == 'a' and url.tld() == 'de')", KINDS)
    rest, sites = split(predicate)
    assert (rest.columns, sites.columns) == (("similarity", "text"), ("url",))
    assert split(parse("similarity > 0.3", KINDS))[1] is None
    rest, sites = split(parse("similarity > 0.3 or url.tld() == 'de'", KINDS))
    assert (rest, sites.columns) == (None, ("similarity", "url"))


def test_row_groups_are_not_pruned_by_the_bounds_of_urls():
    """The URLs of a row group are not between the names of their domains."""
    ranges = {"url": Range("https://a.com/", "https://b.com/"), "similarity": Range(0.1, 0.2)}
    assert may_pass(parse("url.domain() == 'zzz.com'", KINDS), ranges)
    assert may_pass(parse("url.domain() in ('zzz.com',)", KINDS), ranges)
    assert not may_pass(parse("similarity > 0.3 and url.tld() == 'com'", KINDS), ranges)


def test_all_ways_to_apply_it_count_the_same(write, monkeypatch):
    """Batches, several shards in one query, exports and the funnel; a shard without URLs."""
    monkeypatch.setattr(scan_duckdb, "BATCH_ROWS", 2)
    assert scan_batches.BATCH_ROWS > 2
    urls = [f"https://img{i}.site{i % 5}.co.uk/{i}" if i % 7 else None for i in range(60)]
    for k in range(6):
        write(f"s/{k}.parquet", {"URL": urls[k * 10 : k * 10 + 10], "TEXT": ["é"] * 10})
    write("s/9.parquet", {"TEXT": ["no column"] * 3})
    folder = pa.fs.LocalFileSystem().normalize_path(write("s/7.parquet", {"URL": ["x"]}))
    folder = folder.rpartition("/")[0]
    where = "url.domain() in ('site1.co.uk', 'site2.co.uk')"
    wanted = [u for u in urls if u and u.split(".")[1] in ("site1", "site2")]
    scanned = ld.read_shards(folder, where=where)
    later = ld.read_shards(folder).laion.where(where)
    masked = ld.read_shards(folder).reset_index(drop=True).laion.where(where)
    for frame in (scanned, later, masked):
        assert frame.compute()["url"].tolist() == wanted
    rows = scanned.laion.rows()
    n_unknown = urls.count(None) + 3 + 1
    assert (rows.read, rows.kept, rows.unscored) == (64, len(wanted), n_unknown)
    assert later.laion.funnel()[["after", "unscored"]].values.tolist() == [[len(wanted), n_unknown]]
    left_out = later.laion.excluded().compute()
    assert len(left_out) == 64 - len(wanted)
    result = scanned.laion.export(f"{folder}/../out")
    assert result.rows.kept == len(wanted)
    assert result.rows.unscored == n_unknown


def test_statistics_accept_it(write):
    urls = ["https://a.de/"] * 30 + ["https://b.com/"] * 60
    frame = ld.read_shards(write("a.parquet", {"URL": urls}))
    table = ld.statistics(frame, ld.rates("url.tld() == 'de'", by=ld.domains()))
    rates = dict(zip(table["group"], table["rate"], strict=True))
    assert (rates["a.de"], rates["b.com"]) == (1.0, 0.0)


def test_mistakes_are_explained():
    for text, hint in (
        ("url.domain == 'a.com'", "url.domain()"),
        ("domain(url) == 'a.com'", "url.domain()"),
        ("similarity.domain() == 'a.com'", "needs text"),
        ("url.domain()", "Compare it"),
        ("url.domain() > 3", "compares"),
        ("url.domian() == 'a.com'", "domain"),
    ):
        with pytest.raises(PredicateError) as error:
            parse(text, KINDS)
        assert hint in str(error.value), text


def test_a_plan_counts_the_time_to_find_hosts():
    assert parse("url.tld() == 'de' and similarity > 0", KINDS).cost.rates == ("where", "hosts")
