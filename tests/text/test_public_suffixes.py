"""Registered domains against the public suffix list's vectors; hosts against the URL standard's."""

from __future__ import annotations

import pyarrow as pa
import pytest
import tldextract

from laion_dask.aggregations.concentration import concentration
from laion_dask.aggregations.grouping.domains import domains
from laion_dask.errors import OptionError
from laion_dask.text.domains import LEVELS, host_of, hosts, labels_of, registered_domain
from laion_dask.text.public_suffixes import suffix_list


def read(urls, level="host", **options) -> list:
    found = labels_of(hosts(pa.chunked_array([pa.array(urls, pa.string())])), level, **options)
    return [found.labels[int(code)].as_py() if code >= 0 else None for code in found.codes]


#: tests/test_psl.txt of publicsuffix/list (public domain): a host and its registered domain.
VECTORS = [
    (None, None),
    ("COM", None),
    ("example.COM", "example.com"),
    ("WwW.example.COM", "example.com"),
    (".com", None),
    (".example", None),
    (".example.com", None),
    (".example.example", None),
    ("example", None),
    ("example.example", "example.example"),
    ("b.example.example", "example.example"),
    ("a.b.example.example", "example.example"),
    ("biz", None),
    ("domain.biz", "domain.biz"),
    ("b.domain.biz", "domain.biz"),
    ("a.b.domain.biz", "domain.biz"),
    ("com", None),
    ("example.com", "example.com"),
    ("b.example.com", "example.com"),
    ("a.b.example.com", "example.com"),
    ("uk.com", None),
    ("example.uk.com", "example.uk.com"),
    ("b.example.uk.com", "example.uk.com"),
    ("a.b.example.uk.com", "example.uk.com"),
    ("test.ac", "test.ac"),
    ("mm", None),
    ("c.mm", None),
    ("b.c.mm", "b.c.mm"),
    ("a.b.c.mm", "b.c.mm"),
    ("jp", None),
    ("test.jp", "test.jp"),
    ("www.test.jp", "test.jp"),
    ("ac.jp", None),
    ("test.ac.jp", "test.ac.jp"),
    ("www.test.ac.jp", "test.ac.jp"),
    ("kyoto.jp", None),
    ("test.kyoto.jp", "test.kyoto.jp"),
    ("ide.kyoto.jp", None),
    ("b.ide.kyoto.jp", "b.ide.kyoto.jp"),
    ("a.b.ide.kyoto.jp", "b.ide.kyoto.jp"),
    ("c.kobe.jp", None),
    ("b.c.kobe.jp", "b.c.kobe.jp"),
    ("a.b.c.kobe.jp", "b.c.kobe.jp"),
    ("city.kobe.jp", "city.kobe.jp"),
    ("www.city.kobe.jp", "city.kobe.jp"),
    ("ck", None),
    ("test.ck", None),
    ("b.test.ck", "b.test.ck"),
    ("a.b.test.ck", "b.test.ck"),
    ("www.ck", "www.ck"),
    ("www.www.ck", "www.ck"),
    ("us", None),
    ("test.us", "test.us"),
    ("www.test.us", "test.us"),
    ("ak.us", None),
    ("test.ak.us", "test.ak.us"),
    ("www.test.ak.us", "test.ak.us"),
    ("k12.ak.us", None),
    ("test.k12.ak.us", "test.k12.ak.us"),
    ("www.test.k12.ak.us", "test.k12.ak.us"),
    ("食狮.com.cn", "食狮.com.cn"),
    ("食狮.公司.cn", "食狮.公司.cn"),
    ("www.食狮.公司.cn", "食狮.公司.cn"),
    ("shishi.公司.cn", "shishi.公司.cn"),
    ("公司.cn", None),
    ("食狮.中国", "食狮.中国"),
    ("www.食狮.中国", "食狮.中国"),
    ("shishi.中国", "shishi.中国"),
    ("中国", None),
    ("xn--85x722f.com.cn", "xn--85x722f.com.cn"),
    ("xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
    ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
    ("shishi.xn--55qx5d.cn", "shishi.xn--55qx5d.cn"),
    ("xn--55qx5d.cn", None),
    ("xn--85x722f.xn--fiqs8s", "xn--85x722f.xn--fiqs8s"),
    ("www.xn--85x722f.xn--fiqs8s", "xn--85x722f.xn--fiqs8s"),
    ("shishi.xn--fiqs8s", "shishi.xn--fiqs8s"),
    ("xn--fiqs8s", None),
]
#: From the web platform tests' url/resources/urltestdata.json and toascii.json: an address, and the
#: host that a browser gets from it.
ADDRESSES = {
    "http://example\t.\norg": "example.org",
    "http://user:pass@foo:21/bar;par?b#c": "foo",
    "https://test:@test": "test",
    "http://foo.com:b@d/": "d",
    "http://foo.com/\\@": "foo.com",
    "http:\\\\foo.com\\": "foo.com",
    "http:\\\\a\\b:c\\d@foo.com\\": "a",
    "http:/example.com/": "example.com",
    "http:example.com/": "example.com",
    "http:///example.com/": "example.com",
    "http://f:b/c": None,
    "http://f: /c": None,
    "http://f:\n/c": "f",
    "http://f:999999/c": None,
    "http://[1::2]:3:4": None,
    "http://2001::1": None,
    "http://[::127.0.0.1]": "[::7f00:1]",
    "http://[0:0:0:0:0:0:13.1.68.3]": "[::d01:4403]",
    "http://[2001::1]:80": "[2001::1]",
    "http://[2001:0DB8:0:0:0:0:0:1]/": "[2001:db8::1]",
    "http://[www.google.com]/": None,
    "http://[::1%25eth0]/": None,
    "https://http[::1]": None,
    "http://[google.com": None,
    "http://foo bar/": None,
    "http://GOO\u200b\u2060\ufeffgoo.com": "googoo.com",
    "http://www.foo\u3002bar.com": "www.foo.bar.com",
    "http://\uff27\uff4f.com": "go.com",
    "http://%ef%bc%85%ef%bc%94%ef%bc%91.com": None,
    "http://%EF%BC%85%EF%BC%90%EF%BC%90.com": None,
    "http://\u4f60\u597d\u4f60\u597d": "xn--6qqa088eba",
    "http://fa\u00df.ExAmPlE/": "xn--fa-hia.example",
    "http://%30%78%63%30%2e%30%32%35%30.01": "192.168.0.1",
    "http://0Xc0.0250.01": "192.168.0.1",
    "http://192.0x00A80001": "192.168.0.1",
    "http://192.168.0.257": None,
    "http://10000000000/": None,
    "http://foo.0x4/": None,
    "http://\uff10\uff38\uff43\uff10\uff0e\uff10\uff12\uff15\uff10": "192.0.0.168",
    "http://a\u00adb.com": "ab.com",
    "http://\u200d.example": None,
    "http://\ufffd.com": None,
    "http://\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com": "xn--mgba3gch31f060k.com",
    "http://1.2.3.4.5.": None,
    "http://1.2.3.4./": "1.2.3.4",
    "http:": None,
    "http://": None,
    "http://?a": None,
    "javascript://example.com/": "example.com",
    "javascript:alert(1)": None,
    "data:text/html,//x.com/": None,
    "mailto:x@x.com": None,
    "wss://host.net/": "host.net",
    "//example.com/": None,
    "example.com": None,
}


def test_the_lists_own_vectors():
    for host, domain in VECTORS[1:]:
        [whole] = read([f"https://{host}/x"])
        expected = whole if domain is None else host_of(f"http://{domain}")
        assert read([f"https://{host}/x"], "domain", private=True) == [expected], host
        assert registered_domain(host, private=True) == expected, host
        if not whole.endswith("uk.com"):  # in the private part of the list
            assert read([f"https://{host}/x"], "domain") == [expected], host
    assert read([None], "domain") == [None] and len(VECTORS) == 78


@pytest.mark.parametrize("address", ADDRESSES)
def test_hosts_are_a_browsers(address):
    assert read([address, None, f" {address}\n"]) == [ADDRESSES[address], None, ADDRESSES[address]]


def test_every_spelling_is_one_domain():
    for spellings in (
        [
            "b\u00fccher.de",
            "B\u00dcCHER.de",
            "xn--bcher-kva.de",
            "XN--BCHER-KVA.DE",
            "bu\u0308cher.de",
            "b%C3%BCcher.de",
            "www.b\u00fccher\u3002de",
            "B\u00fccher\uff0ede.",
            "b\u00fccher\uff61de:443",
        ],
        ["example.com", "EXAMPLE.com.", "%65xample.com", "\uff45xample.com", "exam\u00adple.com"],
        ["\u4f8b\u3048.jp", "a.\u4f8b\u3048\u3002jp", "xn--r8jz45g.jp", "%E4%BE%8B%E3%81%88.jp"],
        ["[::1]", "[0:0:0:0:0:0:0:1]", "[0::0001]:80", "[::0.0.0.1]"],
        ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "127.0.0.1."],
    ):
        urls = [f"{scheme}://{name}/x" for scheme in ("http", "HTTPS", "ftp") for name in spellings]
        assert len({*read(urls, "domain")}) == 1, spellings


