"""Hosts, registered domains, suffixes and TLDs of addresses, per row and as groups."""

from __future__ import annotations

import itertools
import pickle
import threading

import ada_url
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tldextract
from hypothesis import given
from hypothesis import strategies as st
from support.paths import SHARED
from support.property_tests import examples

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.grouping import domains as measures
from laion_dask.aggregations.grouping.base import members
from laion_dask.aggregations.grouping.domains import domains, tlds
from laion_dask.errors import ColumnError, OptionError
from laion_dask.runtime import native_code
from laion_dask.runtime.process_cache import ProcessCache
from laion_dask.text import host_names as compiled
from laion_dask.text.domains import LEVELS, hosts, labels_of, registered_domain

SPLIT = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
URLS = [
    "https://images.shop.co.uk/a.jpg", "http://images.shop.co.uk", "HTTPS://Images.SHOP.co.uk:443/",
    "https://example.com.", "http://example.com../x", "https://user:pass@example.com:8080/x",
    "https://a@b@example.com/", "https://google.com@evil.example.com/", "http://10.0.0.1/x",
    "http://10.0.0.1:80/x", "http://[::1]:8080/x", "http://[2001:DB8::1]/", "http://[::1/x",
    "http://[evil]/x", "http://localhost/x", "ftp://ftp.example.org/x", "//cdn.example.com/x",
    "example.com/x", "javascript:alert('//x.com/')", "data:image/png;base64,AAAA//BB/",
    "mailto:a@example.com", "", "   ", None, "http://", "http:///x", "https://?q", "https://#f",
    "https://example.com?x=http://other.com/", "https://example.com#http://other.com/",
    "http://xn--bcher-kva.example/", "https://xn--80ak6aa92e.xn--p1ai/", "https://b\u00fccher.de/",
    "https://\u4f8b\u3048\u3002jp/", "http:/example.com/", "http:example.com",
    "https:/\n/example.com/", "https://example.com /x", "https://example.com ",
    "ht\ntp://example.com/", " \x00https://example.com/", "https://exa\tmple.com/x",
    "https://exa mple.com/x", "https://\u202eexample.com/", "https://example.com\x00.evil.com/",
    "https://com/", "https://co.uk/", "https://a.ck/", "https://www.ck/", "https://x.y.city.kawasaki.jp/",
    "https://x.y.other.kawasaki.jp/", "https://someone.github.io/", "https://a..com/", "https://.com/",
    "https://" + "a" * 100_000 + ".com/", "https://example.com/" + "x" * 100_000,
    "https://" + "a." * 60 + "com/", "http://999/", "http://1.2/", "https://_a.b-c.net/",
    "https://\U0001f600.ws/", "wss://stream.example.com/", "a+b.c-d://host.net/x", "1a://host.net/",
    "https://b.a.museum/", "http", "https:", "http:/", "https:/", "httpx://a.com/", "https://a.b.c.d.e",
    "https://host.invalid:notaport/", "https://a.com\\@b.com/", "https://%65xample.com/",
    "https://http /", "https:// /x", "https://\\/y.org",
]  # fmt: skip


def column(urls, kind=None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(urls, kind or pa.string())])


def read(urls, level="host") -> list:
    """Return the package's label of each address."""
    found = labels_of(hosts(urls if isinstance(urls, pa.ChunkedArray) else column(urls)), level)
    labels = [*found.labels.to_pylist(), None]
    assert len(set(labels)) == len(labels)
    counts = pd.Series([labels[code] for code in found.codes], dtype=object).value_counts()
    assert dict(zip(labels[:-1], found.counts().tolist(), strict=True)) == counts.to_dict()
    return [labels[code] for code in found.codes]


def reference_host(url):
    """The host from an independent parser of the URL standard, one complete address at a time."""
    if url is None:
        return None
    try:
        name = ada_url.URL(url).hostname.lower().rstrip(".")
    except ValueError:
        return None
    return name if 0 < len(name) <= 255 else None


