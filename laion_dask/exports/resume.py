"""Continue an export that was killed: what its records show to be done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import pyarrow as pa

from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.fragment import Fragment, Slice, remove_fragments
from laion_dask.exports.part_schema import common_schema
from laion_dask.exports.parts import cut, default_rows_per_part
from laion_dask.exports.records import Records
from laion_dask.frame.map_with_accounting import Counted


@dataclass(frozen=True)
class Layout:
    """How the rows of an export are cut into parts.

    Attributes
    ----------
    rows_per_part : int
    schema : pyarrow.Schema
        The schema of every part.
    slices : list of list of Slice
        The slices of fragments that make up each part.
    """

    rows_per_part: int
    schema: pa.Schema
    slices: list[list[Slice]]

    @classmethod
    def of(
        cls, fragments: Sequence[Fragment], schema: pa.Schema, rows_per_part: int | None
    ) -> Layout:
        """The layout for fragments in the order of their partitions."""
        schema = common_schema(schema, [fragment.schema for fragment in fragments])
        rows_per_part = rows_per_part or default_rows_per_part(fragments, schema)
        return cls(rows_per_part, schema, cut(fragments, rows_per_part))


@dataclass(frozen=True)
class Done:
    """What a killed export has done.

    Attributes
    ----------
    partitions : dict of int to Counted
        The partitions whose rows need not be read again.
    parts : dict of int to WrittenPart
    """

    partitions: Mapping[int, Counted[list[Fragment]]] = field(default_factory=dict)
    parts: Mapping[int, WrittenPart] = field(default_factory=dict)


def done_before(
    records: Records, n_partitions: int, layout: Callable[[Sequence[Fragment]], Layout]
) -> Done:
    """What the records of an export show to be done, after their files have been checked.

    Parameters
    ----------
    records : Records
    n_partitions : int
        The number of partitions of the frame.
    layout : callable
        `Layout.of` for the export.
    """
    partitions = records.recorded_partitions()
    fragments = fragments_of(partitions)
    needed, parts = {fragment.name for fragment in fragments}, {}
    if len(partitions) == n_partitions:
        slices = layout(fragments).slices
        parts = records.recorded_parts(slices)
        missing = [one for number, one in enumerate(slices) if number not in parts]
        needed = {one.name for one in chain.from_iterable(missing)}
        remove_fragments([f.name for f in fragments if f.name not in needed], records.staging)
    lost = records.lost(fragment for fragment in fragments if fragment.name in needed)
    records.forget_partitions(lost)
    kept = {number: one for number, one in partitions.items() if number not in set(lost)}
    return Done(kept, parts)


def fragments_of(partitions: Mapping[int, Counted[list[Fragment]]]) -> list[Fragment]:
    """The fragments of partitions, in their order."""
    return list(chain.from_iterable(partitions[number].value for number in sorted(partitions)))
