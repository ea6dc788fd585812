"""Look up rows of a table by key: the work of a join on one partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import frame_from_arrow, frame_to_arrow, is_cudf
from laion_dask.cost import Cost
from laion_dask.errors import JoinError, argument
from laion_dask.io.parquet.duckdb_connection import key_hashes
from laion_dask.io.parquet.shard import PROVENANCE_TYPES, Shard
from laion_dask.joins.keys import to_key_type
from laion_dask.joins.size import stored_bytes
from laion_dask.schema import PROVENANCE

#: The column that rows are shuffled by: the key if it is a single integer, else a hash of it.
KEY_HASH = "key_hash"


@dataclass(frozen=True)
class JoinSpec:
    """The parameters of a join: small, and the same for every partition.

    Attributes
    ----------
    on : tuple of str
    key_types : tuple of Arrow types
        The types in which keys are compared.
    values : tuple of (column of the table, column of the result, Arrow type)
    how : {"left", "inner"}
    duplicates : {"error", "first"}
    where : tuple of str
        The filters on the table.
    shards : tuple of Shard
        The files of the table.
    on_disk : bool
        Whether the table exceeds memory, so that the join uses buckets on disk.
    """

    on: tuple[str, ...]
    key_types: tuple[pa.DataType, ...]
    values: tuple[tuple[str, str, pa.DataType], ...]
    how: str
    duplicates: str
    where: tuple[str, ...]
    shards: tuple[Shard, ...]

    on_disk: bool = False

    def __dask_tokenize__(self):
        return ("laion_dask.JoinSpec", repr(self))

    @property
    def cost(self) -> Cost:
        """The cost per row of a key lookup; see `laion_dask.cost`. Reads footers only."""
        columns = {*self.on, *(name for name, _, _ in self.values)}
        rate = "join on disk" if self.on_disk else "join"
        label = f"join on {', '.join(self.on)}"
        n_bytes = stored_bytes(self.shards, columns)
        return Cost((rate,), columns=self.on, other_bytes=n_bytes, label=label)

    @property
    def key_names(self) -> list[str]:
        """The key columns besides `KEY_HASH`; empty for a single integer."""
        one_integer = len(self.on) == 1 and pa.types.is_integer(self.key_types[0])
        return [] if one_integer else [f"key_{i}" for i in range(len(self.on))]

    @property
    def value_names(self) -> list[str]:
        """The value columns."""
        return [f"value_{i}" for i in range(len(self.values))]

    @property
    def matched(self) -> str:
        """The column of an inner join that is true for matched rows and null for others."""
        return f"matched_on_{'_'.join(self.on)}"

    def key_schema(self) -> list[pa.Field]:
        """The fields of shuffled keys."""
        keys = zip(self.key_names, self.key_types, strict=False)
        return [pa.field(KEY_HASH, pa.int64()), *(pa.field(*key) for key in keys)]

    def value_schema(self) -> list[pa.Field]:
        """The fields of shuffled values."""
        types = [type_ for _, _, type_ in self.values]
        return [pa.field(*v) for v in zip(self.value_names, types, strict=True)]

    def result_schema(self) -> pa.Schema:
        """The schema of the columns to add to a partition."""
        fields = [pa.field(name, type_) for _, name, type_ in self.values]
        fields += [pa.field(self.matched, pa.bool_())] if self.how == "inner" else []
        return pa.schema(fields)

    def recipe(self) -> dict:
        """The join as a manifest records it."""
        inputs = [
            {"path": s.path, "rows": s.n_rows, "bytes": s.size, "footer_sha256": s.footer_sha256}
            for s in self.shards
        ]
        return {
            "join": list(self.on),
            "how": self.how,
            "duplicates": self.duplicates,
            "columns": {new: old for old, new, _ in self.values},
            "where": list(self.where),
            "inputs": inputs,
        }


def keys_of(frame, spec: JoinSpec) -> tuple[pa.Table, np.ndarray]:
    """The keys of a partition, and a mask of those that are neither null nor NaN."""
    table = frame_to_arrow(frame[list(spec.on)].reset_index(drop=True))
    columns = [
        to_key_type(table[name], type_, name)
        for name, type_ in zip(spec.on, spec.key_types, strict=True)
    ]
    valid = np.ones(len(table), bool)
    for column in columns:
        valid &= column.is_valid().to_numpy()
    if spec.key_names:
        return _with_hashes(key_hashes(columns), columns, spec), valid
    integers = pc.fill_null(columns[0], 0).to_numpy().view(np.int64)
    return _with_hashes(integers, [], spec), valid


def _with_hashes(hashes: np.ndarray, columns: list, spec: JoinSpec) -> pa.Table:
    return pa.Table.from_arrays([pa.array(hashes), *columns], schema=pa.schema(spec.key_schema()))


def table_part(part, spec: JoinSpec) -> pa.Table:
    """A partition of the table: keys, values, and the shard and row of each row."""
    keys, valid = keys_of(part, spec)
    arrow = frame_to_arrow(part.reset_index(drop=True))
    columns = [arrow[old].cast(type_) for old, _, type_ in spec.values]
    columns += [arrow[name].cast(type_) for name, type_ in PROVENANCE_TYPES.items()]
    table = pa.Table.from_arrays([*keys.columns, *columns], schema=table_schema(spec))
    return table if valid.all() else table.filter(pa.array(valid))


def table_schema(spec: JoinSpec) -> pa.Schema:
    """The schema of `table_part`."""
    provenance = [pa.field(*item) for item in PROVENANCE_TYPES.items()]
    return pa.schema([*spec.key_schema(), *spec.value_schema(), *provenance])


class Lookup:
    """Rows of a table, sorted by the hash of their key, with distinct keys.

    Parameters
    ----------
    table : pyarrow.Table
        The concatenated results of `table_part`.
    spec : JoinSpec

    Attributes
    ----------
    duplicates : int
        The number of rows omitted because an earlier row has the same key.
    rows : (n,) int64 array
        The position of each row in the table, in file order.

    Raises
    ------
    JoinError
        When a key occurs twice and ``duplicates`` is ``"error"``.
    """

    def __init__(self, table: pa.Table, spec: JoinSpec):
        if set(PROVENANCE) <= set(table.column_names):
            table = in_file_order(table)
        order = _by_hash(table[KEY_HASH].to_numpy())
        repeated = _repeated(table, order, spec)
        self.duplicates = int(repeated.sum())
        if self.duplicates and spec.duplicates == "error":
            raise _duplicate_error(table, order, repeated, spec)
        table = table.select([name for name in table.column_names if name not in PROVENANCE])
        self.rows = order[~repeated] if self.duplicates else order
        table = table.take(pa.array(self.rows)).combine_chunks()
        self.hashes = table[KEY_HASH].to_numpy()
        self.keys = table.select(spec.key_names)
        self.values = table.select(spec.value_names)

    def match(self, keys: pa.Table, valid: np.ndarray) -> pa.Array:
        """The position in the lookup of each key; null without a match.

        Parameters
        ----------
        keys : pyarrow.Table of n rows
        valid : (n,) bool array
            As returned by `keys_of`.

        Returns
        -------
        (n,) int64 Arrow array
        """
        hashes, n = keys[KEY_HASH].to_numpy(), len(self.hashes)
        positions = np.zeros(len(hashes), np.int64)
        order = np.argsort(hashes)  # neighboring lookups then share cache lines
        positions[order] = np.searchsorted(self.hashes, hashes[order])
        is_match = np.zeros(len(hashes), bool)
        pending = np.flatnonzero(valid & (positions < n))
        while len(pending):  # one iteration, unless keys share a hash
            pending = pending[self.hashes[positions[pending]] == hashes[pending]]
            same = self._equal(keys, pending, positions[pending])
            is_match[pending[same]] = True
            pending = pending[~same]
            positions[pending] += 1
            pending = pending[positions[pending] < n]
        return pa.array(positions, mask=~is_match)

    def _equal(self, keys: pa.Table, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        same = np.ones(len(rows), bool)
        for name in self.keys.column_names:
            stored, requested = (
                self.keys[name].take(pa.array(positions)),
                keys[name].take(pa.array(rows)),
            )
            same &= pc.equal(stored, requested).to_numpy()
        return same


def _by_hash(hashes: np.ndarray) -> np.ndarray:
    """A stable argsort that is faster than NumPy's if few hashes are equal."""
    order = np.argsort(hashes)
    ordered = hashes[order]
    equal = np.zeros(len(order), bool)
    equal[1:] = ordered[1:] == ordered[:-1]
    equal[:-1] |= equal[1:]
    tied = np.flatnonzero(equal)
    order[tied] = order[tied][np.lexsort((order[tied], ordered[tied]))]
    return order


