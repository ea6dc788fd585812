"""The concentration of rows in domains, or in the values of a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.engine.reduction import Factory
from laion_dask.aggregations.grouping.base import coded_column
from laion_dask.aggregations.grouping.domains import Authorities, check_addresses, sites
from laion_dask.cost import Cost
from laion_dask.errors import ColumnError, OptionError, did_you_mean
from laion_dask.stats.concentration import effective_number, entropy, gini, herfindahl, theil
from laion_dask.stats.intervals import wilson
from laion_dask.stats.sketches.heavy_hitters import CAPACITY, FAILURE, HeavyHitters
from laion_dask.text.domains import LEVELS

#: A state: the counts of labels, and the number of all rows, including those without a label.
State = tuple[HeavyHitters, int]


@dataclass(frozen=True)
class Concentration(Statistic):
    """See `concentration`."""

    of: str
    top: int
    k: tuple[int, ...]
    column: str
    capacity: int
    private: bool = False
    name = "concentration"
    section_position = 1
    method = (
        "Domains are registered domains by the public suffix list packaged with tldextract. Gini: "
        "half the mean absolute difference over the mean (0 if equal, close to 1 if all in one). "
        "Herfindahl: the sum of squared shares, the probability that two rows share a domain. "
        "Entropy is divided by the logarithm of the number of domains.",
    )

    @property
    def cost(self) -> Cost:
        """Cost of one row; see `laion_dask.cost`."""
        return Cost(("statistic concentration",), shared=("hosts",) if self.of in LEVELS else ())

    def bind(self, column_types: Mapping[str, str]) -> Self:
        if self.of in LEVELS:
            check_addresses(self.column, column_types)
            return self
        if self.of not in column_types:
            names = [*LEVELS, *column_types]
            raise ColumnError(
                f"of is {self.of!r}. Expected {', '.join(map(repr, LEVELS))}, or one of the "
                f"frame's columns.{did_you_mean(self.of, names)}"
            )
        if column_types[self.of] not in ("string", "integer", "boolean"):
            raise OptionError(
                f"The column {self.of!r} holds {column_types[self.of]}, which cannot be used as "
                "labels. Name a column of text, integers or booleans."
            )
        return replace(self, column=self.of)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def reduces(self) -> dict[str, tuple[Factory, ...]]:
        return {self.column: (Authorities,)} if self.of in LEVELS else {}

    def chunk(self, partition: Partition) -> State:
        if self.of in LEVELS:
            coded_sites = sites(partition, self.column, self.of, self.private)
            labels, counts = coded_sites.labels, coded_sites.counts()
            entries = coded_sites.entries
        else:
            values, _, codes = coded_column(partition, self.column)
            labels = pa.array(list(map(str, values.to_pylist())), pa.large_string())
            counts, entries = np.bincount(codes, minlength=len(values)), None
        return HeavyHitters.of(labels, counts, self.capacity, entries), len(partition)

    def combine(self, states: Sequence[State]) -> State:
        hitters, rows = zip(*states, strict=True)
        return HeavyHitters.merged(hitters), sum(rows)

    def finalize(self, state: State, options: ReportOptions) -> pd.DataFrame:
        sketch, rows = state
        labels = _labels(sketch, self.top, options)
        summary = [
            *_shares(sketch, self.k, options),
            *_indices(sketch),
            _without_label(sketch, rows, options),
        ]
        results = (
            pd.DataFrame(summary) if labels.empty else pd.concat([labels, pd.DataFrame(summary)])
        )
        return results.assign(axis=self.of)


def concentration(
    of: str = "domain",
    *,
    top: int = 20,
    k: Sequence[int] = (10, 100, 1000),
    column: str = "url",
    capacity: int = CAPACITY,
    private: bool = False,
) -> Concentration:
    """The most frequent domains, the share of the top k, Gini, Herfindahl, entropy.

    Describes the rows that have a label; ``n`` is their number. Rows of the result with ``group``
    ``"label"`` have a label in ``term`` and its count in ``k``. Rows with ``group`` ``"all"`` have
    in ``term`` ``"distinct"`` (the number of labels), ``"top 10"`` and so on (rows of the 10 most
    frequent labels together), ``"gini"``, ``"herfindahl"``, ``"effective number"`` (its inverse),
    ``"entropy"`` (normalized by the logarithm of the number of labels that occur), ``"theil"``, and
    ``"none"`` (the share of all rows without a label).

    With at most ``capacity`` labels, all results are exact. With more, ``method`` says "count-min":
    the ``k`` of a label is never too low, ``lo`` and ``hi`` allow for the error of the sketch in
    addition to Wilson's interval, and only labels whose share exceeds the error of the sketch are
    reported. The top k are reported as far as they are known, and ``hi`` allows for the others.
    Herfindahl's index and the effective number have bounds. Gini, entropy and Theil depend on all
    labels and are omitted. The result does not depend on the partitioning. A state takes about
    50 MB.

    Intervals assume that rows are drawn independently, which rows of one shard or site are not. The
    top k are selected for being frequent, so for few rows their share is biased upwards.

    Parameters
    ----------
    of : str
        ``"domain"`` (registered), ``"tld"``, ``"suffix"`` (public suffix, such as ``co.uk``) or
        ``"host"`` of the URLs, see `domains`; or the name of a column of text, integers or
        booleans.
    top : int
        Number of labels to report individually; at least 0.
    k : sequence of int
        The shares of the k most frequent labels are reported.
    column : str
        The column of URLs.
    capacity : int
        Maximum number of labels counted exactly.
    private : bool
        Whether the list's private suffixes count, see `domains`.

    Raises
    ------
    OptionError
        If a number is out of range.

    References
    ----------
    See `laion_dask.stats.gini`, `herfindahl`, `entropy` and `HeavyHitters`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.concentration("domain", top=3), min_n=0)
    >>> "gini" in set(table["term"])
    True
    """
    for name, value in (("of", of), ("column", column)):
        if not isinstance(value, str):
            raise OptionError(f"{name} is {value!r}. Expected the name of a column.")
    if not isinstance(private, bool):
        raise OptionError(f"private is {private!r}. Expected True or False.")
    depths = (k,) if isinstance(k, (int, np.integer)) else tuple(k)
    for name, n, minimum in [("top", top, 0), ("capacity", capacity, 1)] + [
        ("k", one, 1) for one in depths
    ]:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < minimum:
            raise OptionError(f"{name} is {n!r}. Expected integers of at least {minimum}.")
    depths = tuple(sorted({int(one) for one in depths}))
    return Concentration(of, int(top), depths, column, int(capacity), private)


def _labels(sketch: HeavyHitters, top: int, options: ReportOptions) -> pd.DataFrame:
    """The most frequent labels."""
    labels, min_counts, max_counts = sketch.heavy(top)
    share = _share(sketch, min_counts, max_counts, options)
    return pd.DataFrame({"term": labels.to_pylist(), "group": "label", **share})


def _shares(
    sketch: HeavyHitters, depths: tuple[int, ...], options: ReportOptions
) -> Iterator[dict]:
    """The total share of the k most frequent labels."""
    if not depths:
        return
    low, high = sketch.counts, sketch.counts
    if not sketch.is_exact:
        _, low, high = sketch.heavy()
    low, high = (np.sort(counts)[::-1] for counts in (low, high))
    for k in depths:
        missing = 0 if sketch.is_exact else max(k - len(high), 0)
        k_known = int(min(high[:k].sum(), sketch.n))  # the others may have up to `unseen` rows each
        k_max = int(min(k_known + missing * sketch.unseen, sketch.n))
        share = _share(sketch, int(low[:k].sum()), k_max, options)
        yield {
            "term": f"top {k}",
            "group": "all",
            **share,
            "k": k_known,
            "rate": _rate(k_known, sketch),
        }


def _share(sketch: HeavyHitters, min_count, max_count, options: ReportOptions) -> dict:
    """One or several shares whose counts lie between two bounds; the upper bound is reported."""
    lo, hi = (
        wilson(min_count, sketch.n, options.level)[0],
        wilson(max_count, sketch.n, options.level)[1],
    )
    rate = _rate(max_count, sketch)
    method = "Wilson" if sketch.is_exact else f"Wilson, {_sketch_note(sketch)}"
    return {"n": sketch.n, "k": max_count, "rate": rate, "lo": lo, "hi": hi, "method": method}


def _rate(count, sketch: HeavyHitters):
    return count / sketch.n if sketch.n else float("nan")


def _sketch_note(sketch: HeavyHitters) -> str:
    return f"count-min, at most {sketch.error:,.0f} too high, except for 1 in {1 / FAILURE:,.0f}"


def _indices(sketch: HeavyHitters) -> Iterator[dict]:
    """The number of labels, and measures of concentration."""
    common = {"group": "all", "n": sketch.n}
    if sketch.is_exact:
        values = {"distinct": float(len(sketch.counts))}
        for index in (gini, herfindahl, effective_number, entropy, theil):
            values[index.__name__.replace("_", " ")] = index(sketch.counts)
        for term, value in values.items():
            yield {"term": term, **common, "value": value, "method": "exact"}
        return
    number, error = sketch.distinct()
    spread = 1.96 * error * number
    yield {
        "term": "distinct", **common, "value": number, "lo": number - spread, "hi": number + spread,
        "method": "k minimum values, 95 %" if error else "exact",
    }  # fmt: skip
    lower, upper = _herfindahl_bounds(sketch)
    yield {
        "term": "herfindahl", **common, "value": (lower + upper) / 2, "lo": lower, "hi": upper,
        "method": f"bounds, {_sketch_note(sketch)}",
    }  # fmt: skip
    why = f"omitted: more than {sketch.capacity:,} labels, most of them discarded"
    yield {
        "term": "effective number", **common, "value": 2 / (lower + upper), "lo": 1 / upper,
        "hi": 1 / lower if lower else float("inf"), "method": f"bounds, {_sketch_note(sketch)}",
    }  # fmt: skip
    for term in ("gini", "entropy", "theil"):
        yield {"term": term, **common, "value": float("nan"), "method": why}


def _herfindahl_bounds(sketch: HeavyHitters) -> tuple[float, float]:
    """Bounds from the frequent labels, with the remaining rows in labels of any possible size."""
    _, low, high = sketch.heavy()
    low, high = low / sketch.n, high / sketch.n
    remaining = max(1.0 - float(low.sum()), 0.0)
    upper = float((high**2).sum()) + remaining * sketch.unseen / sketch.n
    return float((low**2).sum()), min(upper, 1.0)


def _without_label(sketch: HeavyHitters, rows: int, options: ReportOptions) -> dict:
    """The share of all rows without a label."""
    k = rows - sketch.n
    lo, hi = wilson(k, rows, options.level)
    rate = k / rows if rows else float("nan")
    results = {"n": rows, "k": k, "rate": rate, "lo": lo, "hi": hi, "method": "Wilson"}
    return {"term": "none", "group": "all", **results}
