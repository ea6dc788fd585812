"""Describe a frame as LAION described its data sets: sizes, lengths, languages, shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.engine.reduction import Factory, Lengths
from laion_dask.aggregations.grouping.base import coded_column
from laion_dask.aggregations.grouping.domains import Authorities, sites
from laion_dask.dtypes import arrow_column_type
from laion_dask.stats.intervals import wilson
from laion_dask.stats.sketches.heavy_hitters import HeavyHitters
from laion_dask.stats.sketches.quantiles import ACCURACY, Quantiles

#: The quantiles that LAION published: 0.05, 0.10, …, 0.95.
SHARES = tuple(round(0.05 * i, 2) for i in range(1, 20))
#: Columns whose distribution is described; ``text_length`` is counted in code points.
DESCRIBED = ("width", "height", "text_length", "similarity", "aesthetic")
#: Integer columns among `DESCRIBED`.
WHOLE = ("width", "height", "text_length")
#: LAION's thresholds: unsafe above 0.5, watermarked above 0.8 (LAION-5B announcement, 2022).
THRESHOLDS = {"punsafe": 0.5, "pwatermark": 0.8}
#: Image sizes that LAION counted: both sides have at least this many pixels.
SIDES = (256, 512, 1024)
_COLUMNS = ("url", "text", "width", "height", "language", *DESCRIBED, *THRESHOLDS)


def _empty() -> HeavyHitters:
    return HeavyHitters.of(pa.array([], pa.large_string()), np.empty(0, np.int64))


@dataclass
class Description:
    """Counts and sketches over a set of rows.

    Attributes
    ----------
    rows : int
    nulls, infinite : dict of str to int
        By column; NaN counts as null.
    quantiles : dict of str to Quantiles
        By numeric column; ``text_length`` is in code points.
    over : dict of str to (int, int)
        By score: rows above its threshold, and rows with a score.
    sides : dict of int to int
        By number of pixels: images with both sides at least that long.
    languages, domains : HeavyHitters
    """

    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    infinite: dict[str, int] = field(default_factory=dict)
    quantiles: dict[str, Quantiles] = field(default_factory=dict)
    over: dict[str, tuple[int, int]] = field(default_factory=dict)
    sides: dict[int, int] = field(default_factory=dict)
    languages: HeavyHitters = field(default_factory=_empty)
    domains: HeavyHitters = field(default_factory=_empty)

    def merge(self, other: Description) -> Description:
        """The description of both sets of rows."""
        return Description(
            self.rows + other.rows,
            _sum_counts(self.nulls, other.nulls),
            _sum_counts(self.infinite, other.infinite),
            {
                name: self.quantiles.get(name, Quantiles()).merge(
                    other.quantiles.get(name, Quantiles())
                )
                for name in {**self.quantiles, **other.quantiles}
            },
            {
                name: tuple(
                    np.add(self.over.get(name, (0, 0)), other.over.get(name, (0, 0))).tolist()
                )
                for name in {**self.over, **other.over}
            },
            _sum_counts(self.sides, other.sides),
            HeavyHitters.merged([self.languages, other.languages]),
            HeavyHitters.merged([self.domains, other.domains]),
        )


def _sum_counts(one: dict, other: dict) -> dict:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


@dataclass(frozen=True)
class Describe(Statistic):
    """See `describe`.

    Attributes
    ----------
    columns : tuple of str
        The columns it reads, once bound.
    everything : bool
        Whether to count the missing values of every column, and the domains of the URLs, as
        `summary` does.
    """

    columns: tuple[str, ...] = ()
    everything: bool = False
    name = "describe"
    section_position = 0
    method = (
        "Quantile at q: the smallest value such that at least a share q of the values do not "
        "exceed it; exact while a column has at most 10,000 distinct values, else from a sketch "
        "with a relative error of at most 0.0005 (DDSketch; Masson, Rim and Lee 2019).",
        "Unsafe means punsafe above 0.5, watermarked means pwatermark above 0.8, as in LAION's "
        "own figures (announcement of LAION-5B, 2022). A row without a score is counted separately "
        "and is never safe.",
    )

    def bind(self, column_types: Mapping[str, str]) -> Self:
        names = (
            column_types
            if self.everything
            else [n for n in dict.fromkeys(_COLUMNS) if n in column_types]
        )
        return replace(self, columns=tuple(names))

    @property
    def reads(self) -> tuple[str, ...]:
        return self.columns

    @property
    def reduces(self) -> dict[str, tuple[Factory, ...]]:
        accumulators: dict[str, tuple[Factory, ...]] = {"text": (Lengths,), "url": ()}
        if self.everything:
            accumulators["url"] = (Authorities,)
        whole = {"width", "height", "language", *DESCRIBED, *THRESHOLDS}
        return {n: accumulators.get(n, ()) for n in self.columns if n not in whole}

    def chunk(self, partition: Partition) -> Description:
        described = Description(
            rows=len(partition),
            nulls={name: _missing(partition, name) for name in self.columns},
            infinite={name: _infinite(partition, name) for name in self.columns},
        )
        self._describe_numbers(described, partition)
        if self._has(partition, "language"):
            languages, _, codes = coded_column(partition, "language")
            counts = np.bincount(codes, minlength=len(languages))
            described.languages = HeavyHitters.of(languages, counts)
        if self.everything and self._has(partition, "url"):
            domains = sites(partition, "url", "domain")
            described.domains = HeavyHitters.of(
                domains.labels, domains.counts(), entries=domains.entries
            )
        return described

    def _has(self, partition: Partition, name: str) -> bool:
        """Whether a column has a type that can be described; frames can hold any type."""
        if name not in self.columns:
            return False
        type_, t = partition.type_of(name), pa.types
        if name in ("text", "url", "language"):
            return t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_)
        return t.is_integer(type_) or t.is_floating(type_)

    def _describe_numbers(self, described: Description, partition: Partition) -> None:
        """Add the quantiles, the shares above thresholds and the sizes of a partition."""
        has = {n for n in (*DESCRIBED, *THRESHOLDS) if self._has(partition, n)}
        for name in DESCRIBED:
            if name in has:
                described.quantiles[name] = Quantiles.of(_values(partition, name))
        if self._has(partition, "text"):
            lengths = partition.accumulated("text", Lengths)
            described.quantiles["text_length"] = Quantiles.of(lengths.values())
        for name, threshold in THRESHOLDS.items():
            if name in has:
                if arrow_column_type(partition.type_of(name)) == "float32":  # as in a filter
                    threshold = float(np.float32(threshold))
                above = int(np.count_nonzero(_numbers(partition, name) > threshold))
                described.over[name] = (above, len(partition) - described.nulls[name])
        if {"width", "height"} <= has:
            smaller = np.minimum(*(_pixels(partition, n) for n in ("width", "height")))
            described.sides = {side: int(np.count_nonzero(smaller >= side)) for side in SIDES}

    def combine(self, states: Sequence[Description]) -> Description:
        return reduce(Description.merge, states)

    def finalize(self, state: Description, options: ReportOptions) -> pd.DataFrame:
        return pd.DataFrame(list(_to_rows(state, options)))


def describe() -> Describe:
    """Sizes, text lengths, unsafe and watermarked shares, languages, missing values.

    Describes the canonical columns that the frame has: quantiles at 0.05, 0.10, …, 0.95 of width,
    height, text length (code points), similarity and aesthetic, which are exact for at most 10,000
    distinct values and otherwise have a relative error of at most 0.0005; images with both sides of
    at least 256, 512, 1024 pixels; ``punsafe > 0.5`` and ``pwatermark > 0.8`` over the rows with a
    score, including infinite ones; languages. Missing and infinite values of each column, including
    ``url``, are counted relative to all rows: together with the ``n`` values of its quantiles or
    texts, they add up to all rows.

    References
    ----------
    Schuhmann, C. et al. (2022). LAION-5B. NeurIPS Datasets and Benchmarks; and LAION's
    announcement of 31 March 2022, which is the source of the thresholds and quantiles.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.describe())
    >>> set(table["statistic"])
    {'describe'}
    """
    return Describe()


def _to_rows(state: Description, options: ReportOptions) -> Iterator[dict]:
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
        row = {"term": column, "n": sketch.n}
        yield {**row, "group": "mean", "value": sketch.mean, "method": "exact"}
        method = "exact" if sketch.is_exact else f"DDSketch, relative error {ACCURACY}"
        for share, value in zip(SHARES, sketch.at(SHARES), strict=True):
            value = float(round(value)) if column in WHOLE and value == value else value
            yield {**row, "group": f"quantile {share:.2f}", "value": value, "method": method}
    for side, k in state.sides.items():
        yield {
            "term": "both sides",
            "group": "at least",
            "threshold": side,
            **_share(k, n, options),
        }
    for column, (k, scored) in state.over.items():
        row = {"term": column, "group": "above", "threshold": THRESHOLDS[column]}
        yield {**row, **_share(k, scored, options)}
    languages, min_counts, max_counts = state.languages.heavy(20)
    for language, k, high in zip(
        languages.to_pylist(), min_counts.tolist(), max_counts.tolist(), strict=True
    ):
        row = {"term": "language", "axis": "language", "group": language, **_share(k, n, options)}
        note = f"; k at most {high - k:,} too low"
        yield {**row, "method": f"Wilson{note}"} if high > k else row


def _share(k: int, n: int, options: ReportOptions) -> dict:
    lo, hi = wilson(k, n, options.level)
    rate = k / n if n else float("nan")
    return {"n": n, "k": k, "rate": rate, "lo": lo, "hi": hi, "method": "Wilson"}


def _missing(partition: Partition, name: str) -> int:
    """Number of nulls, including NaN in a float column."""
    if not pa.types.is_floating(partition.type_of(name)):
        return partition.null_count(name)
    return int(np.count_nonzero(np.isnan(_numbers(partition, name))))


def _infinite(partition: Partition, name: str) -> int:
    """Number of infinite values, which only occur in float columns."""
    if not pa.types.is_floating(partition.type_of(name)):
        return 0
    return int(np.count_nonzero(np.isinf(_numbers(partition, name))))


def _values(partition: Partition, name: str) -> np.ndarray:
    """The values of a numeric column: integers without nulls, or floats with null as NaN."""
    column = partition.table[name]
    if pa.types.is_integer(column.type):
        return column.drop_null().to_numpy()
    return _numbers(partition, name)


def _pixels(partition: Partition, name: str) -> np.ndarray:
    """A numeric column in which null is not a size: 0 or NaN."""
    column = partition.table[name]
    if pa.types.is_integer(column.type):
        return column.fill_null(0).to_numpy()
    return _numbers(partition, name)


def _numbers(partition: Partition, name: str) -> np.ndarray:
    """A numeric column with null as NaN: float64, or its own type if that has 32 bits.

    Integers beyond 2**53 are rounded.
    """
    return partition.memo(_converted, name)


def _converted(partition: Partition, name: str) -> np.ndarray:
    column = partition.table[name]
    type_ = column.type
    if pa.types.is_float32(type_) or (type_.bit_width == 32 and not column.null_count):
        return column.to_numpy()
    return column.cast(pa.float64(), safe=False).to_numpy()