def in_file_order(table: pa.Table) -> pa.Table:
    """The rows of a table in file order."""
    shard, row = (table[name].to_numpy() for name in PROVENANCE)
    increasing = (shard[1:] > shard[:-1]) | ((shard[1:] == shard[:-1]) & (row[1:] > row[:-1]))
    return table if increasing.all() else table.take(pa.array(np.lexsort((row, shard))))


def _repeated(table: pa.Table, order: np.ndarray, spec: JoinSpec) -> np.ndarray:
    """Mask, in sorted order, of rows whose key occurs in an earlier row."""
    hashes = table[KEY_HASH].to_numpy()[order]
    after = np.zeros(len(hashes), bool)
    after[1:] = hashes[1:] == hashes[:-1]
    if not spec.key_names or not after.any():
        return after
    shared = after.copy()
    shared[:-1] |= after[1:]
    positions = np.flatnonzero(shared)
    keys = frame_from_arrow(table.select(spec.key_names).take(pa.array(order[positions])), "pandas")
    repeated = np.zeros(len(hashes), bool)
    repeated[positions] = keys.duplicated(keep="first").to_numpy()
    return repeated


def _duplicate_error(table, order, repeated, spec: JoinSpec) -> JoinError:
    position = int(np.argmax(repeated))
    second = table.slice(int(order[position]), 1).to_pylist()[0]
    names = [KEY_HASH, *spec.key_names]
    rows = table.take(pa.array(order[:position][~repeated[:position]][::-1][:64])).to_pylist()
    first = next(row for row in rows if all(row[n] == second[n] for n in names))
    value = [second[n] for n in spec.key_names or [KEY_HASH]]
    if not spec.key_names and pa.types.is_unsigned_integer(spec.key_types[0]):
        value = [value[0] % 2**64]
    key = ", ".join(f"{name} = {v!r}" for name, v in zip(spec.on, value, strict=True))
    paths = {shard.index: shard.path for shard in spec.shards}
    one, other = (f"row {r['row']:,} of {paths[r['shard']]}" for r in (first, second))
    return JoinError(
        f"The scores have the key {key} more than once: {one}, {other}. Expected unique keys, or "
        f"rows would be duplicated. Make the keys unique, or use "
        f"{argument('duplicates', 'first')} to take the first in the order of its files and rows."
    )


def build(parts: Sequence[pa.Table], spec: JoinSpec) -> Lookup:
    """Build one lookup from all partitions of a table."""
    return Lookup(pa.concat_tables(parts) if parts else table_schema(spec).empty_table(), spec)


def join_partition(part, lookup: Lookup, spec: JoinSpec):
    """The columns to add to a partition, with its index; null without a match."""
    return gained_columns(part, lookup.values, lookup.match(*keys_of(part, spec)), spec)


def gained_columns(part, values: pa.Table, matches: pa.Array, spec: JoinSpec):
    """The columns to add to a partition, from the position of each row's values."""
    columns = [column.take(matches) for column in values.columns]
    if spec.how == "inner":
        columns.append(pc.if_else(matches.is_valid(), True, pa.scalar(None, pa.bool_())))
    table = pa.Table.from_arrays(columns, schema=spec.result_schema())
    result = frame_from_arrow(table, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result
