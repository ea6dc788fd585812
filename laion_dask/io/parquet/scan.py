"""Read one partition: the requested columns of the rows that pass the filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from dask.dataframe import methods

from laion_dask.backend import Frame, frame_from_arrow, frame_to_arrow
from laion_dask.io.parquet import scan_duckdb
from laion_dask.io.parquet.footer import check_unchanged
from laion_dask.io.parquet.scan_batches import Each
from laion_dask.io.parquet.scan_cudf import known_values
from laion_dask.io.parquet.scan_group import Query, read_pieces
from laion_dask.io.parquet.scan_piece import read_on_gpu
from laion_dask.io.parquet.scan_spec import ScanSpec
from laion_dask.io.parquet.shard import Piece, Read, ScanPartition, joined
from laion_dask.predicate.prune import may_pass


@dataclass(frozen=True)
class Scan(ScanSpec):
    """Reads a partition when called, using cuDF, DuckDB or the careful pyarrow reader."""

    def __call__(self, partition: ScanPartition, columns: list[str]) -> Frame:
        """Read a partition.

        Parameters
        ----------
        partition : ScanPartition
        columns : list of str
            The columns to read, in this order; empty if Dask only counts rows.

        Raises
        ------
        ShardError
            When a shard is damaged, or its text is not valid UTF-8.
        SchemaError
            When a value cannot be converted to its column's common type exactly.
        """
        names = list(columns) or ["row"]
        pieces = self._pieces_that_may_pass(partition)
        if not pieces:
            frame = self.meta()[names]
        elif self.backend == "cudf":
            frame = _concatenated([self._with_cudf(piece, names) for piece in pieces])
        else:
            frame = frame_from_arrow(self._read(pieces, names, scan_duckdb.kept).table, "pandas")
        return frame if columns else frame[[]]

    def read(self, partition: ScanPartition, columns: list[str], each: Each | None = None) -> Read:
        """Read a partition as an Arrow table and count the rows that it omits, in a single scan.

        If ``each`` is given, it is passed batches of rows, in order, and what it keeps of them is
        concatenated; `NotInBatches` then replaces the errors of damaged files and of rows.
        Otherwise raises the same errors as a call.
        """
        return self._read(partition.pieces, columns or ["row"], scan_duckdb.kept_and_unscored, each)

    def counts(self, partition: ScanPartition) -> tuple[int, int]:
        """Count the unscored and rejected rows of a partition without reading other columns."""
        result = self._read(partition.pieces, ["row"], scan_duckdb.unscored)
        return result.unscored, result.rejected

    def _pieces_that_may_pass(self, partition: ScanPartition) -> Sequence[Piece]:
        """The pieces of a partition, without those that their folder names exclude already."""
        if self.where is None or not any(piece.shard.partition for piece in partition.pieces):
            return partition.pieces
        pieces = []
        for piece in partition.pieces:
            if may_pass(self.where, known_values(piece.shard)):
                pieces.append(piece)
            else:
                check_unchanged(piece.shard.path, piece.shard.footer_sha256)
        return pieces

    def _read(
        self, pieces: Sequence[Piece], names: list[str], query: Query, each: Each | None = None
    ) -> Read:
        if self.backend != "cudf":
            return read_pieces(self, pieces, names, query, each)
        result = joined([self._read_with_cudf(piece, names, query) for piece in pieces])
        return result if each is None else replace(result, table=each.keep(result.table))

    def _read_with_cudf(self, piece: Piece, names: list[str], query: Query) -> Read:
        result = read_on_gpu(self, piece, names, counted=True)
        if result is None:
            return read_pieces(self, [piece], names, query)
        frame, unscored = result
        types = dict(self.types)
        table = frame_to_arrow(frame)
        table = table.cast(pa.schema([(name, types[name]) for name in table.column_names]))
        return Read(table, unscored, 0)

    def _with_cudf(self, piece: Piece, names: list[str]) -> Frame:
        result = read_on_gpu(self, piece, names, counted=False)
        if result is not None:
            return result[0]
        table = read_pieces(self, [piece], names, scan_duckdb.kept).table
        return frame_from_arrow(table, "cudf")


def _concatenated(frames: Sequence[Frame]) -> Frame:
    return frames[0] if len(frames) == 1 else methods.concat(frames).reset_index(drop=True)
