"""A join by LAION's hash where one side, or both, have it to be computed."""

from __future__ import annotations

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import ColumnError
from laion_dask.joins import join as module

N = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hashes")
    urls = [f"http://{n}" for n in range(N)]
    texts = [None if n % 11 == 0 else f"t{n} é" for n in range(N)]
    hashes = [mmh3.hash64(u + (t or ""))[0] for u, t in zip(urls, texts, strict=True)]
    plain = {"url": urls, "text": pa.array(texts, pa.string())}
    ids = {"id": range(N)}
    scores = {"score": np.arange(N) / 2}
    write = {
        "frame": plain | ids,
        "frame-hash": plain | ids | {"hash": hashes},
        "scores": {"hash": hashes} | scores,
        "scores-plain": plain | scores,
        "no-text": {"url": urls} | ids,
    }
    for name, columns in write.items():
        (folder / name).mkdir()
        table = pa.table(columns)
        if name.startswith("scores"):  # in another order, and not all of them
            table = table.take(np.random.default_rng(0).permutation(N)[:40])
        pq.write_table(table.slice(0, 25), folder / name / "0.parquet", row_group_size=10)
        pq.write_table(table.slice(25), folder / name / "1.parquet")
    return folder


@pytest.mark.parametrize("limit", [None, 0], ids=["in memory", "on disk"])
@pytest.mark.parametrize("left", ["frame", "frame-hash"])
@pytest.mark.parametrize("right", ["scores", "scores-plain"])
def test_rows_meet_by_the_computed_hash(folder, monkeypatch, left, right, limit):
    if limit is not None:
        monkeypatch.setattr(module, "MAX_LOOKUP_BYTES", limit)
    listed = np.random.default_rng(0).permutation(N)[:40].tolist()
    for size in (15, 1000):
        frame = ld.read_shards(folder / left, max_rows_per_partition=size)
        joined = frame.laion.join(str(folder / right), on="hash")
        assert list(joined.columns) == [*frame.columns, "score"]
        table = joined.compute()
        expected = [n / 2 if n in listed else np.nan for n in table["id"].tolist()]
        np.testing.assert_array_equal(table["score"].astype(float), expected)
        inner = frame.laion.join(str(folder / right), how="inner", columns=["score"])
        counted = inner.laion.rows()
        assert (counted.kept, counted.unscored) == (40, N - 40)
        filtered = joined.laion.where("score >= 10")
        assert len(filtered) == sum(n >= 20 for n in listed)


def test_an_export_of_such_a_join(folder, tmp_path):
    frame = ld.read_shards(folder / "frame").laion.join(str(folder / "scores"))
    manifest = frame.laion.where("score > 3").laion.export(tmp_path / "out")
    assert manifest.rows.kept == len(ld.read_shards(tmp_path / "out"))


def test_a_frame_without_captions_has_no_hash(folder):
    frame = ld.read_shards(folder / "no-text")
    with pytest.raises(ColumnError, match="hash"):
        frame.laion.join(str(folder / "scores"))
