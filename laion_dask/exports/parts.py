"""Cut the rows of an export into parts of a sensible size, and write them in parallel.

Where rows are cut depends on the rows of the export alone: part k consists of its rows from
``k * rows_per_part`` on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from laion_dask.exports.formats.base import Part, PartWriter, WrittenPart
from laion_dask.exports.formats.repeats import draws_of
from laion_dask.exports.formats.staged_files import StagingFolder
from laion_dask.exports.fragment import Fragment, Slice, read_slices, remove_fragments
from laion_dask.exports.records import Records
from laion_dask.exports.rights import rights_of
from laion_dask.exports.row_bytes import fixed_bytes
from laion_dask.runtime.tasks import Run, run_each
from laion_dask.schema import PROVENANCE

#: A part has at most so many rows, and on average at most so many bytes in memory.
_MAX_ROWS = 1_000_000
_MAX_BYTES = 256_000_000


def default_rows_per_part(fragments: Sequence[Fragment], schema: pa.Schema) -> int:
    """The number of rows of each part but the last: parts are equal, and as few as possible."""
    rows = sum(fragment.rows for fragment in fragments)
    if not rows:
        return _MAX_ROWS
    per_row = sum(map(fixed_bytes, schema.types))
    n_bytes = rows * per_row + sum(fragment.content_bytes for fragment in fragments)
    n_parts = max(-(-rows // _MAX_ROWS), -(-n_bytes // _MAX_BYTES))
    return max(1, -(-rows // n_parts))


def cut(fragments: Sequence[Fragment], rows_per_part: int) -> list[list[Slice]]:
    """The slices of fragments that make up each part; one part without slices if no row is left.

    Parameters
    ----------
    fragments : sequence of Fragment
        In the order of their partitions.
    rows_per_part : int
        At least 1.
    """
    parts: list[list[Slice]] = [[]]
    room = rows_per_part
    for fragment in fragments:
        start = 0
        while start < fragment.rows:
            if not room:
                parts.append([])
                room = rows_per_part
            stop = min(fragment.rows, start + room)
            parts[-1].append(Slice(fragment.name, start, stop))
            room -= stop - start
            start = stop
    return parts


def write_parts(
    parts: Sequence[Sequence[Slice]],
    writer: PartWriter,
    records: Records,
    schema: pa.Schema,
    done: Mapping[int, WrittenPart],
    order_by: Sequence[str] = PROVENANCE,
) -> list[WrittenPart]:
    """Write parts in parallel; remove each fragment once no other part needs it. Eager.

    Parameters
    ----------
    parts : sequence of sequence of Slice
    writer : PartWriter
    records : Records
    schema : pyarrow.Schema
        The schema of every part.
    done : mapping of int to WrittenPart
        The parts that a killed export has written.
    order_by : sequence of str
        The columns that rows are sorted by, see `laion_dask.exports.fragment.row_order`.

    Raises
    ------
    ExportError
        When a fragment cannot be read, or a part cannot be written.
    """
    todo = [(number, slices) for number, slices in enumerate(parts) if number not in done]
    written = run_each(
        _write_part,
        [(number, tuple(slices), writer, records, schema, order_by) for number, slices in todo],
        sizes=[sum(s.stop - s.start for s in slices) for _, slices in todo],
        label="write parts",
        unit="row",
        progress=None,
        after=_Uses([slices for _, slices in todo], records.staging),
    )
    return sorted([*done.values(), *written], key=lambda part: part.number)


def _write_part(
    run: Run,
    number: int,
    slices: Sequence[Slice],
    writer: PartWriter,
    records: Records,
    schema: pa.Schema,
    order_by: Sequence[str],
) -> WrittenPart:
    with run:
        table = read_slices(slices, records.staging, schema, order_by)
        files = tuple(writer.write(Part(number, table)))
        part = WrittenPart(number, len(table), files, rights_of(table), draws_of(table))
        part = records.part(part, slices)
        run.advance(len(table))
    return part


class _Uses:
    """Counts the parts that still need each fragment."""

    def __init__(self, parts: Sequence[Sequence[Slice]], staging: StagingFolder) -> None:
        self._parts, self._staging = parts, staging
        self._left = Counter(one.name for slices in parts for one in slices)
        self._lock = threading.Lock()

    def __call__(self, number: int) -> None:
        """Remove the fragments that only the part ``number``, now written, still needed."""
        names = [one.name for one in self._parts[number]]
        with self._lock:
            self._left.subtract(names)
            unused = [name for name in names if not self._left[name]]
        remove_fragments(unused, self._staging)
