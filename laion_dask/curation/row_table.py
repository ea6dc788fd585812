"""Values of rows that were computed in another pass, on disk, and looked up by shard and row.

A decision that depends on other rows, such as which of several duplicates is kept, is computed
once. Its results go to files by block of rows, so that neither a writer nor a lookup holds more
than about a million rows of them, and each partition looks up its own. A row that the pass did not
see has no values: they are null.

`laion_dask.curation.row_writer` writes such tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Frame, frame_from_arrow, frame_to_arrow, is_cudf, to_numpy
from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.shard import shards_of
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.schema import PROVENANCE

#: The column that identifies a row in tables of this module, int64: see `row_keys`.
KEY = "row_key"
#: Bits for the row number in a key; shards have fewer than 2**40 rows, and there are fewer than
#: 2**23 of them.
_ROW_BITS = 40
#: Rows of one shard in a block, as a power of two.
_BLOCK_BITS = 20


def row_keys(part: Frame) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a partition's rows, (n,) int64, and a mask of the rows that have one.

    A row without a shard or row, as from an outer merge, has none.
    """
    shard, row = (_integers(part, name) for name in PROVENANCE)
    if _within(shard, 63 - _ROW_BITS) and _within(row, _ROW_BITS):
        return keys_of(shard, row), np.ones(len(row), bool)
    valid = (shard >= 0) & (shard < 1 << 63 - _ROW_BITS) & (row >= 0) & (row < 1 << _ROW_BITS)
    return keys_of(np.where(valid, shard, 0), np.where(valid, row, 0)), valid


def distinct_row_keys(part: Frame) -> np.ndarray:
    """The keys of a partition's rows, (n,) int64, -1 for a row that has none.

    The pass that made a table sees only rows with a value. A copy of such a row without a value,
    as from a merge with repeated keys, would get the decision about the other.

    Raises
    ------
    ProvenanceError
        When a row occurs twice.
    """
    keys, valid = row_keys(part)
    keys = np.where(valid, keys, -1)
    if (keys[1:] > keys[:-1]).all():
        return keys
    ordered = np.sort(keys[valid])
    repeats = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeats):
        raise repeated_row(repeats[0])
    return keys


def repeated_row(key: np.int64) -> ProvenanceError:
    """The error for a row that a frame has twice."""
    shard, row = map(int, shard_and_row(key))
    return ProvenanceError(
        f"The frame contains rows more than once, such as row {row:,} of shard {shard}. Expected "
        "each row once, since one of its copies cannot be kept and another dropped. Check for "
        "frames that were concatenated although they share rows, for merges with repeated keys, "
        "and for shards of several data sets under the same numbers."
    )


def _within(numbers: np.ndarray, bits: int) -> bool:
    return bool(numbers.min(initial=0) >= 0 and numbers.max(initial=0) < 1 << bits)


def _integers(part: Frame, name: str) -> np.ndarray:
    """A column of integers; null is -1."""
    if isinstance(part[name].dtype, np.dtype) and part[name].dtype.kind == "i":
        return to_numpy(part[name])
    column = frame_to_arrow(part[[name]].reset_index(drop=True))[name].cast(pa.int64())
    integers: np.ndarray = pc.fill_null(column, -1).to_numpy()
    return integers


def keys_of(shard: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The keys of rows, (n,) int64; they sort like (shard, row)."""
    return (np.asarray(shard, np.int64) << _ROW_BITS) | np.asarray(row, np.int64)


def in_sorted(keys: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mask of the keys that are among chosen ones, (n,) bool.

    Parameters
    ----------
    keys : (n,) int64 array
    chosen : (m,) int64 array
        Ascending.
    """
    if not len(chosen):
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(chosen, keys), len(chosen) - 1)
    found: np.ndarray = chosen[at] == keys
    return found


def shard_and_row(keys) -> tuple[np.ndarray, np.ndarray]:
    """The shards and rows of keys, both (n,) int64."""
    return keys >> _ROW_BITS, keys & ((1 << _ROW_BITS) - 1)


