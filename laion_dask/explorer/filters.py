"""The kinds of filters: each selects rows of a sample, and the same rows of a whole data set."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from laion_dask.errors import OptionError, no_column
from laion_dask.explorer.columns import CategoryColumn, NumberColumn
from laion_dask.explorer.where_text import column_text, number_text, range_text, values_text
from laion_dask.predicate import certain_and_possible, parse

if TYPE_CHECKING:
    from laion_dask.explorer.sample import Sample

#: Rows evaluated at a time.
_BLOCK = 1 << 20


class Filter(ABC):
    """A condition on rows. Frozen and hashable.

    Attributes
    ----------
    label : str
        A short text for people; it may contain values of the data.
    where : str or None
        The same condition in the ``where`` language; None if that has none.
    """

    @property
    @abstractmethod
    def label(self) -> str: ...

    @property
    def where(self) -> str | None:
        return None

    @abstractmethod
    def passes(self, sample: Sample) -> np.ndarray:
        """Mask of the rows that pass, (n,) bool; rows without a value do not pass."""

    def reads(self, sample: Sample) -> Hashable:
        """What the result depends on besides the sample, such as the content of a list."""
        return None

    def step(self) -> dict[str, Any]:
        """The same condition as a step of a recipe."""
        assert self.where is not None  # other kinds have their own steps
        return {"where": self.where}


@dataclass(frozen=True)
class NumberRange(Filter):
    """The rows with ``low <= value < high``, compared in the column's own dtype.

    Parameters
    ----------
    column : str
    low, high : float or None
        None, and minus or plus infinity: no bound.
    with_high : bool
        Whether the range has its upper bound too.

    Raises
    ------
    OptionError
        When a bound is NaN or not a number.
    """

    column: str
    low: float | None = None
    high: float | None = None
    with_high: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            bound = getattr(self, name)
            bound = bound.item() if isinstance(bound, np.generic) else bound
            is_number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
            if bound is not None and (not is_number or math.isnan(bound)):
                raise OptionError(f"{name} is {bound!r}. Expected a number, or None for no bound.")
            is_open = bound == {"low": -math.inf, "high": math.inf}[name]
            object.__setattr__(self, name, None if is_open else bound)

    @property
    def label(self) -> str:
        low, high = self.low, self.high
        if low is None and high is None:
            return f"{self.column} known"
        if low is None or high is None:
            sign = "from" if high is None else "to" if self.with_high else "below"
            return f"{self.column} {sign} {_short(high if low is None else low)}"
        return f"{self.column} {_short(low)} to {_short(high)}"

    @property
    def where(self) -> str:
        return range_text(self.column, self.low, self.high, with_high=self.with_high)

    def check(self, sample: Sample) -> None:
        if not isinstance(sample.columns.get(self.column), NumberColumn):
            raise no_column(self.column, sample.columns)

    def passes(self, sample: Sample) -> np.ndarray:
        self.check(sample)
        return mask_of(sample, self.where)


@dataclass(frozen=True)
class Categories(Filter):
    """The rows that have one of some labels.

    Parameters
    ----------
    column : str
        The name of a `CategoryColumn`.
    values : tuple of (str or None)
        The labels; None: the rows without a value.
    source : str
        The column of the frame, if it has another name.
    site : str
        ``domain`` or ``tld``, if the labels are those of URLs.
    is_boolean : bool
    """

    column: str
    values: tuple[str | None, ...]
    source: str = ""
    site: str = ""
    is_boolean: bool = False

    @classmethod
    def of(cls, column: CategoryColumn, values: Sequence[str | None]) -> Categories:
        """The filter of a column: at least one label, each once.

        Raises
        ------
        OptionError
        """
        chosen = tuple(dict.fromkeys(values))
        source = "" if column.source == column.name else column.source
        return cls(column.name, chosen, source, column.site, column.is_boolean)

    def __post_init__(self) -> None:
        if not self.values or isinstance(self.values, str):
            raise OptionError(
                f"values is {self.values!r}. Expected at least one label of {self.column!r}; "
                "remove the filter to select every row."
            )
        object.__setattr__(self, "values", tuple(dict.fromkeys(self.values)))

    @property
    def label(self) -> str:
        shown = ["no value" if value is None else value for value in self.values[:3]]
        more = f" and {len(self.values) - 3:,} more" if len(self.values) > 3 else ""
        return f"{self.column} {', '.join(shown)}{more}"

    @property
    def where(self) -> str:
        of = column_text(self.source or self.column)
        of = f"{of}.{self.site}()" if self.site else of
        texts = [value for value in self.values if value is not None]
        values = [value == "true" for value in texts] if self.is_boolean else texts
        return values_text(of, values, with_missing=None in self.values)

    def check(self, sample: Sample) -> None:
        if not isinstance(sample.columns.get(self.column), CategoryColumn):
            raise no_column(self.column, sample.columns)

    def passes(self, sample: Sample) -> np.ndarray:
        self.check(sample)
        column = sample.columns[self.column]
        assert isinstance(column, CategoryColumn)
        chosen = np.zeros(column.size, bool)
        for value in self.values:
            code = -1 if value is None else column.code_of(value)
            if code is not None:
                chosen[code] = True
        found: np.ndarray = chosen[column.codes]
        return found


@dataclass(frozen=True)
class Condition(Filter):
    """The rows for which an expression of the ``where`` language is true.

    Parameters
    ----------
    expression : str

    Raises
    ------
    PredicateError, ColumnError
        By `check`, when it cannot be parsed or names a column that the frame does not have.
    """

    expression: str

    @property
    def label(self) -> str:
        return self.expression

    @property
    def where(self) -> str:
        return self.expression

    def check(self, sample: Sample) -> None:
        """Raise if the sample does not have the columns."""
        parse(self.expression, sample.types)

    def reads(self, sample: Sample) -> Hashable:
        if "file" not in self.expression:
            return None
        return tuple(one.sha256 for one in parse(self.expression, sample.types).lists)

    def passes(self, sample: Sample) -> np.ndarray:
        self.check(sample)
        return mask_of(sample, self.expression)


def mask_of(sample: Sample, where: str) -> np.ndarray:
    """Mask of the rows of a sample for which an expression is true, (n,) bool.

    As the verb `where` decides: the expression is parsed with the types of the frame's columns, and
    evaluated on values of the same dtypes.
    """
    predicate = parse(where, sample.types)
    found = np.empty(sample.n, bool)
    for start in range(0, sample.n, _BLOCK):
        rows = slice(start, min(start + _BLOCK, sample.n))
        frame = pd.DataFrame(
            {name: sample.values(name, rows) for name in predicate.columns}, copy=False
        )
        found[rows] = certain_and_possible(predicate, frame)[0].to_numpy()
    return found


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return number_text(value) if isinstance(value, int) else f"{value:.6g}"
