"""A summary of a frame, in the form in which LAION described its own data sets."""

from __future__ import annotations

from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.aggregations.describe import (
    DESCRIBED,
    SHARES,
    THRESHOLDS,
    WHOLE,
    Describe,
    Description,
)
from laion_dask.aggregations.engine.statistics import bind, collect
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.display.grid import Grid
from laion_dask.display.overview import Displayed, Overview
from laion_dask.formatting import printable
from laion_dask.frame.accounting import Rows
from laion_dask.frame.provenance import Provenance
from laion_dask.schema import PROVENANCE
from laion_dask.stats import wilson
from laion_dask.stats.sketches.heavy_hitters import HeavyHitters

_MAX_LABELS = 20


@dataclass(frozen=True)
class Summary(Displayed):
    """Tables that describe a frame; each is a tidy pandas DataFrame.

    Attributes
    ----------
    n_rows : int
    rows : Rows or None
        The account of the rows read; None if the frame does not derive from `read_shards`.
    nulls : DataFrame
        Indexed by column; ``nulls`` (null or NaN) and their ``share`` of all rows; ``infinite``
        values; and ``n`` other values. ``n + nulls + infinite`` is the number of all rows.
    quantiles : DataFrame
        Indexed by column; ``n``, ``mean`` and one column for each of 0.05, 0.10, …, 0.95. Text
        length is in code points. The relative error is at most 0.0005; quantiles of integer columns
        are rounded to integers.
    sizes : DataFrame
        Numbers of images with both sides of at least 256, 512, 1024 pixels.
    shares : DataFrame
        Unsafe and watermarked rows: ``threshold, k, n, share, lo, hi`` with the 95 % Wilson
        interval, over the rows with a score; and ``unscored``, the rows without one.
    languages, domains : DataFrame
        The most frequent ones, with their count and share of all rows; ``undercount`` is the
        maximum by which a count may be too low, 0 for up to a million distinct values.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> summary = frame.laion.summary()
    >>> summary.n_rows == len(frame)
    True
    """

    n_rows: int
    rows: Rows | None
    nulls: pd.DataFrame
    quantiles: pd.DataFrame
    sizes: pd.DataFrame
    shares: pd.DataFrame
    languages: pd.DataFrame
    domains: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """The non-empty tables, by heading."""
        named = {
            "Missing values": self.nulls,
            "Unsafe and watermarked (95 % Wilson interval)": self.shares,
            "Quantiles": self.quantiles.T.rename_axis("quantile"),
            "Images by size (both sides at least)": self.sizes,
            "Languages": self.languages,
            "Domains": self.domains,
        }
        return {heading: table for heading, table in named.items() if len(table)}

    def __str__(self) -> str:
        with pd.option_context("display.width", 120, "display.max_columns", 24):
            parts = [f"{h}\n{readable(t)}" for h, t in self.tables().items()]
        return "\n".join(map(printable, "\n\n".join([self.headline(), *parts]).split("\n")))

    __repr__ = __str__

    def headline(self) -> str:
        """The number of rows, or the account of the rows read."""
        return str(self.rows) if self.rows is not None else f"{self.n_rows:,} rows"

    def _overview(self) -> Overview:
        grids = [
            Grid.of(table, shown=readable(table), heading=heading)
            for heading, table in self.tables().items()
        ]
        return Overview(self.headline(), grids=grids)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A table of a summary with its numbers formatted as text: 2.93 %, 3,980, 0.322."""
    return pd.DataFrame(
        {name: [_text(name, v) for v in column] for name, column in table.items()},
        index=table.index,
    )


def _text(column, value) -> str:
    if pd.isna(value):
        return "-"
    if column in ("share", "lo", "hi"):
        return f"{100 * value:.2f} %"
    is_integer = float(value).is_integer() and (abs(value) >= 2 or isinstance(value, int))
    return f"{value:,.0f}" if is_integer else f"{value:,.3f}"


def summary(frame: dd.DataFrame) -> Summary:
    """Rows, nulls, quantiles, sizes, languages, domains, unsafe and watermarked shares. Eager.

    Takes one pass over all columns; the result does not depend on the partitioning. Domain counts
    are exact for up to a million distinct domains, and have an error bound beyond.

    Raises
    ------
    ShardError, SchemaError
        If a damaged shard is found while reading.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> found = frame.laion.summary()
    >>> list(found.shares.index)
    ['unsafe', 'watermarked']
    """
    provenance = Provenance.of(frame)
    bound = bind(provenance, [Describe(everything=True)])
    (state,), rows = collect(provenance, bound, label="summary")
    return _presented(state, rows)


def _presented(state: Description, rows: Rows | None) -> Summary:
    n = state.rows
    return Summary(
        n_rows=n,
        rows=rows,
        nulls=_table(
            "column",
            (
                {
                    "column": c,
                    "nulls": k,
                    "share": _share(k, n),
                    "infinite": state.infinite[c],
                    "n": n - k - state.infinite[c],
                }
                for c, k in state.nulls.items()
                if c not in PROVENANCE
            ),
        ),
        quantiles=_table(
            "column",
            (
                {"column": c, "n": q.n, "mean": q.mean, **_quantiles(c, q)}
                for c, q in sorted(state.quantiles.items(), key=lambda i: DESCRIBED.index(i[0]))
            ),
        ),
        sizes=_table(
            "pixels",
            ({"pixels": s, "count": k, "share": _share(k, n)} for s, k in state.sides.items()),
        ),
        shares=_table("what", (_tail(column, *state.over[column], n) for column in state.over)),
        languages=_most_frequent("language", state.languages, n),
        domains=_most_frequent("domain", state.domains, n),
    )


def _quantiles(column: str, sketch) -> dict[float, float]:
    """The published quantiles; integers for an integer column."""
    values = sketch.at(SHARES)
    if column in WHOLE:
        values = [v if np.isnan(v) else float(round(v)) for v in values]
    return dict(zip(SHARES, values, strict=True))


def _tail(column: str, k: int, n: int, n_rows: int) -> dict:
    lo, hi = wilson(k, n)
    share = _share(k, n)
    return {
        "what": {"punsafe": "unsafe", "pwatermark": "watermarked"}[column],
        "threshold": THRESHOLDS[column],
        "k": k,
        "n": n,
        "share": share,
        "lo": lo,
        "hi": hi,
        "unscored": n_rows - n,
    }


def _most_frequent(name: str, sketch: HeavyHitters, n: int) -> pd.DataFrame:
    labels, min_counts, max_counts = sketch.heavy(_MAX_LABELS)
    results = zip(
        labels.to_pylist(), min_counts.tolist(), (max_counts - min_counts).tolist(), strict=True
    )
    return _table(
        name,
        (
            {name: label, "count": k, "share": _share(k, n), "undercount": undercount}
            for label, k, undercount in results
        ),
    )


def _share(k: int, n: int) -> float:
    return k / n if n else float("nan")


def _table(index: str, rows) -> pd.DataFrame:
    rows = list(rows)
    return pd.DataFrame(rows).set_index(index) if rows else pd.DataFrame()


def summary_cost(frame: PlannedFrame) -> Cost:
    """Cost of `summary`, which reads every column."""
    return Cost(("summary",), columns=frame.columns)