def test_private_suffixes_are_an_option():
    urls = [
        "https://a.someone.github.io/x",
        "https://github.io/",
        "https://x.uk.com",
        "https://y.x.de",
    ]
    assert read(urls, "domain") == ["github.io", "github.io", "uk.com", "x.de"]
    assert read(urls, "domain", private=True) == [
        "someone.github.io",
        "github.io",
        "x.uk.com",
        "x.de",
    ]
    assert read(urls, "suffix", private=True) == ["github.io", "github.io", "uk.com", "de"]
    assert read(urls, "tld", private=True) == ["io", "io", "com", "de"]
    assert domains(private=True) != domains() and concentration(private=True).private
    for make in (domains, concentration):
        with pytest.raises(OptionError, match="private is 'yes'"):
            make(private="yes")


def test_levels_agree_one_address_at_a_time_and_together():
    urls = [*ADDRESSES, *(f"http://{host}" for host, _ in VECTORS[1:])][::5] * 3
    for level in LEVELS:
        for private in (False, True):
            all_at_once = read(urls, level, private=private)
            assert all_at_once == [read([url], level, private=private)[0] for url in urls]


@pytest.mark.parametrize("private", [False, True])
def test_every_rule_as_by_tldextract(private):
    split = tldextract.TLDExtract(
        suffix_list_urls=(), cache_dir=None, include_psl_private_domains=private
    )
    rules = suffix_list(private).rules
    assert len(rules) == len(split.tlds)
    for rule in rules:
        name = rule.removeprefix("!").removeprefix("*.")
        for host in (name, f"a.{name}", f"b.a.{name}"):
            assert suffix_list(private).suffix(host) == split(host).suffix, host
