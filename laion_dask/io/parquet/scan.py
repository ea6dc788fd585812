"""Read one partition of a shard: the requested columns of the rows that pass the filter."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from laion_dask.backend import frame_from_arrow, frame_to_arrow
from laion_dask.cuda_errors import is_out_of_memory
from laion_dask.errors import BackendWarning, DeviceMemoryError, LaionDaskError, parameter
from laion_dask.io.parquet import page_checksums, scan_cudf, scan_duckdb, scan_pyarrow
from laion_dask.io.parquet.common_types import family, holds_durations
from laion_dask.io.parquet.cudf_decoder import CudfDecoder
from laion_dask.io.parquet.exact_cast import cast_exactly
from laion_dask.io.parquet.footer import ARROW_ERRORS, check_unchanged, chunks_of, damaged
from laion_dask.io.parquet.scan_cudf import known_values
from laion_dask.io.parquet.scan_spec import ScanSpec
from laion_dask.io.parquet.shard import Piece, Read, Shard
from laion_dask.predicate.prune import may_pass

#: Bytes of a footer with too many column chunks to check one by one.
_LARGE_FOOTER = 1 << 20


@dataclass(frozen=True)
class Scan(ScanSpec):
    """Reads a piece when called, using cuDF, DuckDB or the careful pyarrow reader."""

    def __call__(self, piece: Piece, columns: list[str]):
        """Read a piece.

        Parameters
        ----------
        piece : Piece
        columns : list of str
            The columns to read, in this order; empty if Dask only counts rows.

        Raises
        ------
        ShardError
            When the shard is damaged, or its text is not valid UTF-8.
        SchemaError
            When a value cannot be converted to its column's common type exactly.
        """
        if self._none_can_pass(piece.shard):
            check_unchanged(piece.shard.path, piece.shard.footer_sha256)
            return self.meta()[list(columns)]
        result = self._on_gpu(piece, list(columns) or ["row"], counted=False)
        if result is None:
            table = self._read(piece, list(columns), scan_duckdb.kept).table
            result = frame_from_arrow(table, self.backend), 0
        return result[0] if columns else result[0][[]]

    def read(self, piece: Piece, columns: list[str]) -> Read:
        """Read a piece as an Arrow table and count the rows that it omits, in a single scan.

        Raises the same errors as a call.
        """
        result = self._on_gpu(piece, columns or ["row"], counted=True)
        if result is None:
            return self._read(piece, columns, scan_duckdb.kept_and_unscored)
        frame, unscored = result
        types = dict(self.types)
        table = frame_to_arrow(frame)
        table = table.cast(pa.schema([(name, types[name]) for name in table.column_names]))
        return Read(table, unscored, 0)

    def counts(self, piece: Piece) -> tuple[int, int]:
        """Count the unscored and rejected rows of a piece without reading other columns."""
        result = self._on_gpu(piece, ["row"], counted=True)
        if result is not None:
            return result[1], 0
        result = self._read(piece, [], scan_duckdb.unscored)
        return result.unscored, result.rejected

    def _none_can_pass(self, shard: Shard) -> bool:
        """Whether the folder names of a shard already exclude all of its rows."""
        if self.where is None or not shard.partition:
            return False
        return not may_pass(self.where, known_values(shard))

    def _on_gpu(self, piece: Piece, names: list[str], *, counted: bool):
        """Read with cuDF: a frame and the number of undecided rows, or None to use the CPU.

        If libcudf cannot read a file, the CPU either reads it or raises the appropriate error.
        """
        if self.backend != "cudf" or self._must_be_careful(piece.shard):
            return None
        if not scan_cudf.can_read(piece, names, self):
            return None
        try:
            return scan_cudf.read(piece, names, self, CudfDecoder(), counted=counted)
        except scan_cudf.NotText:
            return None  # the careful reader will report the row
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(
                f"GPU memory does not hold this partition of {piece.shard.path} ({error}). Read "
                f"fewer columns, or set a smaller {parameter('max_rows_per_partition')}."
            ) from error
        except scan_cudf.NotDecoded as error:
            warnings.warn(
                f"libcudf cannot read {piece.shard.path} ({error}); it is decoded on the CPU "
                "instead. Rewrite the file to have it decoded on the GPU.",
                BackendWarning,
                stacklevel=2,
            )
            return None

    def _read(self, piece: Piece, columns: list[str], scan: Callable) -> Read:
        names = columns or ["row"]
        footer = check_unchanged(piece.shard.path, piece.shard.footer_sha256)
        try:
            careful = self._must_be_careful(piece.shard) or self._must_verify(piece, names, footer)
            result = self._read_carefully(piece, names) if careful else scan(self, piece, names)
        except duckdb.Error as error:
            if not scan_pyarrow.is_about_text(error) and scan_duckdb.NOT_WHOLE not in str(error):
                raise damaged(piece.shard.path, error) from error
            result = self._read_carefully(piece, names)
        return replace(result, table=self._typed(result.table, piece, names))

    def _must_be_careful(self, shard: Shard) -> bool:
        """Whether the careful reader must be used instead of the fast one.

        The set of rejected rows must not depend on the columns that are read. The fast reader
        reserves column names that a file may use, does not support wider decimals, reads durations
        as integers, does not distinguish columns that differ only in case, and truncates the
        nanoseconds of INT96. A filter over integers that become floats must also check that no
        digit is lost.
        """
        if self.invalid_text == "reject":
            return True
        types = dict(self.types)
        used = self.where.columns if self.where else ()
        for old, new, stored in shard.columns:
            if new not in types:
                continue
            is_reserved = (
                old.lower() in (scan_duckdb.POSITION, scan_duckdb.CERTAIN) or not old or "\0" in old
            )
            is_wide = pa.types.is_decimal(stored) and stored.precision > 38
            is_inexact = (
                new in used and family(stored) == "integer" and family(types[new]) == "float"
            )
            is_reinterpreted = scan_pyarrow.is_text_in_bytes(stored, types[new]) or holds_durations(
                stored
            )
            if (
                is_reserved
                or is_wide
                or is_inexact
                or is_reinterpreted
                or old in shard.twins | shard.int96
            ):
                return True
        return False

    def _must_verify(self, piece: Piece, names: list[str], footer: bytes) -> bool:
        """Whether the careful reader must verify checksums while it reads.

        The checksums of a local shard are verified here, which leaves its pages in the page cache
        for DuckDB; from a store they would have to be read twice.
        """
        if len(footer) > _LARGE_FOOTER:
            return True
        needed = {*names, *(self.where.columns if self.where else ())}
        columns = [old for old, new, _ in piece.shard.columns if new in needed]
        chunks = chunks_of(piece, footer, columns)
        if "://" in piece.shard.path:
            return page_checksums.have_checksums(piece.shard.path, chunks)
        page_checksums.verify(piece.shard.path, chunks)
        return False

    def _read_carefully(self, piece: Piece, names: list[str]) -> Read:
        try:
            return scan_pyarrow.read(piece, names, self)
        except ARROW_ERRORS as error:
            if isinstance(error, LaionDaskError):
                raise
            raise damaged(piece.shard.path, error) from error

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
