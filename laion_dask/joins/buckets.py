"""A join on disk: the rows that each side writes, and the work within a bucket.

Each partition of either side writes a key once, so repeated keys do not make buckets larger.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import frame_from_arrow
from laion_dask.errors import JoinError
from laion_dask.joins.key_lookup import (
    KEY_HASH,
    JoinSpec,
    Lookup,
    gained_columns,
    in_file_order,
    keys_of,
    table_part,
    table_schema,
)

#: The partition of the frame that requests a key, and the key's first row in that partition.
PARTITION, POSITION = "partition", "position"
#: The bucket in which a key of either side is looked up.
BUCKET = "bucket"
#: Whether the table contains a requested key.
MATCHED = "matched"
#: The number of duplicates that a partition of the table omitted, stored in its first other row.
LEFT_OUT = "left_out"
_REQUESTER = [pa.field(PARTITION, pa.int64()), pa.field(POSITION, pa.int64())]


def row_schema(spec: JoinSpec) -> pa.Schema:
    """The schema of the table's rows in a bucket."""
    return table_schema(spec).append(pa.field(LEFT_OUT, pa.int64()))


def request_schema(spec: JoinSpec) -> pa.Schema:
    """The schema of the requested keys in a bucket."""
    return pa.schema([*spec.key_schema(), *_REQUESTER])


def answer_schema(spec: JoinSpec) -> pa.Schema:
    """The schema of the answers to a partition, with one row for each requested key."""
    fields = [*request_schema(spec), *spec.value_schema(), pa.field(MATCHED, pa.bool_())]
    return pa.schema(fields)


def empty(schema: pa.Schema) -> pd.DataFrame:
    """An empty frame as the meta of shuffled rows."""
    return _to_shuffle(schema.empty_table())


def _to_shuffle(table: pa.Table) -> pd.DataFrame:
    """Convert rows for Dask's shuffle; integer columns without nulls get NumPy dtypes."""
    rows = frame_from_arrow(table, "pandas")
    never_null = {KEY_HASH, PARTITION, POSITION, LEFT_OUT} & set(table.column_names)
    return rows.assign(**{name: table[name].to_numpy() for name in sorted(never_null)})