def shards_per_block(provenance: Provenance) -> int:
    """How many consecutive shards share a block, so that a block has at most a million rows."""
    try:
        sizes = [shard.n_rows for shard in shards_of(provenance.partitions)]
    except ProvenanceError:  # not read from shards
        return 1
    return max(1, (1 << _BLOCK_BITS) // max(1, *sizes, 1))


@dataclass(frozen=True, eq=False)
class RowTable:
    """Values of rows on disk. Picklable; other processes need access to the same folder.

    Attributes
    ----------
    folder : SpillFolder
        Removed when no object of the creating process refers to it.
    schema : Arrow schema
        The columns of values.
    shards_per_block : int
    blocks : (n,) int64
        The numbers of the blocks that have rows, in ascending order.
    n_rows : int
    """

    folder: SpillFolder
    schema: pa.Schema
    shards_per_block: int
    blocks: np.ndarray
    n_rows: int

    def lookup(self, keys: np.ndarray) -> pa.Table:
        """The values of rows, in the order of the keys; null for rows that are not in the table.

        Reads the blocks of the keys, one at a time.

        Raises
        ------
        SpillError
            When a file of the table cannot be read.
        """
        if not len(keys):
            return self.schema.empty_table()
        needed, found = blocks_of(keys, self.shards_per_block), [self.schema.empty_table()]
        positions, start = np.full(len(keys), -1), 0
        for block, at in runs(needed):
            number = np.searchsorted(self.blocks, block)
            if number == len(self.blocks) or self.blocks[number] != block:
                continue
            stored = read_block(self.folder, block)
            where = _position(stored[KEY].to_numpy(), keys[at])
            is_stored = where >= 0
            if not is_stored.all():
                where = where[is_stored]
                at = (np.arange(at.start, at.stop) if isinstance(at, slice) else at)[is_stored]
            found.append(_taken(stored.select(self.schema.names), where))
            positions[at] = np.arange(start, start + len(where))
            start += len(where)
        values = pa.concat_tables(found).combine_chunks()
        if start == len(keys) and _ascend(positions):
            return values
        return values.take(pa.array(positions, mask=positions < 0))


def runs(numbers: np.ndarray) -> Iterator[tuple[int, slice | np.ndarray]]:
    """Each distinct number, with its positions: a slice if they follow each other."""
    changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    starts, ends = np.append(0, changes).tolist(), np.append(changes, len(numbers)).tolist()
    distinct = np.unique(numbers[starts])
    if len(distinct) == len(starts):
        for start, end in zip(starts, ends, strict=True):
            yield int(numbers[start]), slice(start, end)
    else:
        for number in distinct.tolist():
            yield number, np.flatnonzero(numbers == number)


def _taken(values: pa.Table, positions: np.ndarray) -> pa.Table:
    """Rows of a table; a slice of it if they follow each other."""
    if _ascend(positions):
        return values.slice(int(positions[0]) if len(positions) else 0, len(positions))
    return values.take(pa.array(positions))


def _ascend(positions: np.ndarray) -> bool:
    """Whether each number is the one before plus one."""
    return not len(positions) or bool(
        positions[-1] - positions[0] == len(positions) - 1
        and (positions[1:] > positions[:-1]).all()
    )


def _position(stored: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The position of each key among sorted ones; -1 if it is not there."""
    if len(stored) and stored[-1] - stored[0] == len(stored) - 1:  # consecutive rows
        positions = keys - stored[0]
        return np.where((positions >= 0) & (positions < len(stored)), positions, -1)
    positions = np.minimum(np.searchsorted(stored, keys), max(len(stored) - 1, 0))
    return np.where(stored[positions] == keys, positions, -1) if len(stored) else positions - 1


def blocks_of(keys: np.ndarray, n_shards: int) -> np.ndarray:
    """The number of the block of each row."""
    if n_shards == 1:
        return np.asarray(keys, np.int64) >> _BLOCK_BITS
    shard, row = shard_and_row(keys)
    return ((shard // n_shards) << (_ROW_BITS - _BLOCK_BITS)) | (row >> _BLOCK_BITS)


def read_block(folder: SpillFolder, block: int) -> pa.Table:
    """The rows of one block, sorted by key."""
    with folder.file(int(block), "rb") as file:
        return pa.ipc.open_file(file).read_all()


def look_up(part: Frame, table: RowTable, names: Sequence[str]) -> Frame:
    """The values of a partition's rows, with its index: a kernel for `graph.map_columns`.

    Reads ``shard`` and ``row``. Integers and booleans are nullable, floats of rows that are not in
    the table are NaN.

    Raises
    ------
    ProvenanceError
        When the partition has a row twice.
    """
    values = table.lookup(distinct_row_keys(part)).select(list(names))
    result = frame_from_arrow(values, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result


def look_up_meta(frame: Frame, schema: pa.Schema, names: Sequence[str]) -> Frame:
    """The meta of `look_up` on a frame of zero rows."""
    empty = pa.schema([schema.field(name) for name in names]).empty_table()
    result = frame_from_arrow(empty, "cudf" if is_cudf(frame) else "pandas")
    result.index = frame.index[:0]
    return result
