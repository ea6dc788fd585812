"""Write a `RowTable`: values of rows, in any order, from any process.

Tasks write the values of any rows, each to a file of its own, sorted by block. Then each block is
merged from those files into one, sorted by row. The table is the same for any order of writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from dask.delayed import Delayed

from laion_dask.curation.row_table import KEY, RowTable, blocks_of, repeated_row
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.runtime import graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.runtime.tasks import run_each

#: Blocks that one task merges, on average, when a table is built eagerly.
_BLOCKS_PER_TASK = 4


@dataclass(frozen=True, eq=False)
class Written:
    """A file of values: its number, and the blocks that it has rows of, in ascending order."""

    number: int
    blocks: np.ndarray


@dataclass(frozen=True, eq=False)
class RowWriter:
    """Writes a `RowTable`: many calls of `write`, from any process, then one of `finish`.

    Attributes
    ----------
    schema : Arrow schema
        The columns of values, such as ``keep`` (bool) and ``group`` (int64).
    shards_per_block : int
        See `shards_per_block`.
    unmerged, merged : SpillFolder

    Examples
    --------
    >>> import pyarrow as pa
    >>> from laion_dask.curation.row_table import keys_of
    >>> writer = RowWriter.create(pa.schema({"group": pa.int64()}), 1)
    >>> written = writer.write(0, keys_of([0, 0], [4, 2]), {"group": [7, 8]})
    >>> table = writer.finish([written], label="groups")
    >>> table.lookup(keys_of([0, 0], [2, 3]))["group"].to_pylist()
    [8, None]
    """

    schema: pa.Schema
    shards_per_block: int
    unmerged: SpillFolder
    merged: SpillFolder

    @classmethod
    def create(cls, schema: pa.Schema, n_shards: int) -> RowWriter:
        """A writer to new folders in Dask's ``temporary_directory``."""
        return cls(schema, n_shards, spill_folder(), spill_folder())

    def write(self, number: int, keys: np.ndarray, values: Mapping[str, Any] | pa.Table) -> Written:
        """Write the values of some rows.

        Parameters
        ----------
        number : int
            A number that no other call has; a call repeated with the same number replaces it.
        keys : (n,) int64
            See `keys_of`.
        values : mapping of str to array, or Arrow table
            The columns of the schema, each of n values.

        Raises
        ------
        SpillError
            When the disk is full or not writable.
        """
        columns = [pa.array(keys, pa.int64())]
        for field in self.schema:
            value = values[field.name]
            is_arrow = isinstance(value, (pa.Array, pa.ChunkedArray))
            columns.append(value.cast(field.type) if is_arrow else pa.array(value, field.type))
        table = pa.Table.from_arrays(columns, schema=self._stored)
        blocks, at = _distinct(blocks_of(keys, self.shards_per_block))
        spill.write_table(table, at, max(1, len(blocks)), number, self.unmerged)
        return Written(number, blocks)

    def merge(self, block: int, written: Sequence[Written]) -> int:
        """Merge the rows of one block into its file; return their number.

        Raises
        ------
        ProvenanceError
            When a row was written more than once, so the frame contains it more than once.
        """
        batches = []
        for one in written:
            at = int(np.searchsorted(one.blocks, block))
            if at < len(one.blocks) and one.blocks[at] == block:
                batches.append(spill.read_batch(self.unmerged, one.number, at))
        table = pa.Table.from_batches(batches, self._stored).combine_chunks()
        order = _order(table[KEY].to_numpy())
        if order is not None:
            table = table.take(pa.array(order)).combine_chunks()
        with self.merged.file(block, "wb") as file, pa.ipc.new_file(file, self._stored) as out:
            out.write_table(table)
        return len(table)

    def finish(
        self, written: Sequence[Written], *, label: str, progress: bool | None = None
    ) -> RowTable:
        """Merge all files, and return the table. Eager.

        Parameters
        ----------
        written : sequence of Written
            The results of all calls of `write`, in any order.
        label : str
            Label of the progress bar.
        progress : bool, optional
            See `laion_dask.runtime.tasks.run_each`.
        """
        n_tasks = max(1, len(_all_blocks(written)) // _BLOCKS_PER_TASK)
        items = [(number, n_tasks, written, self) for number in range(n_tasks)]
        merged = run_each(
            _merge_in_run, items, sizes=[1] * n_tasks, label=label, unit="task", progress=progress
        )
        return _table(merged, self)

    def lazily(self, written: Sequence[Delayed], n_tasks: int) -> Delayed:
        """The table of values that tasks write, as a delayed `RowTable`. Lazy.

        Parameters
        ----------
        written : sequence of Delayed
            Each a `Written`; at least one.
        n_tasks : int
            The number of tasks that merge.
        """
        plan = graph.gathered(list(written), _as_list)
        merged = graph.tasks(_merge_share, list(range(n_tasks)), n_tasks, plan, self)
        return graph.gathered(merged, _table, self)

    @property
    def _stored(self) -> pa.Schema:
        return pa.schema([pa.field(KEY, pa.int64()), *self.schema])


def _order(keys: np.ndarray) -> np.ndarray | None:
    """The order in which keys ascend; None if they do.

    Raises
    ------
    ProvenanceError
        When a key occurs twice.
    """
    if (keys[1:] > keys[:-1]).all():
        return None
    first = keys.min()
    span = int(keys.max() - first) + 1
    if span <= 4 * len(keys):  # rows close to each other: without sorting
        at = np.full(span, -1)
        at[keys - first] = np.arange(len(keys))
        order = at[at >= 0]
    else:
        order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    if len(order) < len(keys) or (ordered[1:] == ordered[:-1]).any():
        ordered = np.sort(keys)
        raise repeated_row(ordered[1:][ordered[1:] == ordered[:-1]][0])
    return order


def _distinct(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct numbers, in ascending order, and the position of each among them."""
    changes = np.flatnonzero(blocks[1:] != blocks[:-1]) + 1
    starts = np.append(0, changes)[: len(blocks)]
    distinct, at = np.unique(blocks[starts], return_inverse=True)
    return distinct, np.repeat(at, np.diff(starts, append=len(blocks)))


def _all_blocks(written: Sequence[Written]) -> np.ndarray:
    blocks = [np.empty(0, np.int64), *(one.blocks for one in written)]
    return np.unique(np.concatenate(blocks))


def _as_list(written: Sequence[Written]) -> list[Written]:
    return list(written)


def _merge_in_run(run, number: int, n_tasks: int, written, writer: RowWriter):
    with run:
        return _merge_share(number, number, n_tasks, written, writer, run.advance)


def _merge_share(
    number: int,
    _position: int,
    n_tasks: int,
    written: Sequence[Written],
    writer: RowWriter,
    advance: Callable[[int], None] = lambda n: None,
) -> list[tuple[int, int]]:
    """Merge every ``n_tasks``-th block; return the numbers of blocks and of their rows."""
    merged = []
    for block in _all_blocks(written)[number::n_tasks].tolist():
        advance(0)
        merged.append((block, writer.merge(block, written)))
    return merged


def _table(merged: Sequence[list[tuple[int, int]]], writer: RowWriter) -> RowTable:
    pairs = sorted(pair for share in merged for pair in share)
    blocks = np.array([block for block, _ in pairs], np.int64)
    n_rows = sum(n for _, n in pairs)
    return RowTable(writer.merged, writer.schema, writer.shards_per_block, blocks, n_rows)
