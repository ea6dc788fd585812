"""Tables of values by row: what was written is looked up, in any order, from any process."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import laion_dask as ld
from laion_dask.curation.row_table import (
    KEY,
    RowTable,
    keys_of,
    look_up,
    row_keys,
    shard_and_row,
    shards_per_block,
)
from laion_dask.curation.row_writer import RowWriter
from laion_dask.errors import ProvenanceError, SpillError
from laion_dask.frame.provenance import Provenance

SCHEMA = pa.schema({"keep": pa.bool_(), "group": pa.int64(), "similarity": pa.float32()})


def values_of(keys: np.ndarray) -> dict:
    shard, row = shard_and_row(keys)
    keep = [None if n % 5 == 0 else bool(n % 2) for n in row.tolist()]
    return {"keep": keep, "group": row * 3 + shard, "similarity": row.astype(np.float32) / 7}


def positions(seed: int = 0) -> np.ndarray:
    """Keys of rows of four shards, one with rows on both sides of a block's end, shuffled."""
    draw = np.random.default_rng(seed)
    rows = [draw.choice(2**20 + 500, 700, replace=False), draw.choice(900, 600, replace=False)]
    keys = [keys_of(shard, rows[shard % 2]) for shard in (0, 1, 5, 70_001)]
    return draw.permutation(np.concatenate(keys))


def built(keys: np.ndarray, pieces: int = 4, n_shards: int = 1) -> RowTable:
    writer = RowWriter.create(SCHEMA, n_shards)
    split = np.array_split(keys, pieces)
    written = [writer.write(number, part, values_of(part)) for number, part in enumerate(split)]
    return writer.finish(written[::-1], label="values")


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("n_shards", [1, 3])
def test_every_row_finds_its_values_and_others_find_null(pieces, n_shards):
    keys = positions()
    table = built(keys, pieces, n_shards)
    asked = np.random.default_rng(1).permutation(np.concatenate([keys, keys + 1, keys[:9], [-1]]))
    stored = set(keys.tolist())
    found = table.lookup(asked).to_pylist()
    expected = pa.table(values_of(asked), schema=SCHEMA).to_pylist()
    nothing = dict.fromkeys(SCHEMA.names)
    assert found == [
        row if key in stored else nothing for row, key in zip(expected, asked.tolist(), strict=True)
    ]
    assert table.n_rows == len(keys)


def test_consecutive_rows_are_found_by_position():
    keys = keys_of(3, np.arange(100, 400))
    found = built(keys).lookup(keys_of(3, np.arange(50, 450)))
    assert found["group"].to_pylist() == [
        3 * row + 3 if 100 <= row < 400 else None for row in range(50, 450)
    ]


def test_the_table_is_the_same_for_any_order_of_writes():
    keys = positions()
    contents = []
    for order in (keys, keys[::-1]):
        table = built(order, 5)
        paths = sorted(os.listdir(table.folder.path))
        contents.append({name: Path(table.folder.path, name).read_bytes() for name in paths})
    assert contents[0] == contents[1]


def test_nothing_written_finds_nothing():
    for written in (0, 1):
        writer = RowWriter.create(SCHEMA, 1)
        parts = [
            writer.write(n, keys_of([], []), values_of(keys_of([], []))) for n in range(written)
        ]
        table = writer.finish(parts, label="nothing")
        assert table.lookup(keys_of([0], [0])).to_pylist() == [dict.fromkeys(SCHEMA.names)]
        assert len(table.lookup(keys_of([], []))) == 0


def test_a_row_written_twice_is_an_error_that_names_it():
    writer = RowWriter.create(SCHEMA, 1)
    keys = keys_of(2, [7, 8])
    written = [writer.write(n, keys[n:], values_of(keys[n:])) for n in range(2)]
    with pytest.raises(ProvenanceError, match=r"more than once, such as row 8 of shard 2"):
        writer.finish(written, label="values")


def test_a_table_pickles_and_its_folder_lives_as_long_as_it_does():
    table = built(positions())
    path = table.folder.path
    copy = pickle.loads(pickle.dumps(table))
    keys = positions()[:50]
    assert copy.lookup(keys).equals(table.lookup(keys))
    del copy
    assert os.path.isdir(path)
    del table
    assert not os.path.exists(path)


def test_a_lost_folder_is_an_error_and_not_null(tmp_path):
    with dask.config.set(temporary_directory=str(tmp_path)):
        table = built(positions())
    assert table.folder.path.startswith(str(tmp_path))
    for name in os.listdir(table.folder.path):
        os.remove(os.path.join(table.folder.path, name))
    with pytest.raises(SpillError, match="temporary folder"):
        table.lookup(positions())


def test_rows_without_identity_have_no_key():
    part = pd.DataFrame(
        {
            "shard": pd.array([0, None, 2, -1], "Int32"),
            "row": pd.array([5, 1, None, 3], "Int64"),
        },
        index=[3, 1, 4, 1],
    )
    keys, valid = row_keys(part)
    assert valid.tolist() == [True, False, False, False] and keys[0] == keys_of(0, 5)
    looked_up = look_up(part, built(keys_of([0], [5])), ("group", "keep"))
    assert looked_up["group"].tolist()[:1] == [15] and looked_up["group"].isna().sum() == 3
    assert looked_up.index.tolist() == [3, 1, 4, 1] and str(looked_up["keep"].dtype) == "boolean"


def test_small_shards_share_a_block(laion_shards):
    frame = ld.read_shards(laion_shards(5, 0, 3))
    assert shards_per_block(Provenance.of(frame)) == 2**20 // 5
    assert shards_per_block(Provenance.of(frame.persist())) == 1
    assert KEY not in frame.columns
