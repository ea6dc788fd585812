"""What one partition contributes to a summary, and how two contributions become one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.dtypes import decoded, kind_of_arrow
from laion_dask.stats.sketches.heavy_hitters import HeavyHitters
from laion_dask.stats.sketches.quantiles import Quantiles
from laion_dask.text.domains import hosts, labels_of

#: Columns whose distribution is described; ``text_length`` is counted in code points.
DESCRIBED = ("width", "height", "text_length", "similarity", "aesthetic")
#: Those of them that hold whole numbers.
WHOLE = ("width", "height", "text_length")
#: LAION's own thresholds: unsafe above 0.5, watermarked above 0.8 (LAION-5B announcement, 2022).
THRESHOLDS = {"punsafe": 0.5, "pwatermark": 0.8}
#: Sizes that LAION counts images by: both sides at least so many pixels.
SIDES = (256, 512, 1024)


def _none() -> HeavyHitters:
    return HeavyHitters.of(pa.array([], pa.large_string()), np.empty(0, np.int64))


@dataclass
class State:
    """Counts over some rows; two of them add up."""

    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    infinite: dict[str, int] = field(default_factory=dict)
    quantiles: dict[str, Quantiles] = field(default_factory=dict)
    over: dict[str, tuple[int, int]] = field(default_factory=dict)
    sides: dict[int, int] = field(default_factory=dict)
    languages: HeavyHitters = field(default_factory=_none)
    domains: HeavyHitters = field(default_factory=_none)


def contribution(table: pa.Table, *, domains: bool = True) -> State:
    """The state of one partition; without the domains of its addresses where they are not asked."""
    table = decoded(table)
    state = State(
        rows=len(table),
        nulls={n: _missing(table[n]) for n in table.column_names},
        infinite={n: _infinite(table[n]) for n in table.column_names},
    )
    have = {n for n in table.column_names if _is_of_kind(n, table[n].type)}
    for name in DESCRIBED:
        if name in have:
            state.quantiles[name] = Quantiles.of(_numbers(table[name]))
    if "text" in have:
        lengths = pc.utf8_length(pc.drop_null(table["text"]))
        state.quantiles["text_length"] = Quantiles.of(_numbers(lengths))
    for name, threshold in THRESHOLDS.items():
        if name in have:
            scored = _numbers(table[name])
            scored = scored[~np.isnan(scored)]
            if kind_of_arrow(table[name].type) == "float32":  # as in a filter, or a rate
                threshold = float(np.float32(threshold))
            state.over[name] = (int((scored > threshold).sum()), len(scored))
    if {"width", "height"} <= have:
        smaller = np.fmin(_numbers(table["width"]), _numbers(table["height"]))
        both = ~(np.isnan(_numbers(table["width"])) | np.isnan(_numbers(table["height"])))
        state.sides = {side: int((smaller[both] >= side).sum()) for side in SIDES}
    if "language" in have:
        found = table["language"].drop_null().value_counts()
        state.languages = HeavyHitters.of(found.field("values"), found.field("counts").to_numpy())
    if domains and "url" in have:
        found = labels_of(hosts(table["url"]), "domain")
        state.domains = HeavyHitters.of(found.labels, found.counts())
    return state


def combined(one: State, two: State) -> State:
    """The state of both sets of rows."""
    return State(
        one.rows + two.rows,
        {n: one.nulls.get(n, 0) + two.nulls.get(n, 0) for n in {**one.nulls, **two.nulls}},
        {
            n: one.infinite.get(n, 0) + two.infinite.get(n, 0)
            for n in {**one.infinite, **two.infinite}
        },
        {
            n: one.quantiles.get(n, Quantiles()).merge(two.quantiles.get(n, Quantiles()))
            for n in {**one.quantiles, **two.quantiles}
        },
        {
            n: tuple(
                a + b for a, b in zip(one.over.get(n, (0, 0)), two.over.get(n, (0, 0)), strict=True)
            )
            for n in {**one.over, **two.over}
        },
        {s: one.sides.get(s, 0) + two.sides.get(s, 0) for s in {**one.sides, **two.sides}},
        HeavyHitters.merged([one.languages, two.languages]),
        HeavyHitters.merged([one.domains, two.domains]),
    )


def _missing(column: pa.ChunkedArray) -> int:
    """Nulls, and NaN in a column of floats."""
    nan = pc.sum(pc.is_nan(column)).as_py() or 0 if pa.types.is_floating(column.type) else 0
    return column.null_count + nan


def _infinite(column: pa.ChunkedArray) -> int:
    """Values of plus or minus infinity, which only floats have."""
    if not pa.types.is_floating(column.type):
        return 0
    return pc.sum(pc.is_inf(column)).as_py() or 0


def _is_of_kind(name: str, type_: pa.DataType) -> bool:
    """Whether a column of that name holds what is described of it; a frame can hold anything."""
    t = pa.types
    if name in ("text", "url", "language"):
        return t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_)
    return t.is_integer(type_) or t.is_floating(type_)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A numeric column in float64, NaN for null; an integer beyond 2**53 is rounded."""
    return column.cast(pa.float64(), safe=False).to_numpy()
