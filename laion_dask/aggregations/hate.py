"""Hate content rates: the share of captions whose probability exceeds a threshold, by class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.grouping.base import ByColumn, members
from laion_dask.cost import Cost
from laion_dask.errors import OptionError, must_be, no_column
from laion_dask.predicate import Predicate
from laion_dask.predicate.nodes import Compare, Constant, Name
from laion_dask.stats.checks import probability
from laion_dask.stats.intervals import wilson

#: Label of all rows; files are labeled by their number.
_ALL = ""


@dataclass(frozen=True)
class HateContentRate(Statistic):
    """See `hate_content_rate`."""

    columns: tuple[str, ...]
    thresholds: tuple[float, ...]
    per_file: bool
    predicates: tuple[tuple[Predicate, ...], ...] = ()
    name = "hate_content_rate"
    method = (
        "The hate content rate is 100 mean(p > threshold) percent of the captions that have a "
        "probability, with Wilson's interval (Birhane et al. 2023). It reflects the classifier, "
        "including its mistakes.",
    )

    @property
    def cost(self) -> Cost:
        """Cost of one row; see `laion_dask.cost`."""
        return Cost(("statistic hate_content_rate",) * len(self.columns))

    def bind(self, column_types: Mapping[str, str]) -> Self:
        for column in self.columns:
            if column not in column_types:
                hint = "df.laion.score_captions(...) adds probabilities."
                raise no_column(column, column_types, hint)
            if column_types[column] not in ("float32", "float64"):
                raise OptionError(
                    f"The column {column!r} holds {column_types[column]}. Expected probabilities, "
                    "such as df.laion.score_captions(...) adds."
                )
        if self.per_file and column_types.get("shard") != "integer":
            raise OptionError(
                "per_file=True needs the column 'shard', which identifies the file of each row. "
                "read_shards adds it."
            )
        return replace(
            self,
            predicates=tuple(
                tuple(_above(column, column_types[column], threshold) for column in self.columns)
                for threshold in self.thresholds
            ),
        )

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.columns, *(["shard"] if self.per_file else []))

    def chunk(self, partition: Partition) -> dict[str, np.ndarray]:
        """By file: rows over, decided and in total, (thresholds, classes and any, 3) int64."""
        for column in self.columns:
            partition.memo(_checked, column)
        masks = [
            mask for row in self.predicates for each in _masks(partition, row) for mask in each
        ]
        shape = (len(self.thresholds), len(self.columns) + 1, 3)
        counts = {_ALL: np.array([mask.sum() for mask in masks], np.int64).reshape(shape)}
        if self.per_file:
            files = members(partition, ByColumn("shard"))
            file_counts = np.array([files.counts(mask) for mask in masks], np.int64).T
            counts |= dict(zip(files.labels, file_counts.reshape(-1, *shape), strict=True))
        return counts

    def combine(self, states: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        combined: dict[str, np.ndarray] = {}
        for state in states:
            for label, counts in state.items():
                combined[label] = combined[label] + counts if label in combined else counts
        return combined

    def finalize(self, state: dict[str, np.ndarray], options: ReportOptions) -> pd.DataFrame:
        return pd.DataFrame(list(self._to_rows(state, options)))

    def _to_rows(self, state: dict[str, np.ndarray], options: ReportOptions) -> Iterator[dict]:
        for label in sorted(state, key=lambda label: (label != _ALL, int(label or 0))):
            where = {"axis": None, "group": "(all)"}
            if label != _ALL:
                where = {"axis": "shard", "group": label}
            for j, term in enumerate((*self.columns, "any")):
                for i, threshold in enumerate(self.thresholds):
                    k, n, rows = state[label][i, j].tolist()
                    lo, hi = wilson(k, n, options.level)
                    rate = k / n if n else float("nan")
                    result = {"term": term, **where, "threshold": threshold, "n": n, "k": k}
                    result |= {"rate": rate, "lo": lo, "hi": hi, "percent": 100 * rate}
                    yield {**result, "undecided": rows - n, "method": "Wilson"}


def hate_content_rate(
    *columns: str, threshold: float | Sequence[float] = 0.5, per_file: bool = False
) -> HateContentRate:
    """Hate content rate of captions, per class and for any class: 100 mean(p > threshold) percent.

    Computed over the captions with a probability: a null or NaN is counted as undecided, and never
    as free of hate. ``any`` is true if at least one class is over the threshold, and decided if it
    is true or every class has a probability.

    The result depends on the classifier; report its name and its error rates with every number.

    Parameters
    ----------
    *columns : str
        Columns of probabilities in [0, 1], one per class, such as those `score_captions` adds.
    threshold : float or sequence of float
        In [0, 1]; several thresholds give a curve.
    per_file : bool
        Whether to report the rates of each shard too, by the column ``shard``. These compare two
        data sets: ``stats.compare_hate(a["k"], a["n"], b["k"], b["n"])`` with the rows of one term
        whose ``axis`` is ``shard``.

    Returns
    -------
    HateContentRate
        For `laion_dask.statistics`. ``rate`` is the share k / n with Wilson's interval,
        ``percent`` is 100 times the rate, ``undecided`` the rows for which it cannot be decided.

    Raises
    ------
    OptionError
        If no column is named, one is named twice or called ``any``, or a threshold is not a
        probability; and, with ColumnError, if `statistics` finds that a column is missing or does
        not hold probabilities.

    References
    ----------
    Birhane, A. et al. (2023), as in `laion_dask.stats.hate_content_rate`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.hate_content_rate("punsafe"))
    >>> set(table["statistic"])
    {'hate_content_rate'}
    """
    if not columns:
        raise OptionError(
            "No column of probabilities was named. Add one with df.laion.score_captions(...)."
        )
    for column in columns:
        must_be("A column", column, str, "the name of a column of probabilities")
    if len(set(columns)) < len(columns) or "any" in columns:
        raise OptionError(
            f"The columns are {', '.join(columns)}. Expected distinct names other than 'any', "
            "which is reserved for all classes."
        )
    several = threshold if isinstance(threshold, (list, tuple, np.ndarray)) else (threshold,)
    thresholds = tuple(dict.fromkeys(probability("threshold", one) for one in several))
    if not thresholds:
        raise OptionError("threshold is empty. Expected one or several probabilities, such as 0.5.")
    must_be("per_file", per_file, bool, "True or False")
    return HateContentRate(tuple(columns), thresholds, per_file)


def _above(column: str, column_type: str, threshold: float) -> Predicate:
    """``column > threshold`` with the semantics of ``where``, for any column name."""
    value = float(np.float32(threshold)) if column_type == "float32" else threshold
    node = Compare(">", Name(column, column_type), Constant(value, column_type))
    return Predicate(f"{column} > {threshold}", node, (column,))


def _masks(partition: Partition, row: Sequence[Predicate]) -> list[tuple[np.ndarray, ...]]:
    """Masks of the rows over the threshold, decided, and all: for each class, then for any."""
    masks = [partition.evaluate(predicate) for predicate in row]
    any_over = np.logical_or.reduce([over for over, _ in masks])
    all_known = np.logical_and.reduce([known for _, known in masks])
    rows = np.ones(len(partition), bool)
    return [(over, known, rows) for over, known in (*masks, (any_over, any_over | all_known))]


def _checked(partition: Partition, column: str) -> None:
    values = pc.drop_null(partition.table[column]).to_numpy()
    values = values[~np.isnan(values)]
    if ((values < 0) | (values > 1)).any():
        raise OptionError(
            f"The column {column!r} has {values.min():g} to {values.max():g}. Expected "
            "probabilities in [0, 1]; convert a logit by 1 / (1 + exp(-x))."
        )
