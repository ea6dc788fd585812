"""Rows that a reference has: those of a set of its keys, each row counted."""

from __future__ import annotations

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pool without hashes, and a reference with them, some keys of which repeat."""
    folder = tmp_path_factory.mktemp("members")
    draw = np.random.default_rng(0)
    for name, sizes in (("pool", (150, 0, 90)), ("reference", (60, 70))):
        (folder / name).mkdir()
        for number, n in enumerate(sizes):
            ids = draw.integers(0, 200, n).tolist()
            urls = [f"http://{i}" if i % 9 else None for i in ids]
            columns = {"url": pa.array(urls, pa.string()), "text": [f"t{i % 3}" for i in ids]}
            if name == "reference":
                pairs = zip(urls, columns["text"], strict=True)
                columns["hash"] = [mmh3.hash64(f"{u or ''}{t}")[0] for u, t in pairs]
            pq.write_table(
                pa.table(columns), folder / name / f"{number}.parquet", row_group_size=40
            )
    return folder


def test_the_rows_whose_hash_the_reference_has(folder, worker_processes):
    rows = ld.read_shards(folder / "pool").compute()
    known = set(ld.read_shards(folder / "reference")["hash"].compute())
    present = rows["url"].notna()
    hashes = [mmh3.hash64(f"{u}{t}")[0] for u, t in zip(rows["url"], rows["text"], strict=True)]
    inside = np.array([h in known for h in hashes]) & present.to_numpy()
    for size in (40, 1000):
        frame = ld.read_shards(folder / "pool", max_rows_per_partition=size)
        subset = frame.laion.against_relaion(folder / "reference")
        assert subset["row"].compute().tolist() == rows["row"][inside].tolist()
        counted = subset.laion.rows()
        assert counted.kept == inside.sum() and counted.unscored == (~present).sum()
    assert subset.laion.funnel()["clause"].tolist() == ["against_relaion(by='hash')"]
    with Client(worker_processes):
        assert len(subset) == inside.sum()


def test_other_keys_and_filtered_references(folder):
    frame = ld.read_shards(folder / "pool", max_rows_per_partition=40)
    reference = ld.read_shards(folder / "reference").laion.where("text == 't1'")
    urls = set(reference["url"].dropna().compute())
    subset = frame.laion.against_relaion(reference, by="url").laion.where("text == 't1'")
    rows = frame.compute()
    assert len(subset) == (rows["url"].isin(urls) & (rows["text"] == "t1")).sum() > 0
    assert len(frame.laion.against_relaion(frame, by=["url", "text"])) == rows["url"].count()
    nothing = ld.read_shards(folder / "reference").laion.where("text == 'x'")
    assert len(frame.laion.against_relaion(nothing)) == 0


def test_keys_that_do_not_fit_are_refused(folder, write, no_compute):
    frame = ld.read_shards(folder / "pool")
    texts = write("texts.parquet", {"key": ["a"]})
    with pytest.raises(OptionError, match="holds integer in the frame and text"):
        frame.assign(key=1).laion.against_relaion(texts, by="key")
    with pytest.raises(ColumnError):
        frame.laion.against_relaion(texts, by="url")
