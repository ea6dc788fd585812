"""A step of a plan: the cost of a verb or a spec, multiplied by the facts about a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import dask.dataframe as dd

from laion_dask.cost import COLUMNS, EMBEDDINGS, IMAGES, Cost, Work
from laion_dask.errors import OptionError, argument
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.planning.inputs import Data, embeddings_of, vectors_of
from laion_dask.schema import PROVENANCE


@dataclass(frozen=True)
class Step:
    """One line of a plan, before the workers are known.

    Attributes
    ----------
    name : str
        The printed name.
    rates : tuple of str
        The measured rates that apply; see `Rate.step`. The times of several add up.
    rows : int
    metadata_bytes, embedding_bytes : int
        Bytes read from Parquet and from embeddings.
    row_bytes : float
        Bytes per row of embeddings; 0 if none are read.
    flop : float
        A lower bound of the floating-point operations per row.
    row_memory : float
        Bytes per row while its partition is in memory.
    resident_bytes, max_resident_bytes : int
        Bytes of all embeddings, and the most of them that a process holds.
    queries : int
    query_bytes : float
        Bytes that a process holds for each query and its results.
    columns : tuple of str
        The columns of the frame that it reads.
    max_rows : int or None
        Maximum number of rows that it reads, however large the frame is.
    is_pass : bool
        Whether it computes the partitions of the frame.
    work : function of the number of rows, or None
        As in `laion_dask.cost.Cost`.
    notes : tuple of str
        Sentences on what the numbers do not include.
    """

    name: str
    rates: tuple[str, ...]
    rows: int
    metadata_bytes: int = 0
    embedding_bytes: int = 0
    row_bytes: float = 0.0
    flop: float = 0.0
    row_memory: float = 0.0
    resident_bytes: int = 0
    max_resident_bytes: int = 0
    queries: int = 1
    query_bytes: float = 0.0
    columns: tuple[str, ...] = ()
    max_rows: int | None = None
    is_pass: bool = True
    work: Callable[[int], list[Work]] | None = None
    notes: tuple[str, ...] = ()

    @property
    def resident(self) -> int:
        """Bytes of embeddings that a process holds."""
        return min(self.resident_bytes, self.max_resident_bytes)

    @property
    def bytes_read(self) -> int:
        return self.metadata_bytes + self.embedding_bytes

    def times(self, factor: float) -> Step:
        """The same step over ``factor`` times the rows, up to ``max_rows``."""
        if self.max_rows is not None and self.rows:
            factor = min(factor, self.max_rows / self.rows)
        numbers = ("rows", "metadata_bytes", "embedding_bytes", "resident_bytes")
        return replace(self, **{name: round(getattr(self, name) * factor) for name in numbers})


@dataclass(frozen=True)
class FrameFacts:
    """A frame whose work is planned; see `laion_dask.cost.PlannedFrame`.

    Attributes
    ----------
    provenance : Provenance
    data : Data
        The facts from its footers.
    embeddings : Embeddings or None
        The embeddings given by the caller.
    """

    provenance: Provenance
    data: Data
    embeddings: Embeddings | None

    @property
    def frame(self) -> dd.DataFrame:
        return self.provenance.frame

    @property
    def columns(self) -> tuple[str, ...]:
        return self.data.columns

    @property
    def column_types(self) -> Mapping[str, str]:
        return self.data.column_types

    @property
    def computed(self) -> frozenset[str]:
        return frozenset(self.data.columns).difference(self.data.stored_types, PROVENANCE)

    @property
    def filtered(self) -> frozenset[str]:
        return self.data.filtered

    def embeddings_for(self, step: str) -> Embeddings:
        """The embeddings that a step reads: the given ones, or the frame's only ones.

        Raises
        ------
        OptionError
            When the frame has none, or several.
        """
        embeddings = self.embeddings
        if embeddings is None:
            embeddings = embeddings_of(self.provenance, None)
        if embeddings is None:
            raise OptionError(
                f"{step} reads embeddings, but none are known. Give {argument('embeddings')}, as "
                "ld.open_embeddings(...) returns them; the frame was not scored with any."
            )
        return embeddings

    def step(self, cost: Cost, name: str) -> Step:
        """The step for all rows of the frame, whose filters also read their columns."""
        name = cost.label or name
        step = Step(
            name,
            cost.rates,
            self.data.rows,
            flop=cost.flop,
            max_rows=cost.max_rows,
            is_pass=cost.is_pass,
            work=cost.work,
            notes=cost.notes,
        )
        if cost.reads == IMAGES:
            return step
        columns = {*cost.columns, *self.data.filtered} if cost.is_pass else {*cost.columns}
        stored = self.data.stored(columns.intersection(self.data.stored_types))
        step = replace(
            step,
            metadata_bytes=stored + cost.other_bytes,
            row_memory=self.data.row_memory(columns),
            queries=cost.queries,
            query_bytes=cost.query_bytes,
            columns=cost.columns,
        )
        if cost.reads == COLUMNS:
            return step
        assert cost.reads == EMBEDDINGS, cost.reads
        embeddings_read = cost.embeddings or (self.embeddings_for(name),)
        sets = [vectors_of(self.data, embeddings) for embeddings in embeddings_read]
        return replace(
            step,
            embedding_bytes=cost.passes * sum(vectors.stored for vectors in sets),
            row_bytes=sets[0].row_bytes,
            resident_bytes=sum(vectors.resident_bytes for vectors in sets),
            max_resident_bytes=max(vectors.max_resident_bytes for vectors in sets),
            columns=(*PROVENANCE, *cost.columns),
        )
