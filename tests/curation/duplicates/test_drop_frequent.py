"""Rows of frequent values are dropped; compared with pandas."""

from __future__ import annotations

import pytest
from support.shards import collection

import laion_dask as ld
from laion_dask.errors import OptionError


@pytest.mark.parametrize("by", ["text", ["text", "language"], "width"])
@pytest.mark.parametrize("limit", [1, 3, 10])
def test_the_rows_are_those_of_pandas(tmp_path, by, limit, partitioning):
    frame = ld.read_shards(collection(tmp_path, (60, 0, 45)).metadata)
    frame = frame.laion.where("height > 300")
    rows = frame.compute()
    names = [by] if isinstance(by, str) else by
    keyed = rows.dropna(subset=names)
    sizes = keyed.groupby(names)["row"].transform("size")
    expected = keyed[sizes <= limit]
    kept = frame.laion.drop_frequent(by, more_than=limit)
    found = kept.compute()
    assert set(zip(found.shard, found.row, strict=True)) == set(
        zip(expected.shard, expected.row, strict=True)
    )
    account = kept.laion.rows()
    assert account.kept == len(expected) and account.unscored == len(rows) - len(keyed)
    assert kept.laion.funnel()["after"].iloc[-1] == len(expected)


def test_a_wrong_limit_is_refused(tmp_path):
    frame = ld.read_shards(collection(tmp_path, (5,)).metadata)
    with pytest.raises(OptionError, match="more_than"):
        frame.laion.drop_frequent("text", more_than=0)
