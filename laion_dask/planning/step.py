"""A step of a plan, and how it is counted from what is known of a frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from laion_dask.errors import OptionError, argument
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.planning.inputs import Data, embeddings_of, vectors_of
from laion_dask.schema import PROVENANCE


@dataclass(frozen=True)
class Step:
    """One line of a plan, before it is known who does it.

    Attributes
    ----------
    name : str
        As it is printed.
    rate : str
        What rate it goes by; see `Rate.step`.
    rows : int
    metadata_bytes, embedding_bytes : int
        Read from Parquet and from embeddings.
    row_bytes : float
        Of a row of embeddings; 0 where none are read.
    flop : float
        Multiplications and additions a row, at least.
    row_memory : float
        Bytes of a row while its partition is held.
    held, most_held : int
        Bytes of all embeddings, and how many of them a process holds at most.
    queries : int
    query_bytes : float
        That a process holds of each query and of what it has found for it.
    columns : tuple of str, or None
        Of the frame that it needs; None for all.
    notes : tuple of str
        What the numbers leave out.
    """

    name: str
    rate: str
    rows: int
    metadata_bytes: int
    embedding_bytes: int = 0
    row_bytes: float = 0.0
    flop: float = 0.0
    row_memory: float = 0.0
    held: int = 0
    most_held: int = 0
    queries: int = 1
    query_bytes: float = 0.0
    columns: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def resident(self) -> int:
        """Bytes that a process holds of embeddings."""
        return min(self.held, self.most_held)

    @property
    def bytes_read(self) -> int:
        return self.metadata_bytes + self.embedding_bytes

    def times(self, factor: float) -> Step:
        """The same step over so many times the rows."""
        numbers = ("rows", "metadata_bytes", "embedding_bytes", "held")
        return replace(self, **{name: round(getattr(self, name) * factor) for name in numbers})


@dataclass(frozen=True)
class Job:
    """What steps are made from."""

    provenance: Provenance
    data: Data
    embeddings: Embeddings | None

    def over_columns(self, name: str, columns: Iterable[str], *notes: str) -> Step:
        """A step that reads columns, those of the frame's filters with them."""
        columns = tuple(columns)
        read = [c for c in {*columns, *self.data.filtered} if c in self.data.kinds]
        return Step(
            name,
            name,
            self.data.rows,
            self.data.stored(read),
            row_memory=self.data.row_memory({*columns, *self.data.filtered}),
            columns=columns,
            notes=notes,
        )

    def over_embeddings(self, name: str, rate: str, flop: float, *notes: str, queries=1) -> Step:
        """A step that reads every row's embedding, and of the metadata what the filter needs."""
        vectors = vectors_of(self.data, self.needed(name))
        filtered = self.data.filtered
        return Step(
            name,
            rate,
            self.data.rows,
            self.data.stored(filtered),
            vectors.stored,
            vectors.row_bytes,
            flop * vectors.dim * queries,
            self.data.row_memory(filtered),
            vectors.held,
            vectors.most_held,
            queries,
            columns=PROVENANCE,
            notes=notes,
        )

    def needed(self, name: str) -> Embeddings:
        """The embeddings that a step reads: those given, else the only ones of the frame.

        Raises
        ------
        OptionError
            When there are none, or several.
        """
        found = self.embeddings
        if found is None:
            found = embeddings_of(self.provenance, None)
        if found is None:
            raise OptionError(
                f"{name} reads embeddings, and none are known. Give {argument('embeddings')}, as "
                "ld.open_embeddings(...) returns them; the frame was not scored with any."
            )
        return found
