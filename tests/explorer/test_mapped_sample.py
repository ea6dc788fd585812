"""A sample is what the verb `sample` draws, whatever partitions and workers did."""

import numpy as np
import pandas as pd
import pytest
from support.shards import laion_table

import laion_dask as ld
from laion_dask.explorer.sample import draw_sample


@pytest.fixture
def paths(write) -> list[str]:
    return [write(f"part_{i}.parquet", laion_table(n, i)) for i, n in enumerate((30, 1, 45))]


def rows_of(sample) -> list[tuple[int, int]]:
    return list(zip(sample.shard.tolist(), sample.row.tolist(), strict=True))


def test_a_sample_is_that_of_the_verb_in_the_order_of_shard_and_row(paths, partitioning):
    frame = ld.read_shards(paths)
    sample = draw_sample(frame, 20, seed=3)
    drawn = frame.laion.sample(n=20, seed=3).compute().sort_values(["shard", "row"])
    assert rows_of(sample) == list(zip(drawn["shard"], drawn["row"], strict=True))
    assert (sample.n, sample.n_rows, sample.is_whole) == (20, 76, False)
    page = sample.page(np.arange(20))
    for name in ("text", "url", "language", "similarity", "width", "punsafe"):
        pd.testing.assert_series_equal(
            page[name].reset_index(drop=True), drawn[name].reset_index(drop=True)
        )
    assert page["hash"].tolist() == [str(value) for value in drawn["hash"]]


def test_a_second_start_reads_no_shard(paths, no_compute, monkeypatch):
    frame = ld.read_shards(paths)
    with pytest.raises(AssertionError, match="something was computed"):
        draw_sample(frame, 20)
    with pytest.MonkeyPatch.context():
        import dask

        with dask.config.set(scheduler="synchronous"):
            first = draw_sample(frame, 20)
    again = draw_sample(ld.read_shards(paths), 20)
    assert rows_of(again) == rows_of(first)
    assert again.folder == first.folder


def test_a_sample_of_no_rows(paths):
    sample = draw_sample(ld.read_shards(paths, where="similarity > 5"))
    assert (sample.n, sample.n_rows) == (0, 0)
    assert len(sample.page(np.arange(0))) == 0
