"""What a step of work costs a row, declared beside the verb, head or statistic that does it.

`laion_dask.plan` reads these declarations and knows no verb, head or statistic by itself. A *spec*
(a head, a query, a statistic, a grouping, the spec of a join) has an attribute ``cost``; a verb has
a function that returns the cost of a call, which its row in `laion_dask.verbs` names. The speeds
themselves are measured: ``planning/rates.json`` has them under the names used here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

#: What a step reads a row of.
COLUMNS, EMBEDDINGS, IMAGES = "columns", "embeddings", "images"


@dataclass(frozen=True)
class Cost:
    """What one row costs.

    Attributes
    ----------
    rates : tuple of str
        The measured rates that apply; the times of several add up.
    shared : tuple of str
        Rates of work that the statistics of one pass do once for all of them.
    reads : {"columns", "embeddings", "images"}
        What is read of a row besides ``columns``.
    columns : tuple of str
        The columns of the frame that are read.
    embeddings : tuple of Embeddings
        The sets of embeddings that are read, where they are not the frame's only ones.
    flop : float
        Floating-point operations a row, at least.
    label : str
        The name of the step in a plan; by default that of the verb, or the column that it computes.
    queries : int
        How many queries are searched for at once.
    query_bytes : float
        Bytes that a process holds for each query and its results.
    other_bytes : int
        Bytes of other files that are read, such as those of a table that is joined.
    most_rows : int or None
        The rows that are read at most, however large the frame is.
    is_pass : bool
        Whether the partitions of the frame are computed; False for work on files beside it.
    notes : tuple of str
        What the numbers leave out, as sentences for the reader of a plan.
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
    most_rows: int | None = None
    is_pass: bool = True
    notes: tuple[str, ...] = ()


class Spec(Protocol):
    """A spec that can be planned by itself, such as a head."""

    #: The verb of `laion_dask.verbs` that applies it.
    verb: str

    @property
    def cost(self) -> Cost:
        """The cost of one row."""


class PlannedFrame(Protocol):
    """A frame whose work is planned, as the cost function of a verb sees it.

    Footers and headers have been read, and no data.
    """

    #: Where its rows come from: a `laion_dask.frame.provenance.Provenance`.
    provenance: Any

    @property
    def frame(self) -> Any:
        """The frame itself."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the frame, computed ones included."""

    @property
    def kinds(self) -> Mapping[str, str]:
        """The kind of every column; see `laion_dask.dtypes`."""

    @property
    def computed(self) -> frozenset[str]:
        """The columns that no shard holds."""

    @property
    def filtered(self) -> frozenset[str]:
        """The columns that the filters of the frame read."""

    def embeddings_for(self, step: str) -> Any:
        """The embeddings that a step reads: those given, else the only ones of the frame.

        Raises
        ------
        OptionError
            When there are none, or several.
        """