def _from_shuffle(rows: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Convert shuffled rows back to their original types."""
    return pa.Table.from_pandas(rows[schema.names], preserve_index=False).cast(schema)


def table_rows(part, spec: JoinSpec, n_buckets: int) -> pd.DataFrame:
    """The rows of a partition of the table, one per key, with their buckets.

    Raises
    ------
    JoinError
        When a key occurs twice and ``duplicates`` is ``"error"``.
    """
    table = in_file_order(table_part(part, spec))
    repeated = _is_repeated(table, spec)
    if repeated.any():
        if spec.duplicates == "error":
            Lookup(table, spec)  # raises and names the rows
        table = table.filter(pa.array(~repeated))
    left_out = np.zeros(len(table), np.int64)
    left_out[:1] = np.count_nonzero(repeated)
    return _with_buckets(_to_shuffle(table.append_column(LEFT_OUT, pa.array(left_out))), n_buckets)


def request_keys(part, spec: JoinSpec, n_buckets: int, partition_info=None) -> pd.DataFrame:
    """The distinct keys of a partition, with the requesting partition and their buckets."""
    keys, valid = keys_of(part, spec)
    positions, keys = np.flatnonzero(valid), keys.filter(pa.array(valid))
    repeated = _is_repeated(keys, spec)
    if repeated.any():
        positions, keys = positions[~repeated], keys.filter(pa.array(~repeated))
    number = (partition_info or {}).get("number", 0)
    requester = [pa.array(np.full(len(keys), number, np.int64)), pa.array(positions)]
    requests = pa.Table.from_arrays([*keys.columns, *requester], schema=request_schema(spec))
    return _with_buckets(_to_shuffle(requests), n_buckets)


def _is_repeated(table: pa.Table, spec: JoinSpec) -> np.ndarray:
    """Mask of rows whose key occurs in an earlier row."""
    repeated = pd.Series(table[KEY_HASH].to_numpy()).duplicated().to_numpy()
    if spec.key_names and repeated.any():
        keys = frame_from_arrow(table.select([KEY_HASH, *spec.key_names]), "pandas")
        repeated = keys.duplicated().to_numpy()
    return repeated


def _with_buckets(rows: pd.DataFrame, n_buckets: int) -> pd.DataFrame:
    """Add the bucket of each row; even regular keys are spread evenly."""
    spread = rows[KEY_HASH].to_numpy(np.int64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    buckets = (spread >> np.uint64(32)) * np.uint64(n_buckets) >> np.uint64(32)
    return rows.assign(**{BUCKET: buckets.astype(np.int64)})


def answer_requests(keys: pd.DataFrame, rows: pd.DataFrame, spec: JoinSpec) -> pd.DataFrame:
    """Answer the requests for keys in one bucket with the values from the table."""
    requests = _from_shuffle(keys, request_schema(spec))
    table = _from_shuffle(rows, table_schema(spec))
    index = pd.Index(table[KEY_HASH].to_numpy())
    if spec.key_names or not index.is_unique:
        lookup = Lookup(table, spec)
        values, matches = lookup.values, lookup.match(requests, np.ones(len(requests), bool))
    else:
        at = index.get_indexer(requests[KEY_HASH].to_numpy())
        values, matches = table.select(spec.value_names), pa.array(at, mask=at < 0)
    matched_values = [column.take(matches) for column in values.columns]
    columns = [*requests.columns, *matched_values, matches.is_valid()]
    return _to_shuffle(pa.Table.from_arrays(columns, schema=answer_schema(spec)))


def join_answers(part, answers: pd.DataFrame, spec: JoinSpec):
    """The columns to add to a partition, from the answers to its requests."""
    keys, valid = keys_of(part, spec)
    schema = answer_schema(spec)  # without the column that the shuffle dropped
    answered = _from_shuffle(answers, schema.remove(schema.get_field_index(PARTITION)))
    positions = _by_position(keys, valid, answered, spec)
    if positions is None:
        positions = _by_key(keys, valid, answered, spec)
    matches = pa.array(positions, mask=~valid)
    matches = pc.if_else(answered[MATCHED].take(matches), matches, None)
    return gained_columns(part, answered.select(spec.value_names), matches.combine_chunks(), spec)


def _by_position(
    keys: pa.Table, valid: np.ndarray, answered: pa.Table, spec: JoinSpec
) -> np.ndarray | None:
    """The position of each row's answer; None if other rows sent the requests.

    There are fewer rows if Dask moves a filter on the joined frame before the join.
    """
    hashes, positions = keys[KEY_HASH].to_numpy(), answered[POSITION].to_numpy()
    rows, first = np.flatnonzero(valid), pa.array(positions)
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
        at[rows] = np.argsort(positions)[
            numbers
        ]  # both sides follow the order of each key's first row
    requested = answered[KEY_HASH].to_numpy()
    return at if np.array_equal(requested[at[rows]], hashes[rows]) else None


def _by_key(keys: pa.Table, valid: np.ndarray, answered: pa.Table, spec: JoinSpec) -> np.ndarray:
    """The position of each row's answer, matched by key."""
    lookup = Lookup(answered, spec)
    matches = lookup.match(keys, valid)
    if matches.null_count > np.count_nonzero(~valid):
        raise JoinError(
            "The keys of the frame differ each time it is computed, but a join through the "
            "disk computes them twice. Sample rows with frame.sample(…, random_state=0) instead "
            "of a function without a seed, or export the frame first."
        )
    at = np.zeros(len(keys), np.int64)
    at[valid] = lookup.rows[matches.drop_null().to_numpy()]
    return at


def count_duplicates(part: Lookup | pd.DataFrame, number: int, spec: JoinSpec) -> int:
    """The number of duplicate rows omitted, in a whole table or in one bucket."""
    if isinstance(part, Lookup):
        return part.duplicates
    return Lookup(_from_shuffle(part, table_schema(spec)), spec).duplicates + int(
        part[LEFT_OUT].sum()
    )
