"""Columns reduced batch by batch, against the same columns read as a whole."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.aggregations import Partition
from laion_dask.aggregations.engine.reduction import Lengths, Reduction, reduction_of
from laion_dask.errors import ShardError
from laion_dask.io.parquet import duckdb_connection, scan_duckdb
from laion_dask.text.hosts import Authorities

URLS = [
    "https://a.example/1", None, "http://b.example", "http://\\x/", "http:///c.example/1",
    "data:,x", "HTTPS://D.example/2", "https://a.example/3", "", "http:// /", "ftp://e.example/",
]  # fmt: skip
TEXTS = ["a", "", None, "é", "日本", "\0", "🦜 a", "b" * 300]


@pytest.fixture
def shard(tmp_path):
    n = 501
    table = pa.table(
        {
            "url": pa.array([URLS[i * i % len(URLS)] for i in range(n)], pa.string()),
            "text": pa.array([TEXTS[i % len(TEXTS)] for i in range(n)], pa.string()),
            "width": pa.array([None if i % 7 == 0 else i for i in range(n)], pa.int32()),
            "punsafe": pa.array(np.linspace(0, 1, n, dtype=np.float32)),
            "tags": pa.array([None if i % 5 else [str(i)] for i in range(n)]),
        }
    )
    pq.write_table(table, tmp_path / "part.parquet", row_group_size=200)
    return str(tmp_path / "part.parquet")


def measures() -> list:
    return [
        ld.describe(),
        ld.concentration("domain"),
        ld.rates("punsafe > 0.5", by=ld.domains()),
        ld.rates(None, by=ld.tlds()),
        ld.rates(None, by=[ld.domains(), ld.tlds()]),
    ]


@pytest.mark.parametrize("where", [None, "width > 30 and punsafe < 0.9"])
@pytest.mark.parametrize("rows", [1, 64, 1 << 14])
def test_batches_do_not_matter(shard, where, rows, monkeypatch):
    frame = ld.read_shards(shard, where=where, backend="pandas")
    whole = frame.map_partitions(lambda part: part, meta=frame._meta)  # no plain scan
    monkeypatch.setattr(scan_duckdb, "BATCH_ROWS", rows)
    found = ld.statistics(frame, *measures(), min_n=0)
    expected = ld.statistics(whole, *measures(), min_n=0)
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(expected), check_exact=True)
    assert str(frame.laion.summary().quantiles) == str(whole.laion.summary().quantiles)
    assert frame.laion.summary().domains.equals(whole.laion.summary().domains)
    assert frame.laion.summary().nulls.equals(whole.laion.summary().nulls)


def test_a_column_that_one_statistic_needs_is_read_as_a_whole(shard):
    frame = ld.read_shards(shard)
    types = dict.fromkeys(("url", "text"), "string") | {"punsafe": "float32"}
    described, domains = ld.describe().bind(types), ld.concentration("domain").bind(types)
    terms = ld.rates(None, by=ld.terms("gender")).bind(types)
    assert set(reduction_of([described, domains]).accumulators) == {
        ("text", Lengths),
        ("url", Authorities),
    }
    assert set(reduction_of([described, domains, terms]).accumulators) == {("url", Authorities)}
    assert reduction_of([terms]) is None
    table = ld.statistics(frame, ld.describe(), ld.rates(None, by=ld.terms("gender")), min_n=0)
    assert int(table.query("term == 'text_length'")["n"].iloc[0]) == 438


def test_what_is_kept_of_a_batch_is_small():
    batch = pa.table({"text": pa.array(TEXTS * 100), "score": pa.array([0.5] * 800)})
    reduced = Reduction({"text": (Lengths,), "score": ()})
    kept = reduced.add(batch)
    assert kept.column_names == ["text", "score"]
    assert kept["text"].nbytes == 0
    assert reduced.missing == {"text": 100}
    assert kept["score"].equals(batch["score"])  # NaN is counted in the whole column


@pytest.mark.parametrize("where", [None, "text.contains('a') and text.len() < 9", "text is None"])
def test_only_the_lengths_of_texts_are_read(tmp_path, where, monkeypatch):
    table = pa.table({"TEXT": TEXTS * 3, "LICENSE": ["?", None, "é"] * 8})
    pq.write_table(table, tmp_path / "part.parquet")
    queries, query = [], duckdb_connection.query_in_batches
    monkeypatch.setattr(
        duckdb_connection, "query_in_batches", lambda *a: queries.append(a[0]) or query(*a)
    )
    frame = ld.read_shards(str(tmp_path), where=where, backend="pandas")
    whole = frame.map_partitions(lambda part: part, meta=frame._meta)
    found, expected = frame.laion.summary(), whole.laion.summary()
    assert 'length("TEXT")' in queries[0] and 'length("LICENSE")' in queries[0]
    assert found.nulls.equals(expected.nulls) and found.quantiles.equals(expected.quantiles)


def test_text_that_is_not_utf8_is_reported_as_when_read_as_a_whole(tmp_path):
    bad = pa.array([b"good", b"\xff\xfe"] * 20, pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(bad), bad.buffers())
    pq.write_table(pa.table({"text": text, "width": range(40)}), tmp_path / "bad.parquet")
    frame = ld.read_shards(str(tmp_path / "bad.parquet"), backend="pandas")
    with pytest.raises(ShardError) as whole:
        frame.compute()
    with pytest.raises(ShardError) as reduced:
        ld.statistics(frame, ld.describe())
    assert str(reduced.value) == str(whole.value)


def test_a_reduced_column_cannot_be_read():
    table = pa.table({"text": ["a", None], "width": [1, 2]})
    reduction = Reduction({"text": (Lengths,)})
    partition = Partition(reduction.add(table), (), reduction)
    assert len(partition) == 2 and partition.table.column_names == ["width"]
    assert partition.accumulated("text", Lengths).values().tolist() == [1]
    with pytest.raises(KeyError):
        partition.accumulated("text", Authorities)
