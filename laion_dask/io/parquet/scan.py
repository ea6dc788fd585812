"""One partition of a shard, read: the columns that were asked for, of the rows that pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import CudfDecoder, frame_from_arrow, frame_to_arrow
from laion_dask.dtypes import Kinds, kind_of_arrow
from laion_dask.errors import BackendWarning, DeviceMemoryError, LaionDaskError, parameter
from laion_dask.io.parquet import duckdb_connection, page_checksums, scan_cudf, scan_pyarrow
from laion_dask.io.parquet.common_types import family, frame_type, holds_durations, is_uuid
from laion_dask.io.parquet.exact_cast import cast_exactly, uuid_digits
from laion_dask.io.parquet.footer import ARROW_ERRORS, check_unchanged, chunks_of, damaged
from laion_dask.io.parquet.scan_cudf import known_values
from laion_dask.io.parquet.shard import Piece, Read, Shard
from laion_dask.numerics.gpu.memory import is_out_of_memory
from laion_dask.predicate import Predicate, Sql, to_sql
from laion_dask.predicate.prune import may_pass
from laion_dask.predicate.sql import literal, quoted

#: What a scan says of a float that should be an integer; the careful reader then names the row.
_NOT_WHOLE = "laion_dask: a float that is no whole number"
#: The column, in a scan's own result, that tells rows that pass from rows that may.
_CERTAIN = "laion_dask_certain"
#: Bytes of a footer whose column chunks are too many to be looked at one by one.
_LARGE_FOOTER = 1 << 20
#: DuckDB's name for the position of a row in its file.
_POSITION = "file_row_number"


@dataclass(frozen=True)
class Scan:
    """What to read of every piece; calling it reads one. Picklable, with a stable token.

    Attributes
    ----------
    types : tuple of (name, Arrow type)
        The frame's schema, provenance columns last.
    where : Predicate or None
    backend : str
    invalid_text : str
        ``"raise"`` or ``"reject"``; see `laion_dask.set_options`.
    searched : tuple of str
        The folders in which the shards were looked for.
    half : frozenset of str
        Columns that a shard stores as float16.
    """

    types: tuple[tuple[str, pa.DataType], ...]
    where: Predicate | None
    backend: str
    invalid_text: str
    searched: tuple[str, ...] = field(default=(), compare=False)
    half: frozenset[str] = field(default=frozenset(), compare=False)

    def __dask_tokenize__(self):
        where = self.where.__dask_tokenize__() if self.where else None
        types = [(name, str(type_)) for name, type_ in self.types]
        return ("laion_dask.Scan", types, where, self.backend, self.invalid_text, self.searched)

    @property
    def kinds(self) -> Kinds:
        """Every column's kind, for a ``where`` expression."""
        kinds = {name: kind_of_arrow(type_) for name, type_ in self.types}
        return Kinds.of(kinds, self.half)

    def and_where(self, predicate: Predicate) -> Scan:
        """The same scan with one more condition."""
        return replace(self, where=self.where & predicate if self.where else predicate)

    def meta(self):
        """A frame of zero rows with the scan's columns and dtypes."""
        return _empty(self.types, self.backend)

    def __call__(self, piece: Piece, columns: list[str]):
        """Read a piece.

        Parameters
        ----------
        piece : Piece
        columns : list of str
            The columns to read, in this order; Dask names them, none for a mere count of rows.

        Raises
        ------
        ShardError
            When the shard is damaged, or its text is not UTF-8.
        SchemaError
            When a value cannot take its column's common type exactly.
        """
        if self._none_can_pass(piece.shard):
            check_unchanged(piece.shard.path, piece.shard.footer_sha256)
            return self.meta()[list(columns)]
        found = self._on_card(piece, list(columns) or ["row"], counted=False)
        if found is None:
            table = self._read(piece, list(columns), self._kept).table
            found = frame_from_arrow(table, self.backend), 0
        return found[0] if columns else found[0][[]]

    def read(self, piece: Piece, columns: list[str]) -> Read:
        """Read a piece as an Arrow table, and account for the rows that are not in it.

        One scan does both; raises as calling does.
        """
        found = self._on_card(piece, columns or ["row"], counted=True)
        if found is None:
            return self._read(piece, columns, self._kept_and_unscored)
        frame, unscored = found
        types = dict(self.types)
        table = frame_to_arrow(frame)
        table = table.cast(pa.schema([(name, types[name]) for name in table.column_names]))
        return Read(table, unscored, 0)

    def counts(self, piece: Piece) -> tuple[int, int]:
        """How many rows of a piece are unscored, and how many rejected, read for that alone."""
        found = self._on_card(piece, ["row"], counted=True)
        if found is not None:
            return found[1], 0
        found = self._read(piece, [], self._unscored)
        return found.unscored, found.rejected

    def _none_can_pass(self, shard: Shard) -> bool:
        """Whether the names of a shard's folders alone say that the filter keeps none of it."""
        if self.where is None or not shard.partition:
            return False
        return not may_pass(self.where, known_values(shard))

    def _on_card(self, piece: Piece, names: list[str], *, counted: bool):
        """What cuDF finds, a frame and the undecided rows; None where the processor is to read.

        Of what libcudf does not read, that either gives the rows, or the error to be raised.
        """
        if self.backend != "cudf" or self._must_be_careful(piece.shard):
            return None
        if not scan_cudf.can_read(piece, names, self):
            return None
        try:
            return scan_cudf.read(piece, names, self, CudfDecoder(), counted=counted)
        except scan_cudf.NotText:
            return None  # the careful reader names the row
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(
                f"The card does not hold this partition of {piece.shard.path} ({error}). Read "
                f"fewer columns, or set a smaller {parameter('max_rows_per_partition')}."
            ) from error
        except scan_cudf.NotDecoded as error:
            warnings.warn(
                f"libcudf does not read {piece.shard.path} ({error}): it is decoded on the "
                "processor. Write it anew if all of it should be on the card.",
                BackendWarning,
                stacklevel=2,
            )
            return None

    def _read(self, piece: Piece, columns: list[str], scan: Callable) -> Read:
        names = columns or ["row"]
        footer = check_unchanged(piece.shard.path, piece.shard.footer_sha256)
        try:
            careful = self._must_be_careful(piece.shard) or self._must_verify(piece, names, footer)
            found = self._careful(piece, names) if careful else scan(piece, names)
        except duckdb.Error as error:
            if not scan_pyarrow.is_about_text(error) and _NOT_WHOLE not in str(error):
                raise damaged(piece.shard.path, error) from error
            found = self._careful(piece, names)
        return replace(found, table=self._typed(found.table, piece, names))

    def _must_be_careful(self, shard: Shard) -> bool:
        """Whether the fast reader would not do.

        Which rows are rejected must not depend on the columns that are read. The fast reader has
        names of its own, which a file may have taken; it knows no wider decimals, takes
        durations for integers, columns that differ in case for one, and cuts the nanoseconds of an
        INT96; and a filter over integers that become floats must see that none loses a digit.
        """
        if self.invalid_text == "reject":
            return True
        types = dict(self.types)
        used = self.where.columns if self.where else ()
        for old, new, stored in shard.columns:
            if new not in types:
                continue
            taken = old.lower() in (_POSITION, _CERTAIN) or not old or "\0" in old
            wide = pa.types.is_decimal(stored) and stored.precision > 38
            inexact = new in used and family(stored) == "integer" and family(types[new]) == "float"
            other = scan_pyarrow.is_text_in_bytes(stored, types[new]) or holds_durations(stored)
            if taken or wide or inexact or other or old in shard.twins | shard.int96:
                return True
        return False

    def _must_verify(self, piece: Piece, names: list[str], footer: bytes) -> bool:
        """Whether the careful reader has to compare checksums as it reads.

        Those of a local shard are compared here, since its pages are then in memory for DuckDB; a
        store would have to hand them over twice.
        """
        if len(footer) > _LARGE_FOOTER:
            return True
        wanted = {*names, *(self.where.columns if self.where else ())}
        columns = [old for old, new, _ in piece.shard.columns if new in wanted]
        chunks = chunks_of(piece, footer, columns)
        if "://" in piece.shard.path:
            return page_checksums.have_checksums(piece.shard.path, chunks)
        page_checksums.verify(piece.shard.path, chunks)
        return False

    def _careful(self, piece: Piece, names: list[str]) -> Read:
        try:
            return scan_pyarrow.read(piece, names, self)
        except ARROW_ERRORS as error:
            if isinstance(error, LaionDaskError):
                raise
            raise damaged(piece.shard.path, error) from error

    def _kept(self, piece: Piece, names: list[str]) -> Read:
        sql = self._conditions(piece.shard)
        condition = sql.certain if sql else None
        return Read(self._query(piece, self._select(piece, names), condition, sql), 0, 0)

    def _kept_and_unscored(self, piece: Piece, names: list[str]) -> Read:
        """Rows that pass or may pass, told apart by a column of their own."""
        sql = self._conditions(piece.shard)
        if sql is None:
            return self._kept(piece, names)
        select = f"{self._select(piece, names)}, {sql.settled} AS {_CERTAIN}"
        table = self._query(piece, select, sql.possible, sql)
        certain = table[_CERTAIN]
        unscored = len(table) - (pc.sum(certain).as_py() or 0)
        table = table.drop_columns(_CERTAIN)
        return Read(table.filter(certain) if unscored else table, unscored, 0)

    def _unscored(self, piece: Piece, names: list[str]) -> Read:
        sql = self._conditions(piece.shard)
        empty = pa.schema([(n, dict(self.types)[n]) for n in {*names, "row"}]).empty_table()
        if sql is None:
            return Read(empty, 0, 0)
        condition = f"({sql.possible}) AND NOT ({sql.settled})"
        n = self._query(piece, "count(*) AS n", condition, sql)["n"][0].as_py()
        return Read(empty, n, 0)

    def _select(self, piece: Piece, names: list[str]) -> str:
        expressions = _expressions(piece.shard)
        # The shard's number is the same in every row, and is added to what was kept.
        read = [n for n in names if n != "shard"] or ["row"]
        if self._needs_row(piece.shard, names) and "row" not in read:
            read.append("row")
        return ", ".join(f"{expressions.get(n) or 'NULL'} AS {quoted(n)}" for n in read)

    def _query(self, piece: Piece, select: str, condition: str | None, sql: Sql | None) -> pa.Table:
        conditions = [] if condition is None else [f"({condition})"]
        if piece.start > 0 or piece.stop < piece.shard.n_rows:
            run = f"{_POSITION} >= {piece.start} AND {_POSITION} < {piece.stop}"
            conditions = [run, *conditions]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        # Parquet's statistics leave NaN out; without can_have_nan DuckDB takes them at their word
        # and folds isnan(x) to false, so that NaN passes a filter and is pruned from a count. And a
        # folder named language=en must not become a column, or take the place of one.
        options = f"{_POSITION} => true, can_have_nan => true, hive_partitioning => false"
        text = f"SELECT {select} FROM read_parquet($path, {options}){where}"
        return duckdb_connection.query(text, piece.shard.path, sql.parameters if sql else {})

    def _conditions(self, shard: Shard) -> Sql | None:
        if self.where is None:
            return None
        expressions = _expressions(shard)
        types, stored = dict(self.types), {new: t for _, new, t in shard.columns}
        columns = {
            name: _comparable(expressions.get(name), stored.get(name), types[name])
            for name in self.where.columns
        }
        return _compiled(self.where, tuple(columns.items()))

    def _needs_row(self, shard: Shard, names: list[str]) -> bool:
        """Whether a cast may fail, so that the error needs the row."""
        types, stored = dict(self.types), {new: t for _, new, t in shard.columns}
        exact = {"string", "null"}
        return "row" not in names and any(
            n in stored and stored[n] != types[n] and family(stored[n]) not in exact for n in names
        )

    def _typed(self, raw: pa.Table, piece: Piece, names: list[str]) -> pa.Table:
        types = dict(self.types)
        arrays = []
        for name in names:
            if name == "shard" and name not in raw.column_names:
                arrays.append(pa.repeat(pa.scalar(piece.shard.index, pa.int32()), len(raw)))
                continue
            rows = raw["row"] if "row" in raw.column_names else raw[name]
            arrays.append(
                cast_exactly(raw[name], types[name], name=name, path=piece.shard.path, rows=rows)
            )
        return pa.Table.from_arrays(arrays, names=names)


