"""Captions by language: LAION-5B's three classes, and what is detected while counting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.grouping.base import Grouping, Members, coded
from laion_dask.cost import Cost
from laion_dask.errors import OptionError, no_column
from laion_dask.text.language_detection import Detector, detect

CLASSES = ("English", "other", "no language")
#: What a caption without a language is called: by `language`, by LAION, by CLD3 and by CLD2.
_NONE = frozenset(("und", "nolang", "un", ""))


@dataclass(frozen=True)
class LanguageClass(Grouping):
    """See `language_class`."""

    column: str
    axis = "language_class"
    no_group = "(null)"
    cost = Cost(("grouping column",))

    def bind(self, kinds: Mapping[str, str]) -> Grouping:
        if self.column not in kinds:
            raise no_column(self.column, kinds, "df.laion.language() makes one.")
        if kinds[self.column] != "string":
            raise OptionError(
                f"The column {self.column!r} holds {kinds[self.column]}. Name one of language "
                "codes, such as df.laion.language() makes."
            )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def assign(self, part: Partition) -> Members:
        labels, rows, codes = coded(part.table[self.column])
        classes = np.array([_class_of(label) for label in labels], np.int32)
        return Members(CLASSES, rows, classes[codes] if len(rows) else codes, len(part))


@dataclass(frozen=True)
class DetectedLanguage(Grouping):
    """Captions by the language that the package detects in them, in the pass that counts.

    Attributes
    ----------
    detector : Detector
        With the column of captions.
    """

    detector: Detector
    axis = "detected language"
    no_group = "(null)"
    cost = Cost(("language",))

    def bind(self, kinds: Mapping[str, str]) -> Grouping:
        column = self.detector.column
        if column not in kinds:
            raise no_column(column, kinds, "Languages are detected in captions.")
        if kinds[column] != "string":
            raise OptionError(
                f"The column {column!r} holds {kinds[column]}. Expected captions, in which "
                "languages are detected."
            )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.detector.column,)

    def assign(self, part: Partition) -> Members:
        labels, rows, codes = coded(detect(part.table[self.detector.column], self.detector))
        return Members(tuple(labels), rows, codes, len(part))


def _class_of(code: str) -> int:
    """The position in `CLASSES` of a language code; a region behind it does not count."""
    code = code.strip().lower().replace("_", "-").partition("-")[0]
    return 0 if code == "en" else 2 if code in _NONE else 1


def language_class(column: str = "language") -> LanguageClass:
    """Captions in English, in another language, in none, as LAION-5B is divided.

    LAION put a caption to which its detector gave no language with enough confidence into
    laion1B-nolang. A null says nothing, and is in no group.

    Parameters
    ----------
    column : str
        Of language codes, published or made by ``df.laion.language()``.

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