def reference_label(host, level):
    if host is None or level == "host":
        return host
    found = SPLIT(host)
    before, _, last = host.rpartition(".")
    tld = last if before and last and not last.isdigit() and "]" not in last else None
    if level == "domain":  # if no rule of the list matches, "*" applies
        by_last_name = ".".join(host.split(".")[-2:]) if tld and not found.suffix else host
        whole = ".." in f".{host}"
        return host if whole else (found.top_domain_under_public_suffix or by_last_name)
    return found.suffix if level == "suffix" and found.suffix else tld


# Per row


def test_hosts_are_those_of_the_standard():
    for url, found in zip(URLS, read(URLS), strict=True):
        assert found == reference_host(url), url


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_those_of_tldextract(level):
    for url, host, found in zip(URLS, read(URLS), read(URLS, level), strict=True):
        assert found == reference_label(host, level), url


def test_some_by_hand():
    for url, domain, suffix, tld in [
        ("https://images.shop.co.uk/a.jpg", "shop.co.uk", "co.uk", "uk"),
        ("https://user:pass@Example.COM.:8080/x", "example.com", "com", "com"),
        ("https://someone.github.io/", "github.io", "io", "io"),
        ("https://a.b.example/", "b.example", "example", "example"),
        ("http://10.0.0.1/x", "10.0.0.1", None, None),
        ("http://[::1]:8080/x", "[::1]", None, None),
        ("http://localhost/x", "localhost", None, None),
        ("https://x.xn--80ak6aa92e.xn--p1ai/", "xn--80ak6aa92e.xn--p1ai", "xn--p1ai", "xn--p1ai"),
        ("https://x.y.city.kawasaki.jp/", "city.kawasaki.jp", "kawasaki.jp", "jp"),
        ("https://x.y.other.kawasaki.jp/", "y.other.kawasaki.jp", "other.kawasaki.jp", "jp"),
        ("javascript:alert(1)", None, None, None),
    ]:
        assert [read([url], level)[0] for level in LEVELS[1:]] == [domain, suffix, tld], url
    assert registered_domain("Images.Shop.co.uk") == "shop.co.uk"


@pytest.mark.skipif(not SHARED.exists(), reason="the web captions are not on this machine")
def test_real_addresses():
    urls = pq.read_table(SHARED / "data/web_captions_10000.parquet")["URL"]
    expected = [reference_host(url) for url in urls.to_pylist()]
    assert read(urls) == expected
    for level in LEVELS[1:]:
        assert read(urls, level) == [reference_label(host, level) for host in expected]


def test_hosts_of_endless_dots_take_no_endless_time():
    dots = "." * 1_000_000
    urls = [f"http://{dots}x/", f"http://x{dots}:80/", f"http://{' .' * 500_000}x/", "//" + dots]
    assert read(urls) == [None, "x", None, None]  # None: longer than a host may be, a space inside


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_chunks_slices_and_kinds_do_not_matter(kind):
    whole = read(URLS, "domain")
    array = pa.array(URLS, kind)
    for cuts in ([0, len(URLS)], [0, 0, 5, 5, 40, len(URLS)], range(len(URLS) + 1)):
        cuts = list(cuts)
        parts = [array.slice(a, b - a) for a, b in itertools.pairwise(cuts)]
        assert read(pa.chunked_array(parts, kind), "domain") == whole
    assert read(pa.chunked_array([array[3:]], kind), "domain") == whole[3:]
    assert read(pa.chunked_array([], kind), "domain") == []
    assert read(pa.chunked_array([pa.nulls(3, kind)]), "domain") == [None] * 3


def test_a_table_of_names_that_grows():
    urls = [f"https://h{i % 30_011}.d{i % 7}.com/{i}" for i in range(70_000)]
    assert read(urls) == [f"h{i % 30_011}.d{i % 7}.com" for i in range(70_000)]
    assert read(urls, "domain") == [f"d{i % 7}.com" for i in range(70_000)]


