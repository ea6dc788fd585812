"""A join by way of the disk: what is written of both sides, and what is done in a bucket.

A key is written once a partition, on both sides: so no bucket grows with how often a key occurs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import frame_from_arrow
from laion_dask.errors import JoinError
from laion_dask.joins.lookup import (
    KEY_HASH,
    JoinSpec,
    Lookup,
    gained,
    in_order,
    keyed,
    table_part,
    table_schema,
)

#: The partition of the frame that asks for a key, and the first row of the partition that has it.
PARTITION, POSITION = "partition", "position"
#: Where a key of either side is looked up.
BUCKET = "bucket"
#: Whether the table has a key that a partition asked for.
MATCHED = "matched"
#: Rows of a partition of the table that were left out for their keys, in the first that was not.
LEFT_OUT = "left_out"
_PLACE = [pa.field(PARTITION, pa.int64()), pa.field(POSITION, pa.int64())]


def row_schema(spec: JoinSpec) -> pa.Schema:
    """The columns of the table's rows in a bucket."""
    return table_schema(spec).append(pa.field(LEFT_OUT, pa.int64()))


def asked_schema(spec: JoinSpec) -> pa.Schema:
    """The columns of the keys in a bucket."""
    return pa.schema([*spec.key_schema(), *_PLACE])


def answer_schema(spec: JoinSpec) -> pa.Schema:
    """The columns of what a partition is answered, one row for each key that it asked for."""
    fields = [*asked_schema(spec), *spec.value_schema(), pa.field(MATCHED, pa.bool_())]
    return pa.schema(fields)


def empty(schema: pa.Schema) -> pd.DataFrame:
    """The meta of rows that travel."""
    return _travelling(schema.empty_table())


def _travelling(table: pa.Table) -> pd.DataFrame:
    """Rows as Dask moves them; what numbers them is NumPy's, as it is never null."""
    rows = frame_from_arrow(table, "pandas")
    never_null = {KEY_HASH, PARTITION, POSITION, LEFT_OUT} & set(table.column_names)
    return rows.assign(**{name: table[name].to_numpy() for name in sorted(never_null)})


