"""Read the partitions of an export; set aside those that end the workers that read them.

A cluster cannot tell which of the tasks of a worker has ended it. So a suspected partition is read
once more, alone: if it ends its workers again, it is set aside, and its rows count as rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from laion_dask.errors import ClusterWarning, DeviceLostError, argument, warn_caller
from laion_dask.exports.fragment import Fragment, write_fragment
from laion_dask.exports.records import Records
from laion_dask.frame.accounting import Rows
from laion_dask.frame.map_with_accounting import Counted, map_with_accounting
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.shard import ScanPartition
from laion_dask.runtime import graph
from laion_dask.runtime.workers import lost_task
from laion_dask.schema import PROVENANCE

Done = dict[int, Counted[list[Fragment]]]


class PartitionReader:
    """Reads the partitions of a frame into fragments.

    Attributes
    ----------
    quarantined : dict of int to ScanPartition
        The partitions that were set aside.
    """

    def __init__(
        self, provenance: Provenance, records: Records, schema: pa.Schema, strict: bool
    ) -> None:
        self.provenance, self.records, self.schema, self.strict = (
            provenance,
            records,
            schema,
            strict,
        )
        number = provenance.number_column
        #: The columns that rows are sorted by.
        self.order_by = (*PROVENANCE, *([] if number is None else [number]))
        self.quarantined: dict[int, ScanPartition] = {}
        self._partitions = _partitions(provenance)

    def read(self, done: Mapping[int, Counted[list[Fragment]]]) -> tuple[list[Fragment], Rows]:
        """The fragments in the order of their partitions, and the number of rows. Eager.

        Parameters
        ----------
        done : mapping of int to Counted
            What is known of some partitions.

        Raises
        ------
        DeviceLostError
            When the workers of a task were lost, and it cannot be set aside.
        """
        known = dict(done)
        while True:
            try:
                fragments, rows = self._read(known)
                return sorted(fragments, key=lambda fragment: fragment.number), rows
            except DeviceLostError as error:
                suspect = self._suspect(error, known)
                if suspect is None:
                    raise
                n_known = len(known)
                known |= self.records.recorded_partitions()
                if suspect not in known and not self._survives(suspect):
                    if self.strict:
                        raise self._named(error, suspect) from error.__cause__
                    known[suspect] = self._set_aside(suspect)
                known |= self.records.recorded_partitions()
                if len(known) == n_known:  # nothing was gained, so it would end like this again
                    raise

    def _read(self, known: Done) -> tuple[list[Fragment], Rows]:
        fragments, rows = map_with_accounting(
            self.provenance,
            write_fragment,
            self.records.staging,
            self.schema,
            self.order_by,
            combine=_joined,
            label="export",
            must_account=True,
            fan_in=100,
            record=self.records.fragments,
            done=known,
        )
        assert rows is not None  # must_account
        return fragments, rows

    def _suspect(self, error: DeviceLostError, known: Done) -> int | None:
        """The partition whose task was blamed; None if rows cannot be counted by partition."""
        position = lost_task(error)
        if position is None or self._partitions is None:
            return None
        todo = [number for number in range(len(self._partitions)) if number not in known]
        return todo[position] if position < len(todo) else None

    def _survives(self, suspect: int) -> bool:
        """Read a partition alone."""
        assert self._partitions is not None
        others = range(len(self._partitions))
        try:
            self._read({n: Counted([], 0, 0, 0) for n in others if n != suspect})
        except DeviceLostError:
            return False
        return True

    def _set_aside(self, number: int) -> Counted[list[Fragment]]:
        assert self._partitions is not None
        partition = self.quarantined[number] = self._partitions[number]
        warn_caller(
            f"{_rows_of(partition)} ended every worker that read them, and are set aside: "
            f"{partition.n_rows:,} rows count as rejected. The manifest names them.",
            ClusterWarning,
        )
        return Counted([], 0, 0, partition.n_rows)

    def _named(self, error: DeviceLostError, suspect: int) -> DeviceLostError:
        assert self._partitions is not None
        return DeviceLostError(
            f"{error} The task was reading {_rows_of(self._partitions[suspect])}. "
            f"With {argument('strict', False)}, the other rows are written, and these count as "
            "rejected."
        )

    def remaining(self, provenance: Provenance) -> Provenance:
        """The provenance of a frame of the same partitions, without those that were set aside."""
        if not self.quarantined:
            return provenance
        frame = provenance.frame
        read = [n for n in range(frame.npartitions) if n not in self.quarantined]
        return Provenance.of(frame.partitions[read])

    def entries(self) -> list[dict[str, Any]]:
        """The partitions that were set aside, as the manifest lists them."""
        return [
            {
                "rows": partition.n_rows,
                "shards": [
                    {"path": piece.shard.path, "start": piece.start, "stop": piece.stop}
                    for piece in partition.pieces
                ],
            }
            for _, partition in sorted(self.quarantined.items())
        ]


def _partitions(provenance: Provenance) -> list[ScanPartition] | None:
    """The rows that each partition of the frame reads; None if they cannot be counted by it."""
    if provenance.optimized_scan is not None:
        return provenance.optimized_scan[1]
    if provenance.number_column is not None:  # another pass counts the rows of records
        return None
    partitions = provenance.partitions
    whole = provenance.frame.npartitions == len(partitions) and graph.is_partitionwise(
        provenance.frame
    )
    return partitions if whole else None


def _rows_of(partition: ScanPartition) -> str:
    pieces = partition.pieces
    first = f"rows {pieces[0].start:,} to {pieces[0].stop:,} of {pieces[0].shard.path}"
    return first if len(pieces) == 1 else f"{first} and of {len(pieces) - 1:,} more pieces"


def _joined(lists: list[list[Fragment]]) -> list[Fragment]:
    return list(chain.from_iterable(lists))
