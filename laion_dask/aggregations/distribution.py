"""Distributions of scores in one pass, and the rows that every threshold would keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Self

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.aggregations.binning import cuts_reached
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.engine.statistics import bind, collect
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.display.overview import Displayed, Overview
from laion_dask.dtypes import column_type
from laion_dask.errors import ColumnError, OptionError, did_you_mean, must_be, no_column, one_of
from laion_dask.frame.provenance import Provenance
from laion_dask.stats import wilson

#: Default edges: steps of 0.01 between 0 and 1.
EDGES = tuple(i / 100 for i in range(101))


@dataclass(frozen=True, eq=False)
class Distribution(Displayed):
    """Distribution of the values of one column. The counts add up to the rows of the frame.

    Attributes
    ----------
    column : str
    edges : (m,) float64 array
        Ascending.
    counts : (m + 1,) int64 array
        Values below the first edge, in [edge i, edge i + 1), and at or above the last edge.
    n_unscored : int
        Number of null or NaN values.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> found = frame.laion.distributions("similarity")["similarity"]
    >>> int(found.counts.sum()) + found.n_unscored == len(frame)
    True
    """

    column: str
    edges: np.ndarray
    counts: np.ndarray
    n_unscored: int

    @property
    def n_scored(self) -> int:
        """Number of rows with a value."""
        return int(self.counts.sum())

    @property
    def n_rows(self) -> int:
        """Number of all rows."""
        return self.n_scored + self.n_unscored

    def thresholds(self, keep: str = "below", *, level: float = 0.95) -> pd.DataFrame:
        """Rows that a threshold at each edge would keep.

        An unscored row is never kept, but counts in the denominator of every share.

        Parameters
        ----------
        keep : str
            ``"below"`` keeps values below the threshold, ``"above"`` values at or above it.
        level : float
            Coverage of the intervals, between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            ``threshold``; ``kept``, ``dropped`` and ``unscored``, which add up to all rows; and
            ``share``, the share of rows kept, with its Wilson interval ``lo``, ``hi``.
        """
        if keep not in ("below", "above"):
            raise one_of("keep", keep, ("below", "above"))
        below = np.cumsum(self.counts)[:-1]
        kept = below if keep == "below" else self.n_scored - below
        n = self.n_rows
        intervals = np.array([wilson(int(k), n, level) for k in kept]).reshape(-1, 2)
        table = {
            "threshold": self.edges,
            "kept": kept,
            "dropped": self.n_scored - kept,
            "unscored": self.n_unscored,
            "share": kept / n if n else np.nan,
            "lo": intervals[:, 0],
            "hi": intervals[:, 1],
        }
        return pd.DataFrame(table)

    def _overview(self) -> Overview:
        ends = f"{len(self.edges):,} from {self.edges[0]:g} to {self.edges[-1]:g}"
        facts = {
            "column": self.column,
            "scored": f"{self.n_scored:,}",
            "unscored": f"{self.n_unscored:,}",
            "edges": ends,
            "outside the edges": self.outside() or None,
        }
        return Overview("Distribution", facts, notes=["Plot: ld.score_plot(distribution)."])

    def outside(self) -> str:
        """Text that counts the rows outside the edges; an empty string without such rows."""
        ends = (f"below {self.edges[0]:g}", f"from {self.edges[-1]:g}")
        outer = zip(self.counts[[0, -1]].tolist(), ends, strict=True)
        return " and ".join(f"{n:,} {end}" for n, end in outer if n)

    def __repr__(self) -> str:
        outside = self.outside()
        return (
            f"Distribution({self.column}: {self.n_scored:,} scored + {self.n_unscored:,} unscored, "
            f"{len(self.edges)} edges from {self.edges[0]:g} to {self.edges[-1]:g}"
            + (f", {outside})" if outside else ")")
        )


@dataclass(frozen=True)
class Distributions(Statistic):
    """The distributions of numeric columns, as a statistic; see `distributions`.

    A state holds one int64 array per column: `Distribution.counts`, then the unscored rows.
    """

    columns: tuple[str, ...]
    edges: tuple[float, ...] = EDGES
    name = "distributions"
    verb = "distributions"
    method = (
        "Shares of all rows below each threshold, with Wilson's interval (1927). An unscored row "
        "does not count as below.",
    )

    @property
    def cost(self) -> Cost:
        return Cost(("distributions",))

    def bind(self, column_types: Mapping[str, str]) -> Self:
        for name in self.columns:
            if name not in column_types:
                raise no_column(name, column_types)
            if column_types[name] in ("string", "other"):
                raise OptionError(
                    f"The column {name!r} holds {column_types[name]}. Name a numeric column."
                )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.columns))

    def chunk(self, partition: Partition) -> list[np.ndarray]:
        n_bins = len(self.edges) + 2
        bins = (cuts_reached(partition.table[name], self.edges) for name in self.columns)
        return [np.bincount(each, minlength=n_bins).astype(np.int64) for each in bins]

    def combine(self, states: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
        return [reduce(np.add, parts) for parts in zip(*states, strict=True)]

    def finalize(self, state: list[np.ndarray], options: ReportOptions) -> pd.DataFrame:
        parts = []
        for name, distribution in self.results(state).items():
            kept = distribution.thresholds(level=options.level)
            parts.append(
                pd.DataFrame(
                    {
                        "term": name,
                        "group": "below",
                        "threshold": kept["threshold"],
                        "n": distribution.n_rows,
                        "k": kept["kept"],
                        "rate": kept["share"],
                        "lo": kept["lo"],
                        "hi": kept["hi"],
                        "unscored": kept["unscored"],
                        "method": "Wilson",
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

    def results(self, state: list[np.ndarray]) -> dict[str, Distribution]:
        """The state as one `Distribution` per column."""
        edges = np.array(self.edges)
        return {
            name: Distribution(name, edges, counts[:-1], int(counts[-1]))
            for name, counts in zip(self.columns, state, strict=True)
        }


def distributions(
    frame: dd.DataFrame, *columns: str, edges: Sequence[float] = EDGES
) -> dict[str, Distribution]:
    """Distribution of each column, computed in one pass over the frame. Eager.

    Parameters
    ----------
    frame : dask DataFrame
    *columns : str
        Numeric columns.
    edges : sequence of float
        Ascending, at least two; by default steps of 0.01 between 0 and 1. Values outside the edges
        are counted too.

    Returns
    -------
    dict of str to Distribution
        In the order of ``columns``.

    Raises
    ------
    ColumnError
        If the frame has no such column.
    OptionError
        If a column is not numeric, or the edges are not ascending.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> found = frame.laion.distributions("similarity")
    >>> list(found)
    ['similarity']
    """
    cuts = _edges(edges)
    if cuts.ndim != 1 or len(cuts) < 2 or not (np.diff(cuts) > 0).all():
        raise OptionError("edges are not ascending. Expected at least two numbers in order.")
    if not columns:
        raise OptionError("No column was named. Name one or more, such as 'punsafe'.")
    for name in columns:
        must_be(
            "A column", name, str, "a name, such as 'punsafe'; pass several as separate arguments"
        )
        if name not in frame.columns:
            raise no_column(name, frame.columns)
        if column_type(frame.dtypes[name]) in ("string", "other"):
            raise OptionError(
                f"The column {name!r} holds {frame.dtypes[name]}. Name a numeric column."
            )
    measure = Distributions(columns, tuple(cuts.tolist()))
    provenance = Provenance.of(frame)
    (state,), _ = collect(provenance, bind(provenance, [measure]), label="count")
    return measure.results(state)


def _edges(edges) -> np.ndarray:
    try:
        if isinstance(edges, Iterable) and not isinstance(edges, (str, bytes)):
            return np.array(list(edges), np.float64)
    except (TypeError, ValueError):  # not numbers, or lists of different lengths
        pass
    raise OptionError(f"edges is {edges!r}. Expected two or more numbers in order.")


def distributions_cost(frame: PlannedFrame, columns: str | Iterable[str] | None = None) -> Cost:
    """Cost of `distributions`, by default of all float columns.

    Raises
    ------
    ColumnError, OptionError
        As for `distributions`.
    """
    if columns is None:
        floats = ("float32", "float64")
        columns = [name for name in frame.columns if frame.column_types.get(name) in floats]
    columns = [columns] if isinstance(columns, str) else columns
    form = "a column, or a list of columns"
    must_be("distributions' argument", columns, Iterable, form)
    columns = tuple(columns)
    for name in columns:
        must_be("A column of distributions", name, str, "its name")
        if name not in frame.columns:
            raise ColumnError(
                f"distributions has no column {name!r}.{did_you_mean(name, frame.columns)}"
            )
        if frame.column_types[name] in ("string", "other"):
            raise OptionError(f"distributions needs numbers, but the column {name!r} holds none.")
    note = "distributions: the rate was measured with three columns"
    return Cost(("distributions",), columns=columns, notes=(note,) if len(columns) != 3 else ())