def _as_arrow(rows: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Rows that have travelled, in the types that they had."""
    return pa.Table.from_pandas(rows[schema.names], preserve_index=False).cast(schema)


def table_rows(part, spec: JoinSpec, n_buckets: int) -> pd.DataFrame:
    """The rows of a partition of the table, each key once, with their buckets.

    Raises
    ------
    JoinError
        When a key occurs twice and the join does not say which row counts.
    """
    table = in_order(table_part(part, spec))
    again = _repeats(table, spec)
    if again.any():
        if spec.duplicates == "error":
            Lookup(table, spec)  # which names the rows
        table = table.filter(pa.array(~again))
    left_out = np.zeros(len(table), np.int64)
    left_out[:1] = np.count_nonzero(again)
    return _with_buckets(_travelling(table.append_column(LEFT_OUT, pa.array(left_out))), n_buckets)


def needed_keys(part, spec: JoinSpec, n_buckets: int, partition_info=None) -> pd.DataFrame:
    """The keys of a partition, each once, with the place that asks for it and their buckets."""
    keys, known = keyed(part, spec)
    positions, keys = np.flatnonzero(known), keys.filter(pa.array(known))
    again = _repeats(keys, spec)
    if again.any():
        positions, keys = positions[~again], keys.filter(pa.array(~again))
    number = (partition_info or {}).get("number", 0)
    place = [pa.array(np.full(len(keys), number, np.int64)), pa.array(positions)]
    asked = pa.Table.from_arrays([*keys.columns, *place], schema=asked_schema(spec))
    return _with_buckets(_travelling(asked), n_buckets)


def _repeats(table: pa.Table, spec: JoinSpec) -> np.ndarray:
    """Which rows have a key that a row before them has."""
    again = pd.Series(table[KEY_HASH].to_numpy()).duplicated().to_numpy()
    if spec.key_names and again.any():
        keys = frame_from_arrow(table.select([KEY_HASH, *spec.key_names]), "pandas")
        again = keys.duplicated().to_numpy()
    return again


def _with_buckets(rows: pd.DataFrame, n_buckets: int) -> pd.DataFrame:
    """Rows with a column that spreads their keys, however regular, over buckets."""
    spread = rows[KEY_HASH].to_numpy(np.int64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    buckets = (spread >> np.uint64(32)) * np.uint64(n_buckets) >> np.uint64(32)
    return rows.assign(**{BUCKET: buckets.astype(np.int64)})


def found_rows(keys: pd.DataFrame, rows: pd.DataFrame, spec: JoinSpec) -> pd.DataFrame:
    """The places that asked for the keys in one bucket, with the values that the table has."""
    asked, table = _as_arrow(keys, asked_schema(spec)), _as_arrow(rows, table_schema(spec))
    index = pd.Index(table[KEY_HASH].to_numpy())
    if spec.key_names or not index.is_unique:
        lookup = Lookup(table, spec)
        values, found = lookup.values, lookup.match(asked, np.ones(len(asked), bool))
    else:
        at = index.get_indexer(asked[KEY_HASH].to_numpy())
        values, found = table.select(spec.value_names), pa.array(at, mask=at < 0)
    found_values = [column.take(found) for column in values.columns]
    columns = [*asked.columns, *found_values, found.is_valid()]
    return _travelling(pa.Table.from_arrays(columns, schema=answer_schema(spec)))


def joined_apart(part, answers: pd.DataFrame, spec: JoinSpec):
    """The columns that a partition gains, from the answers to the keys that it asked for."""
    keys, known = keyed(part, spec)
    schema = answer_schema(spec)  # without what the exchange has left out
    answered = _as_arrow(answers, schema.remove(schema.get_field_index(PARTITION)))
    at = _by_position(keys, known, answered, spec)
    if at is None:
        at = _by_key(keys, known, answered, spec)
    found = pa.array(at, mask=~known)
    found = pc.if_else(answered[MATCHED].take(found), found, None)
    return gained(part, answered.select(spec.value_names), found.combine_chunks(), spec)


def _by_position(
    keys: pa.Table, known: np.ndarray, answered: pa.Table, spec: JoinSpec
) -> np.ndarray | None:
    """The answer to the key of each row; None where these are not the rows that asked.

    They are fewer where a filter of the joined frame is applied to the frame first.
    """
    hashes, positions = keys[KEY_HASH].to_numpy(), answered[POSITION].to_numpy()
    rows, first = np.flatnonzero(known), pa.array(positions)
    if len(positions) > len(rows) or (len(rows) and positions.max(initial=-1) >= len(keys)):
        return None
    if not all(keys[n].take(first).equals(answered[n]) for n in (KEY_HASH, *spec.key_names)):
        return None
    at = np.zeros(len(keys), np.int64)
    at[positions] = np.arange(len(positions))
    if len(positions) < len(rows):
        frame = frame_from_arrow(keys.take(pa.array(rows)), "pandas")
        numbers = frame.groupby(list(frame.columns), sort=False).ngroup().to_numpy()
        if numbers.max() >= len(positions):
            return None
        at[rows] = np.argsort(positions)[numbers]  # both in the order of each key's first row
    asked = answered[KEY_HASH].to_numpy()
    return at if np.array_equal(asked[at[rows]], hashes[rows]) else None


def _by_key(keys: pa.Table, known: np.ndarray, answered: pa.Table, spec: JoinSpec) -> np.ndarray:
    """The answer to the key of each row."""
    lookup = Lookup(answered, spec)
    found = lookup.match(keys, known)
    if found.null_count > np.count_nonzero(~known):
        raise JoinError(
            "The frame has other keys each time that it is computed, and a join by way of the "
            "disk computes them twice. Choose rows with frame.sample(…, random_state=0) in place "
            "of a function that draws them, or export the frame first."
        )
    at = np.zeros(len(keys), np.int64)
    at[known] = lookup.rows[found.drop_null().to_numpy()]
    return at


def count_duplicates(part: Lookup | pd.DataFrame, number: int, spec: JoinSpec) -> int:
    """How many rows of a table were left out for their key, all of it or one bucket."""
    if isinstance(part, Lookup):
        return part.duplicates
    return Lookup(_as_arrow(part, table_schema(spec)), spec).duplicates + int(part[LEFT_OUT].sum())
