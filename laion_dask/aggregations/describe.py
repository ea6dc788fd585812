"""A frame in the form in which LAION described its own sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pandas as pd

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.summary_state import (
    DESCRIBED,
    THRESHOLDS,
    WHOLE,
    State,
    combined,
    contribution,
)
from laion_dask.stats.intervals import wilson
from laion_dask.stats.sketches.quantiles import ACCURACY

#: The shares at which LAION published quantiles: 0.05, 0.10, …, 0.95.
SHARES = tuple(round(0.05 * i, 2) for i in range(1, 20))
_COLUMNS = ("url", "text", "width", "height", "language", *DESCRIBED, *THRESHOLDS)


@dataclass(frozen=True)
class Describe(Statistic):
    """See `describe`."""

    columns: tuple[str, ...] = ()
    name = "describe"
    place = 0
    method = (
        "Quantile at q: the smallest value that at least a share q of the values do not exceed; "
        "exact while a column has at most 10,000 distinct values, else from a sketch with a "
        "relative error of at most 0.0005 (DDSketch; Masson, Rim and Lee 2019).",
        "Unsafe means punsafe above 0.5, watermarked means pwatermark above 0.8, as in LAION's "
        "own figures (announcement of LAION-5B, 2022). A row without a score is counted apart and "
        "is never safe.",
    )

    def bind(self, kinds: Mapping[str, str]) -> Statistic:
        return Describe(tuple(name for name in dict.fromkeys(_COLUMNS) if name in kinds))

    @property
    def reads(self) -> tuple[str, ...]:
        return self.columns

    def chunk(self, partition: Partition) -> State:
        return contribution(partition.table.select(list(self.columns)), domains=False)

    def combine(self, states: Sequence[State]) -> State:
        return reduce(combined, states)

    def finalize(self, state: State, options: ReportOptions) -> pd.DataFrame:
        return pd.DataFrame(list(_to_rows(state, options)))


def describe() -> Describe:
    """Sizes, text lengths, unsafe and watermarked shares, languages, missing values.

    Of the canonical columns that the frame has. Quantiles at 0.05, 0.10, …, 0.95 of width, height,
    text length (code points), similarity and aesthetic: exact while there are at most 10,000
    distinct values, else with a relative error of at most 0.0005; images with both sides of at
    least 256, 512, 1024 pixels; ``punsafe > 0.5`` and ``pwatermark > 0.8`` over the rows that have
    a score, an infinite one too; languages. Missing values of each column, ``url`` among them, and
    infinite ones are counted of all rows: with the ``n`` values of its quantiles, or of its
    texts, they add up to the rows.

    References
    ----------
    Schuhmann, C. et al. (2022). LAION-5B. NeurIPS Datasets and Benchmarks; and LAION's
    announcement of 31 March 2022, whose thresholds and quantiles these are.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.describe())
    >>> set(table["statistic"])
    {'describe'}
    """
    return Describe()


def _to_rows(state: State, options: ReportOptions) -> Iterator[dict]:
    n = state.rows
    for column, k in state.nulls.items():
        yield {"term": column, "group": "missing", **_share(k, n, options)}
        if state.infinite[column]:
            yield {
                "term": column,
                "group": "infinite",
                **_share(state.infinite[column], n, options),
            }
    for column in sorted(state.quantiles, key=DESCRIBED.index):
        sketch = state.quantiles[column]
        found = {"term": column, "n": sketch.n}
        yield {**found, "group": "mean", "value": sketch.mean, "method": "exact"}
        method = "exact" if sketch.is_exact else f"DDSketch, relative error {ACCURACY}"
        for share, value in zip(SHARES, sketch.at(SHARES), strict=True):
            value = float(round(value)) if column in WHOLE and value == value else value
            yield {**found, "group": f"quantile {share:.2f}", "value": value, "method": method}
    for side, k in state.sides.items():
        yield {
            "term": "both sides",
            "group": "at least",
            "threshold": side,
            **_share(k, n, options),
        }
    for column, (k, scored) in state.over.items():
        found = {"term": column, "group": "above", "threshold": THRESHOLDS[column]}
        yield {**found, **_share(k, scored, options)}
    languages, least, most = state.languages.heavy(20)
    for language, k, high in zip(languages.to_pylist(), least.tolist(), most.tolist(), strict=True):
        found = {"term": "language", "axis": "language", "group": language, **_share(k, n, options)}
        more = f"; k at most {high - k:,} too low"
        yield {**found, "method": f"Wilson{more}"} if high > k else found


def _share(k: int, n: int, options: ReportOptions) -> dict:
    lo, hi = wilson(k, n, options.level)
    rate = k / n if n else float("nan")
    return {"n": n, "k": k, "rate": rate, "lo": lo, "hi": hi, "method": "Wilson"}