def test_threads_share_one_compiled_walk(monkeypatch):
    builds, build = [], compiled._loaded
    monkeypatch.setattr(compiled, "_compiled", ProcessCache())
    monkeypatch.setattr(compiled, "_loaded", lambda: builds.append(1) or build())
    found, expected = [], read(URLS)
    work = [threading.Thread(target=lambda: found.append(read(URLS))) for _ in range(4)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert found == [expected] * 4 and len(builds) == 1


def test_it_works_where_nothing_can_be_kept(monkeypatch):
    import numba

    plain = numba.njit

    def without_a_folder(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*args, **options)

    expected = read(URLS)

    def cannot_be_written(*args):
        raise PermissionError

    monkeypatch.setattr(numba, "njit", without_a_folder)
    monkeypatch.setattr(native_code, "_file", cannot_be_written)
    monkeypatch.setattr(compiled, "_compiled", ProcessCache())
    with pytest.warns(RuntimeWarning, match=r"NUMBA_CACHE_DIR"):
        assert read(URLS) == expected


_PIECES = st.sampled_from(
    ["http", "https", "HTTP", ":", "/", "//", "@", "?", "#", ".", "com", "co.uk", "a", "B", "[",
     "]", "::1", "80", " ", "\t", "\n", "\x00", "\\", "é", "xn--p1ai", "%", "-", "_", "例", "ck",
     "\u3002", "%65", "\uff21", "xn--", "0x7f", "ftp", "data", "\u00ad", "ß"]
)  # fmt: skip


@examples(60)
@given(st.lists(st.lists(_PIECES, max_size=12).map("".join), max_size=8))
def test_any_address_has_a_host_or_none(urls):
    urls = urls + [f"https://{url}" for url in urls]
    for url, found in zip(urls, read(urls), strict=True):
        assert found == reference_host(url), url
    for level in LEVELS[1:]:
        assert read(urls, level) == [reference_label(host, level) for host in read(urls)]


# As groups


@pytest.mark.parametrize(("grouping", "level"), [(domains(), "domain"), (tlds(), "tld")])
def test_groups(grouping, level):
    part = Partition(pa.table({"url": column(URLS)}))
    found = members(part, grouping.bind({"url": "string"}))
    labels = [None] * len(URLS)
    for row, code in zip(found.rows, found.codes, strict=True):
        labels[row] = found.labels[code]
    assert labels == read(URLS, level) and grouping.axis == level and grouping.reads == ("url",)
    assert pickle.loads(pickle.dumps(grouping)) == grouping and hash(grouping) == hash(grouping)
    assert found.n_rows == len(URLS) and (found.rows[:-1] < found.rows[1:]).all()
    for empty in (part.table[:0], pa.table({"url": column([None, "x"])})):
        assert len(members(Partition(empty), grouping).rows) == 0


def test_hosts_are_cut_once_for_all_levels(monkeypatch):
    calls, plain = [], measures.hosts_of
    monkeypatch.setattr(measures, "hosts_of", lambda found: calls.append(1) or plain(found))
    part = Partition(pa.table({"url": column(URLS)}))
    members(part, domains()), members(part, tlds()), members(part, domains())
    assert len(calls) == 1


def test_what_groupings_refuse(monkeypatch):
    column_types = {"url": "string", "width": "integer"}
    with pytest.raises(ColumnError, match=r"no column 'ulr'\. Did you mean 'url'"):
        domains("ulr").bind(column_types)
    with pytest.raises(OptionError, match="holds integer"):
        tlds("width").bind(column_types)
    with pytest.raises(OptionError, match="a column of URLs"):
        domains(None)
    monkeypatch.setattr(measures, "MAX_GROUPS", 3)
    with pytest.raises(OptionError, match=r"'domain' makes .* groups or more.*concentration"):
        members(Partition(pa.table({"url": column(URLS)})), domains())
