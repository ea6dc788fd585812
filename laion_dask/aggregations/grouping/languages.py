"""Group captions by language: LAION-5B's three classes, and languages detected while counting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.grouping.base import Grouping, Members, coded, coded_column
from laion_dask.cost import Cost
from laion_dask.errors import OptionError, no_column
from laion_dask.text.language_detection import Detector, detect

CLASSES = ("English", "other", "no language")
#: Codes for captions without a language: those of `language`, LAION, CLD3 and CLD2.
_NONE = frozenset(("und", "nolang", "un", ""))


@dataclass(frozen=True)
class LanguageClass(Grouping):
    """See `language_class`."""

    column: str
    axis = "language_class"
    no_group = "(null)"
    cost = Cost(("grouping column",))

    @property
    def labels(self) -> tuple[str, ...]:
        return CLASSES

    def bind(self, column_types: Mapping[str, str]) -> Grouping:
        if self.column not in column_types:
            raise no_column(self.column, column_types, "df.laion.language() makes one.")
        if column_types[self.column] != "string":
            raise OptionError(
                f"The column {self.column!r} holds {column_types[self.column]}. Name a column of "
                "language codes, such as the one df.laion.language() adds."
            )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def assign(self, partition: Partition) -> Members:
        labels, rows, codes = coded_column(partition, self.column)
        classes = np.array([_class_of(label) for label in labels.to_pylist()], np.int32)
        return Members(CLASSES, rows, classes[codes] if len(rows) else codes, len(partition))


@dataclass(frozen=True)
class DetectedLanguage(Grouping):
    """Group captions by language, detected in the same pass that counts them.

    Attributes
    ----------
    detector : Detector
        Includes the name of the column of captions.
    """

    detector: Detector
    axis = "detected language"
    no_group = "(null)"
    cost = Cost(("language",))

    def bind(self, column_types: Mapping[str, str]) -> Grouping:
        column = self.detector.column
        if column not in column_types:
            raise no_column(column, column_types, "Languages are detected in captions.")
        if column_types[column] != "string":
            raise OptionError(
                f"The column {column!r} holds {column_types[column]}. Languages are detected in "
                "captions; expected a column of text."
            )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.detector.column,)

    def assign(self, partition: Partition) -> Members:
        labels, rows, codes = coded(detect(partition.table[self.detector.column], self.detector))
        return Members(tuple(labels.to_pylist()), rows, codes, len(partition))


def _class_of(code: str) -> int:
    """The position in `CLASSES` of a language code, ignoring its region."""
    code = code.strip().lower().replace("_", "-").partition("-")[0]
    return 0 if code == "en" else 2 if code in _NONE else 1


def language_class(column: str = "language") -> LanguageClass:
    """Group captions into English, another language, or no language, as LAION-5B is divided.

    LAION put captions whose language its detector could not determine with enough confidence into
    laion1B-nolang. Null is in no group.

    Parameters
    ----------
    column : str
        A column of language codes, published or added by ``df.laion.language()``.

    References
    ----------
    Schuhmann, C. et al. (2022). LAION-5B. NeurIPS Datasets and Benchmarks, section 3.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.rates(None, by=ld.language_class()))
    >>> set(table["axis"].dropna())
    {'language_class'}
    """
    if not isinstance(column, str):
        raise OptionError(f"column is {column!r}. Expected the name of a column.")
    return LanguageClass(column)