@lru_cache(maxsize=64)
def _compiled(where: Predicate, columns: tuple[tuple[str, str | None], ...]) -> Sql:
    """A filter for every shard that spells its columns alike."""
    return to_sql(where, dict(columns))


@lru_cache(maxsize=64)
def _empty(types: tuple[tuple[str, pa.DataType], ...], backend: str):
    """A frame of zero rows."""
    return frame_from_arrow(pa.schema(types).empty_table(), backend)


def _expressions(shard: Shard) -> dict[str, str]:
    """The SQL of each of the frame's columns that a shard has."""
    stored = {new: _as_read(quoted(old), new, type_) for old, new, type_ in shard.columns}
    named = {new: literal(value) for _, new, value in shard.partition if value is not None}
    return {**stored, **named, "shard": f"{shard.index}::INTEGER", "row": _POSITION}


def _as_read(column: str, name: str, stored: pa.DataType) -> str:
    """A column in SQL, of a type that compares as the frame's would."""
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
    """A column as the filter sees it: of its common type, NaN as null where that is an integer."""
    if expression is None or stored is None or stored == type_:
        return expression
    if family(stored) == "null":
        return None
    if family(stored) == "float" and family(type_) == "integer":
        missing = f"{expression} IS NULL OR isnan({expression})"
        whole = f"{expression} = trunc({expression})"
        return (
            f"CASE WHEN {missing} THEN NULL WHEN {whole} THEN {expression} "
            f"ELSE error('{_NOT_WHOLE}') END"
        )
    if family(stored) == "decimal" and family(type_) == "float":
        expression = f"{expression}::VARCHAR"  # which is parsed to the nearest float
    if family(type_) == "float":
        return f"{expression}::{'DOUBLE' if type_.bit_width == 64 else 'FLOAT'}"
    return expression
