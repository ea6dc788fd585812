"""Read shards with DuckDB: the filter and the columns as SQL over Parquet files.

A query reads one piece, or several whole shards with consecutive numbers and the same columns; see
`laion_dask.io.parquet.scan_group`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import SchemaError
from laion_dask.io.parquet import duckdb_connection
from laion_dask.io.parquet.common_types import family, frame_type, is_uuid
from laion_dask.io.parquet.exact_cast import uuid_digits
from laion_dask.io.parquet.scan_batches import BATCH_ROWS, NotInBatches, copied
from laion_dask.io.parquet.scan_spec import ScanSpec
from laion_dask.io.parquet.shard import Piece, Read, Shard
from laion_dask.memory_pool import POOL
from laion_dask.predicate import Predicate, Sql, to_sql
from laion_dask.predicate.sql import literal, quoted
from laion_dask.runtime import cancellation

#: The error for a float that should be an integer; the careful reader then reports the row.
NOT_WHOLE = "laion_dask: a float that is not a whole number"
#: The column of a scan's result that distinguishes rows that pass from rows that may pass.
CERTAIN = "laion_dask_certain"
#: DuckDB's names for the position of a row in its file, and of a file among those of a query.
POSITION = "file_row_number"
FILE = "file_index"


def kept(scan: ScanSpec, pieces: Sequence[Piece], names: list[str]) -> Read:
    """The rows that pass."""
    sql = _conditions(scan, pieces)
    condition = sql.certain if sql else None
    return Read(_query(pieces, _select(scan, pieces, names), condition, sql), 0, 0)


def kept_in_batches(
    scan: ScanSpec,
    pieces: Sequence[Piece],
    names: list[str],
    keep: Callable[[pa.Table], pa.Table],
    lengths: frozenset[str],
) -> Read:
    """What ``keep`` keeps of each batch of rows that pass, and the number of undecided rows.

    The columns in ``lengths`` are read as the number of code points of each text, as int32.

    Raises
    ------
    NotInBatches
        When a row cannot be read.
    """
    tables, n_unscored = [], 0
    try:
        for batch in may_pass_in_batches(scan, pieces, names, lengths):
            rows, unscored = _certain(batch)
            n_unscored += unscored
            tables.append(copied(keep(rows)))
    except (duckdb.Error, pa.ArrowException, OSError, SchemaError) as error:
        raise NotInBatches(*error.args) from error
    return Read(pa.concat_tables(tables), n_unscored, 0)


def may_pass_in_batches(
    scan: ScanSpec,
    pieces: Sequence[Piece],
    names: list[str],
    lengths: frozenset[str] = frozenset(),
) -> Iterator[pa.Table]:
    """Batches of the rows that may pass, at least one; with a filter, `CERTAIN` is a column."""
    sql = _conditions(scan, pieces)
    select = _select(scan, pieces, names, lengths)
    if sql is not None:
        select = f"{select}, {sql.settled} AS {CERTAIN}"
    text, paths = _text(pieces, select, sql.possible if sql else None)
    parameters = sql.parameters if sql else {}
    functions = sql.functions if sql else ()
    batches = duckdb_connection.query_in_batches(text, paths, parameters, BATCH_ROWS, functions)
    for batch in batches:
        cancellation.check()
        yield batch


def kept_and_unscored(scan: ScanSpec, pieces: Sequence[Piece], names: list[str]) -> Read:
    """The rows that pass, and the number of undecided rows, in a single query."""
    sql = _conditions(scan, pieces)
    if sql is None:
        return kept(scan, pieces, names)
    select = f"{_select(scan, pieces, names)}, {sql.settled} AS {CERTAIN}"
    return Read(*_certain(_query(pieces, select, sql.possible, sql)), 0)


def _certain(table: pa.Table) -> tuple[pa.Table, int]:
    """The rows that pass, of those that may pass, and the number of the others."""
    if CERTAIN not in table.column_names:
        return table, 0
    certain = table[CERTAIN]
    unscored = len(table) - (pc.sum(certain, memory_pool=POOL).as_py() or 0)
    table = table.drop_columns(CERTAIN)
    if unscored:
        table = pc.filter(table, certain, memory_pool=POOL)
    return table, unscored


def unscored(scan: ScanSpec, pieces: Sequence[Piece], names: list[str]) -> Read:
    """The number of undecided rows, without reading other rows."""
    sql = _conditions(scan, pieces)
    empty = pa.schema([(n, dict(scan.types)[n]) for n in {*names, "row"}]).empty_table()
    if sql is None:
        return Read(empty, 0, 0)
    condition = f"({sql.possible}) AND NOT ({sql.settled})"
    n = _query(pieces, "count(*) AS n", condition, sql)["n"][0].as_py()
    return Read(empty, n, 0)


def texts_as_stored(scan: ScanSpec, pieces: Sequence[Piece]) -> frozenset[str]:
    """The columns of text that the shards store as text, which is read without a conversion."""
    types, texts = dict(scan.types), (pa.string(), pa.large_string())
    return frozenset(
        name
        for _, name, stored in pieces[0].shard.columns
        if stored in texts and types.get(name) == pa.large_string()
    )


def _select(
    scan: ScanSpec,
    pieces: Sequence[Piece],
    names: list[str],
    lengths: frozenset[str] = frozenset(),
) -> str:
    expressions = _expressions(pieces)
    expressions |= {n: f"length({expressions[n]})::INTEGER" for n in lengths}
    # The number of a single shard is constant and is added later.
    read = [n for n in names if n != "shard" or len(pieces) > 1] or ["row"]
    if _needs_row(scan, pieces[0].shard, names) and "row" not in read:
        read.append("row")
    return ", ".join(f"{expressions.get(n) or 'NULL'} AS {quoted(n)}" for n in read)


def _query(
    pieces: Sequence[Piece], select: str, condition: str | None, sql: Sql | None
) -> pa.Table:
    text, paths = _text(pieces, select, condition)
    if sql is None:
        return duckdb_connection.query(text, paths, {})
    return duckdb_connection.query(text, paths, sql.parameters, sql.functions)


def _text(pieces: Sequence[Piece], select: str, condition: str | None) -> tuple[str, list[str]]:
    """A query, and the files that it reads."""
    conditions = [] if condition is None else [f"({condition})"]
    piece = pieces[0]
    if not piece.is_whole:
        in_piece = f"{POSITION} >= {piece.start} AND {POSITION} < {piece.stop}"
        conditions = [in_piece, *conditions]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    # Parquet statistics ignore NaN. Without can_have_nan, DuckDB relies on them and folds isnan(x)
    # to false, so NaN passes a filter and is pruned from a count. A folder named language=en must
    # neither become a column nor replace one.
    options = f"{POSITION} => true, can_have_nan => true, hive_partitioning => false"
    text = f"SELECT {select} FROM read_parquet($paths, {options}){where}"
    return text, [piece.shard.path for piece in pieces]


def _conditions(scan: ScanSpec, pieces: Sequence[Piece]) -> Sql | None:
    if scan.where is None:
        return None
    expressions, shard = _expressions(pieces), pieces[0].shard
    types, stored = dict(scan.types), {new: t for _, new, t in shard.columns}
    columns = {
        name: _comparable(expressions.get(name), stored.get(name), types[name])
        for name in scan.where.columns
    }
    return _compiled(scan.where, tuple(columns.items()))


def _needs_row(scan: ScanSpec, shard: Shard, names: list[str]) -> bool:
    """Whether a cast may fail, so that the row number is needed for the error."""
    types, stored = dict(scan.types), {new: t for _, new, t in shard.columns}
    exact = {"string", "null"}
    return "row" not in names and any(
        n in stored and stored[n] != types[n] and family(stored[n]) not in exact for n in names
    )


@lru_cache(maxsize=64)
def _compiled(where: Predicate, columns: tuple[tuple[str, str | None], ...]) -> Sql:
    """Compile a filter; cached for shards whose columns have the same expressions."""
    return to_sql(where, dict(columns))


def _expressions(pieces: Sequence[Piece]) -> dict[str, str]:
    """The SQL expression of each of the frame's columns that the shards have."""
    shard = pieces[0].shard
    number = f"{shard.index}" if len(pieces) == 1 else f"({FILE} + {shard.index})"
    stored = {new: _as_read(quoted(old), new, type_) for old, new, type_ in shard.columns}
    from_folders = {new: literal(value) for _, new, value in shard.partition if value is not None}
    return {**stored, **from_folders, "shard": f"{number}::INTEGER", "row": POSITION}


