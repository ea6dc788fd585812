"""Read shards by a filter with domains of URLs, which DuckDB cannot compute.

DuckDB applies the rest of the filter; the domains are found, and compared, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from laion_dask.backend import frame_from_arrow
from laion_dask.io.parquet import scan_duckdb
from laion_dask.io.parquet.scan_batches import copied
from laion_dask.io.parquet.scan_spec import ScanSpec
from laion_dask.io.parquet.shard import Piece, Read
from laion_dask.predicate import Predicate, certain_and_possible
from laion_dask.predicate.sites import split


@dataclass(frozen=True)
class SiteScan:
    """A scan whose filter needs hosts of URLs.

    Attributes
    ----------
    rest : ScanSpec
        The scan with the part of the filter that DuckDB can evaluate, or with none.
    where : Predicate
        The other part.
    """

    rest: ScanSpec
    where: Predicate

    @classmethod
    def of(cls, scan: ScanSpec) -> SiteScan | None:
        """Divide the filter of a scan; None if DuckDB can evaluate all of it."""
        if scan.where is None:
            return None
        rest, where = split(scan.where)
        return None if where is None else cls(replace(scan, where=rest), where)

    def read(
        self,
        pieces: Sequence[Piece],
        names: list[str],
        keep: Callable[[pa.Table], pa.Table],
        typed: Callable[[pa.Table, list[str]], pa.Table],
        lengths: frozenset[str],
    ) -> Read:
        """What ``keep`` keeps of each batch of rows that pass, and the number of undecided rows.

        Parameters
        ----------
        pieces, names
            As for the queries of `scan_duckdb`.
        keep : callable
            ``keep(batch)`` gets the columns ``names`` as read.
        typed : callable
            ``typed(batch, names)`` has some of the columns, with the types of the frame.
        lengths : frozenset of str
            See `scan_duckdb.kept_in_batches`; without columns of the filter.

        Raises
        ------
        duckdb.Error, pyarrow.ArrowException, OSError, SchemaError
        """
        needed, tables, n_unscored = list(self.where.columns), [], 0
        columns = list(dict.fromkeys([*names, *needed]))
        for batch in scan_duckdb.may_pass_in_batches(self.rest, pieces, columns, lengths):
            frame = frame_from_arrow(typed(batch, needed), "pandas")
            certain, possible = (m.to_numpy() for m in certain_and_possible(self.where, frame))
            if scan_duckdb.CERTAIN in batch.column_names:
                certain = certain & batch[scan_duckdb.CERTAIN].to_numpy()
            n_unscored += int(np.count_nonzero(possible & ~certain))
            tables.append(copied(keep(batch.filter(pa.array(certain)))))
        return Read(pa.concat_tables(tables), n_unscored, 0)
