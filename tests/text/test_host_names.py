"""The table of authorities: against one URL at a time, and kept between partitions."""

import pickle
import random
import threading

import numpy as np
import pyarrow as pa
import pytest

from laion_dask.stats.sketches.heavy_hitters import HeavyHitters
from laion_dask.text import host_names
from laion_dask.text.domains import hosts, labels_of
from laion_dask.text.host_names import NULL, OTHER, Names, names_of_thread


def authority(url):
    """The text between the slashes, NULL or OTHER."""
    if url is None:
        return NULL
    for scheme in ("http://", "https://"):
        if url.startswith(scheme):
            name = url[len(scheme) :].split("/")[0]
            settled = name.strip("\\" + "".join(map(chr, range(33)))) and ord(name[-1]) > 32
            return name if settled else OTHER
    return OTHER


def found(names, urls):
    codes = names.encode(pa.array(urls, pa.large_string())).tolist()
    written = names.written().to_pylist()
    return [written[code] if code >= 0 else code for code in codes]


def addresses(n, seed):
    draw = random.Random(seed)
    for _ in range(n):
        name = "".join(draw.choices("abc.é", k=draw.choice((0, 1, 3, 7, 8, 9, 15, 16, 17, 24, 40))))
        scheme = draw.choice(("http://", "https://", "https://", "http:/", "HTTP://", "h", ""))
        yield None if draw.random() < 0.1 else scheme + name + draw.choice(("", "/", "/a/b", "\\"))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_each_url_has_its_authority(size):
    names, urls = Names(), list(addresses(3000, size))
    for at in range(0, len(urls), size):
        batch = urls[at : at + size]
        assert found(names, batch) == [authority(url) for url in batch]
    written = names.written().to_pylist()
    assert len(set(written)) == len(written) == len(names)
    assert names.n_bytes == sum(len(name.encode()) for name in written)


def test_names_of_every_length_at_the_end_of_the_text():
    urls = [
        f"http{s}://{'x' * n}{end}" for s in ("", "s") for n in range(1, 30) for end in ("", "/")
    ]
    for url in urls:
        assert found(Names(), [url]) == [authority(url)]
    assert found(Names(), urls) == [authority(url) for url in urls]
    assert found(Names(), ["http", "http:/", "http://", "https:/", "https://"]) == [OTHER] * 5


def test_a_table_that_grows_in_the_middle_of_a_block():
    names, urls = Names(), [f"https://h{i % 20_000}.com/{i}" for i in range(30_000)]
    assert found(names, urls) == [authority(url) for url in urls]
    assert found(names, urls[::-1]) == [authority(url) for url in urls[::-1]]
    assert len(names) == 20_000


def test_what_follows_from_a_name_is_found_once():
    names, calls = Names(), []

    def lengths(known, n):
        calls.append(n)
        new = [len(name) for name in names.written(n).to_pylist()]
        return (known or []) + new

    found(names, ["http://a/", "http://bb/"])
    assert names.known_of("lengths", lengths) == [1, 2]
    found(names, ["http://bb/"])
    assert names.known_of("lengths", lengths) == [1, 2]
    found(names, ["http://ccc/"])
    assert names.known_of("lengths", lengths) == [1, 2, 3]
    assert calls == [0, 2]


def test_a_thread_keeps_its_table_while_it_is_small(monkeypatch):
    kept = names_of_thread()
    assert names_of_thread() is kept
    others = []
    thread = threading.Thread(target=lambda: others.append(names_of_thread()))
    thread.start()
    thread.join()
    assert others[0] is not kept
    found(kept, ["http://some.example/"])
    monkeypatch.setattr(host_names, "MAX_NAMES", 0)
    assert names_of_thread() is not kept


def test_labels_are_only_those_of_the_rows():
    for urls in (["http://a.one.com/"] * 3, ["http://b.two.com/", "ftp://x.three.com/"], [None]):
        coded = labels_of(hosts(pa.chunked_array([pa.array(urls, pa.string())])), "domain")
        wanted = {url.split("/")[2].partition(".")[2] for url in urls if url}
        assert set(coded.labels.to_pylist()) == wanted and (coded.counts() > 0).all()
        assert np.array_equal(coded.codes >= 0, [url is not None for url in urls])


def test_states_of_one_table_of_labels_merge_as_others_do():
    urls = [[f"https://h{i % n}.d{i % (n + 3)}.com/" for i in range(40)] for n in (5, 7, 11)]
    urls += [[], [None], ["ftp://a.d1.com/"]]
    coded = [labels_of(hosts(pa.chunked_array([pa.array(u, pa.string())])), "domain") for u in urls]
    with_table = [HeavyHitters.of(c.labels, c.counts(), 50, c.entries) for c in coded]
    without = [HeavyHitters.of(c.labels, c.counts(), 50) for c in coded]
    small = [HeavyHitters.of(c.labels, c.counts(), 4, c.entries) for c in coded]
    assert all(state.entries is not None for state in with_table)
    expected = HeavyHitters.merged(without).heavy()[0].to_pylist()
    for states in (with_table, with_table[::-1], pickle.loads(pickle.dumps(with_table)), without):
        merged = HeavyHitters.merged([HeavyHitters.merged(states[:3]), *states[3:]])
        assert merged.heavy()[0].to_pylist() == expected
        assert merged.n == 121 and merged.counts.sum() == 121
    assert not HeavyHitters.merged(small).is_exact
    assert pickle.loads(pickle.dumps(with_table[0])).entries is None
