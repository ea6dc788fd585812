"""The groups of duplicates: the ones that a loop over all rows finds."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import OptionError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    draw = np.random.default_rng(0)
    for number, n in enumerate((120, 0, 1, 60)):
        urls = [f"u{x}" if x else None for x in draw.zipf(1.5, n).clip(max=30) - 1]
        scores = pa.array(draw.normal(size=n))
        table = pa.table({"url": pa.array(urls, pa.string()), "similarity": scores})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=40)
    return folder


def by_loop(rows, best) -> dict:
    groups = defaultdict(list)
    for row in rows.to_dict("records"):
        if isinstance(row["url"], str):
            groups[row["url"]].append(row)
    return {
        url: [(one["shard"], one["row"]) for one in sorted(group, key=best)]
        for url, group in groups.items()
        if len(group) > 1
    }


@pytest.mark.parametrize("rows_per_partition", [40, 1000])
@pytest.mark.parametrize("keep", ["first", {"max": "similarity"}], ids=str)
def test_the_groups_of_a_loop(folder, keep, rows_per_partition):
    frame = ld.read_shards(folder, max_rows_per_partition=rows_per_partition)
    rows = frame.compute()
    order = (lambda r: (r["shard"], r["row"])) if keep == "first" else (lambda r: -r["similarity"])
    expected = by_loop(rows, order)
    found = frame.laion.duplicates(keep=keep, members=3)
    assert {row["url"]: (row["size"], row["members"]) for row in found.to_dict("records")} == {
        url: (len(group), group[:3]) for url, group in expected.items()
    }
    assert found["size"].is_monotonic_decreasing
    assert [m[0] for m in found["members"]] == list(zip(found["shard"], found["row"], strict=True))
    repeats = sum(len(group) - 1 for group in expected.values())
    assert found.attrs == {
        "rows": len(rows),
        "missing": rows["url"].isna().sum(),
        "groups": len(expected),
        "repeats": repeats,
    }
    assert frame.laion.dedup(keep=keep).laion.rows().dropped == repeats


def test_the_largest_groups_alone(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=40)
    every, some = frame.laion.duplicates(), frame.laion.duplicates(most=3)
    assert len(every) > 3 and some.equals(every.head(3)) and some.attrs == every.attrs


def test_no_rows_and_no_duplicates(write):
    frame = ld.read_shards(write("a/0.parquet", {"url": pa.array([], pa.string())}))
    assert frame.laion.duplicates().attrs["rows"] == 0
    frame = ld.read_shards(write("b/0.parquet", {"url": ["a", "b", None]}))
    found = frame.laion.duplicates()
    assert found.columns.tolist() == ["size", "shard", "row", "url", "members"]
    assert len(found) == 0
    assert found.attrs == {"rows": 3, "missing": 1, "groups": 0, "repeats": 0}


def test_arguments_are_checked_before_data_is_read(folder, no_compute):
    frame = ld.read_shards(folder)
    for arguments in ({"most": 0}, {"members": 0}, {"by": []}, {"keep": "best"}):
        with pytest.raises(OptionError):
            frame.laion.duplicates(**arguments)