def _as_read(column: str, name: str, stored: pa.DataType) -> str:
    """A column in SQL, with a type that compares like the frame's."""
    if is_uuid(stored):
        text = f"{column}::VARCHAR"
        return f"replace({text}, '-', '')" if uuid_digits(name, stored) else text
    if isinstance(stored, pa.BaseExtensionType):
        as_types = {"large_string": "VARCHAR", "string": "VARCHAR", "bool": "BOOLEAN"}
        sql = as_types.get(str(frame_type(stored)))
        return f"{column}::{sql}" if sql else column
    return column


def _comparable(
    expression: str | None, stored: pa.DataType | None, type_: pa.DataType
) -> str | None:
    """A column as the filter sees it: in its common type, NaN as null if that is integer.

    Bytes are only tested for null. The test is of their length, because DuckDB 2.0 reads a whole
    row group as null for ``x IS NULL`` if it has a single value besides null and no dictionary.
    """
    if expression is not None and family(type_) == "binary":
        return f"octet_length({expression})"
    if expression is None or stored is None or stored == type_:
        return expression
    if family(stored) == "null":
        return None
    if family(stored) == "float" and family(type_) == "integer":
        missing = f"{expression} IS NULL OR isnan({expression})"
        is_integer = f"{expression} = trunc({expression})"
        return (
            f"CASE WHEN {missing} THEN NULL WHEN {is_integer} THEN {expression} "
            f"ELSE error('{NOT_WHOLE}') END"
        )
    if family(stored) == "decimal" and family(type_) == "float":
        expression = f"{expression}::VARCHAR"  # parsed to the nearest float
    if family(type_) == "float":
        return f"{expression}::{'DOUBLE' if type_.bit_width == 64 else 'FLOAT'}"
    return expression
