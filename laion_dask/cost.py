"""The cost per row of a step, declared beside the verb, head or statistic that does the work.

`laion_dask.plan` reads these declarations and has no knowledge of individual verbs, heads or
statistics. A *spec* (a head, query, statistic, grouping or join spec) has an attribute ``cost``. A
verb has a function that returns the cost of a call; its row in `laion_dask.verbs` names that
function. The rates themselves are measured and stored in ``planning/rates.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeGuard

#: The inputs that a step can read for each row.
COLUMNS, EMBEDDINGS, IMAGES = "columns", "embeddings", "images"


class Work(NamedTuple):
    """Work that is not proportional to the number of rows.

    Attributes
    ----------
    rate : str
        The measured rate, whose unit is not a row.
    units : float
        The number of its units.
    tasks : int
        The most tasks that share the work.
    """

    rate: str
    units: float
    tasks: int


@dataclass(frozen=True)
class Cost:
    """The cost of one row.

    Attributes
    ----------
    rates : tuple of str
        The measured rates that apply; their times add up.
    shared : tuple of str
        Rates of work that the statistics of one pass share.
    reads : {"columns", "embeddings", "images"}
        The input that is read for each row besides ``columns``.
    columns : tuple of str
        The frame columns that are read.
    embeddings : tuple of Embeddings
        The embeddings that are read, if they are not the frame's only ones.
    flop : float
        Lower bound on the floating-point operations per row.
    label : str
        The name of the step in a plan; by default the name of the verb or of its output column.
    queries : int
        The number of queries searched at once.
    query_bytes : float
        Bytes that a process needs per query, results included.
    other_bytes : int
        Bytes read from other files, such as the table of a join.
    max_rows : int or None
        An upper bound on the rows read, regardless of the size of the frame.
    is_pass : bool
        Whether the partitions of the frame are computed; False for work on other files.
    passes : int
        How often the embeddings are read.
    work : function of the number of rows, or None
        All work of the step, as a list of `Work`, in the order of ``rates``; by default a unit of
        each rate for each row.
    notes : tuple of str
        Sentences for the reader of a plan on what the estimate omits.
    """

    rates: tuple[str, ...]
    shared: tuple[str, ...] = ()
    reads: str = COLUMNS
    columns: tuple[str, ...] = ()
    embeddings: tuple[Any, ...] = ()
    flop: float = 0.0
    label: str = ""
    queries: int = 1
    query_bytes: float = 0.0
    other_bytes: int = 0
    max_rows: int | None = None
    is_pass: bool = True
    passes: int = 1
    work: Callable[[int], list[Work]] | None = None
    notes: tuple[str, ...] = ()


class Spec(Protocol):
    """A spec that can be planned on its own, such as a head."""

    #: The verb in `laion_dask.verbs` that applies the spec.
    verb: str

    @property
    def cost(self) -> Cost:
        """The cost of one row."""


def is_spec(value: object) -> TypeGuard[Spec]:
    """Whether a value declares the cost of a row, as heads, statistics and queries do."""
    return isinstance(getattr(value, "cost", None), Cost)


class PlannedFrame(Protocol):
    """The frame being planned, as seen by the cost function of a verb.

    Only footers and headers have been read, no data.
    """

    @property
    def provenance(self) -> Any:
        """The origin of its rows: a `laion_dask.frame.provenance.Provenance`."""

    @property
    def frame(self) -> Any:
        """The frame itself."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the frame, including computed ones."""

    @property
    def column_types(self) -> Mapping[str, str]:
        """The type of every column; see `laion_dask.dtypes`."""

    @property
    def computed(self) -> frozenset[str]:
        """The columns that no shard contains."""

    @property
    def filtered(self) -> frozenset[str]:
        """The columns that the filters of the frame read."""

    def embeddings_for(self, step: str) -> Any:
        """The embeddings that a step reads: the ones passed, else the only ones of the frame.

        Raises
        ------
        OptionError
            When the frame has none or several.
        """
