"""Shards that share a schema are opened as those that do not."""

import warnings

import pyarrow as pa
import pytest
from support.shards import laion_table, write_shard

from laion_dask.errors import LaionDaskError
from laion_dask.io.parquet.footer import read_footer, read_footers
from laion_dask.io.parquet.shard_schema import Naming, open_shards

FLOAT_WIDTH = pa.table({"url": ["a"], "width": [1.0]})
TEXT_WIDTH = pa.table({"url": ["b"], "width": ["2"]})
NULL_WIDTH = pa.table({"url": ["c"], "width": pa.array([None], pa.string())})
LAION = laion_table(12)

#: Files by path, and the arguments of `open_shards`.
SETS = {
    "one schema": ({f"{i}.parquet": laion_table(5, i) for i in range(4)}, {}),
    "columns in another order": (
        {"a.parquet": LAION, "b.parquet": LAION.select(LAION.column_names[::-1])},
        {},
    ),
    "some without rows": (
        {"a.parquet": LAION.slice(0, 0), "b.parquet": LAION, "c.parquet": LAION.slice(0, 0)},
        {},
    ),
    "none with rows": ({"a.parquet": LAION.slice(0, 0), "b.parquet": TEXT_WIDTH.slice(0, 0)}, {}),
    "several types": ({"a.parquet": FLOAT_WIDTH, "b.parquet": LAION, "c.parquet": NULL_WIDTH}, {}),
    "types that differ": ({"a.parquet": FLOAT_WIDTH, "b.parquet": TEXT_WIDTH}, {}),
    "types that differ, not requested": (
        {"a.parquet": FLOAT_WIDTH, "b.parquet": TEXT_WIDTH},
        {"columns": ["url"]},
    ),
    "a column that no file has": ({"a.parquet": LAION, "b.parquet": LAION}, {"columns": ["x"]}),
    "a column under another name": ({"a.parquet": LAION}, {"columns": ["TEXT"]}),
    "names that differ only in case": (
        {"a.parquet": LAION, "b.parquet": pa.table({"url": ["a"], "URL": ["b"]})},
        {},
    ),
    "copies": ({"a.parquet": LAION, "b.parquet": LAION, "c.parquet": laion_table(3)}, {}),
    "hive folders": (
        {
            "LANGUAGE=en/punsafe=1/a.parquet": LAION.drop(["LANGUAGE", "punsafe"]),
            "LANGUAGE=en/punsafe=1/b.parquet": laion_table(4).drop(["LANGUAGE", "punsafe"]),
            "LANGUAGE=de/punsafe=0/a.parquet": LAION.drop(["LANGUAGE", "punsafe"]),
            "LANGUAGE=__HIVE_DEFAULT_PARTITION__/punsafe=0.5/a.parquet": LAION.drop(
                ["LANGUAGE", "punsafe"]
            ),
        },
        {},
    ),
    "hive folders with a disagreement": (
        {
            "width=1/a.parquet": pa.table({"url": ["a"], "width": [1]}),
            "width=2/a.parquet": pa.table({"url": ["b"], "width": [1]}),
        },
        {},
    ),
    "hive folders of which one has text": (
        {f"number={v}/a.parquet": laion_table(3 + i) for i, v in enumerate(["1", "2", "x"])},
        {},
    ),
    "two dialects": (
        {
            "a.parquet": LAION,
            "b.parquet": pa.table({"caption": ["a"], "url": ["b"]}),
            "c.parquet": pa.table({"caption": ["c"], "url": ["d"]}),
        },
        {},
    ),
    "a new name that no file has": ({"a.parquet": LAION}, {"rename": {"nsfw": "punsafe"}}),
    "a column renamed in some": (
        {"a.parquet": pa.table({"x": [1]}), "b.parquet": pa.table({"y": [1]})},
        {"rename": {"x": "y"}, "columns": ["y"]},
    ),
}


def outcome(footers, columns=None, rename=None):
    """The shards and types, or the error; and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = open_shards(footers, Naming(rename=rename or {}), columns)
        except LaionDaskError as error:
            result = type(error), str(error)
    return result, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("name", SETS)
def test_sharing_changes_nothing(tmp_path, name):
    files, how = SETS[name]
    paths = [write_shard(tmp_path / file, table) for file, table in files.items()]
    shared = read_footers(paths)
    separate = [read_footer(path) for path in paths]
    result, warned = outcome(shared, **how)
    assert (result, warned) == outcome(separate, **how)


def test_shards_with_one_schema_share_their_columns(tmp_path):
    paths = [write_shard(tmp_path / f"{i}.parquet", laion_table(i + 1)) for i in range(5)]
    shards, _ = open_shards(read_footers(paths), Naming())
    assert len({id(shard.columns) for shard in shards}) == 1


def test_shards_in_one_folder_share_its_values(tmp_path):
    paths = [write_shard(tmp_path / f"number=1/{i}.parquet", laion_table(i + 1)) for i in range(5)]
    shards, _ = open_shards(read_footers(paths), Naming())
    assert len({id(shard.partition) for shard in shards}) == 1
    assert shards[0].partition == (("number", "number", 1),)
