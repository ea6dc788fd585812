"""Count captions by concept: the work on a partition, and what the counts amount to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from dask.delayed import Delayed

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.curation.balancing.concept_lists import ConceptLists
from laion_dask.errors import OptionError
from laion_dask.runtime import graph

#: The language whose threshold is given; the others are derived from it.
ENGLISH = "en"
#: More distinct values mean that a column does not hold languages.
_MOST_LANGUAGES = 1_000


@dataclass(frozen=True, eq=False)
class Counts:
    """The number of captions that each entry stands in, by language: int64 arrays."""

    by_language: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Misses:
    """By language: for each entry, the probability that it does not keep a caption, 1 - p."""

    by_language: Mapping[str, np.ndarray]


def counted(frame: dd.DataFrame, lists: ConceptLists, shared: Delayed) -> Delayed:
    """The counts of a frame as delayed `Counts`, in one pass. Lazy."""
    counts = graph.map_to_values(frame[lists.reads], _count, shared)
    return graph.tree(graph.parts(counts), _added)


def languages_of(part: Frame, lists: ConceptLists) -> Iterator[tuple[str, np.ndarray, pa.Array]]:
    """The rows and captions of a partition, language by language; none of null language.

    Raises
    ------
    OptionError
        When the column does not hold texts, or too many different ones.
    """
    table = frame_to_arrow(part[lists.reads].reset_index(drop=True))
    captions = _as_text(table[lists.column], lists.column)
    if lists.language is None:
        yield "", np.arange(len(captions)), captions
        return
    languages = _as_text(table[lists.language], lists.language)
    distinct = sorted(pc.unique(languages.drop_null()).to_pylist())
    if len(distinct) > _MOST_LANGUAGES:
        raise OptionError(
            f"The column {lists.language!r} holds more than {_MOST_LANGUAGES:,} different values. "
            "Expected a column of languages, such as 'en'; df.laion.language() adds one."
        )
    for language in distinct:
        rows = np.flatnonzero(pc.equal(languages, language).fill_null(False))
        yield language, rows, captions.take(pa.array(rows))


def _as_text(column: pa.ChunkedArray, name: str) -> pa.Array:
    type_ = column.type
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if not (pa.types.is_string(type_) or pa.types.is_large_string(type_) or type_ == pa.null()):
        raise OptionError(f"The column {name!r} holds {type_}. Expected a column of texts.")
    return column.cast(pa.large_string()).combine_chunks()


def _count(part: Frame, lists: ConceptLists, partition_info: dict | None = None) -> Counts:
    counts = {}
    for language, _, captions in languages_of(part, lists):
        entries = lists.entries_of(language)
        if entries is not None:
            counts[language] = np.zeros(len(entries), np.int64)
            entries.find(captions, counts[language])
    return Counts(counts)


def _added(counts: Sequence[Counts]) -> Counts:
    total: dict[str, np.ndarray] = {}
    for one in counts:
        for language, numbers in one.by_language.items():
            total[language] = total[language] + numbers if language in total else numbers
    return Counts(total)


def misses_of(counts: Sequence[Counts], t: int) -> Misses:
    """The probabilities of entries, from the counts of the whole frame: 1 - t / max(count, t).

    With languages, ``t`` is that of English. See `tail_share` and `threshold_of`.

    Raises
    ------
    OptionError
        When there is no English caption with an entry, which ``t`` refers to.
    """
    (total,) = counts
    by_language = total.by_language
    thresholds = dict.fromkeys(by_language, t)
    others = [language for language in by_language if language not in ("", ENGLISH)]
    if others and any(by_language[language].any() for language in others):
        english = by_language.get(ENGLISH)
        if english is None or not english.any():
            raise OptionError(
                f"No English caption has an entry, so t={t:,} has no share of English to be "
                "carried over to the other languages. Balance each language by itself, or leave "
                "language= out."
            )
        share = tail_share(english, t)
        thresholds |= {one: threshold_of(by_language[one], share) for one in others}
    return Misses(
        {one: 1 - thresholds[one] / np.maximum(by_language[one], thresholds[one]) for one in
         by_language}
    )  # fmt: skip


def tail_share(counts: np.ndarray, t: int) -> float:
    """The share of all matches that are of entries with fewer than ``t`` of them.

    Chuang et al. (2025), ``t_to_p`` in MetaCLIP 2's ``curate.py``.

    Examples
    --------
    >>> import numpy as np
    >>> tail_share(np.array([1, 2, 7]), 7)
    0.3
    """
    return float(counts[counts < t].sum() / counts.sum())


def threshold_of(counts: np.ndarray, share: float) -> int:
    """The count up to which entries, in ascending order, make up nearest to a share of all matches.

    Chuang et al. (2025), ``p_to_t`` in MetaCLIP 2's ``curate.py``. Of equally near ones, the
    smallest; at least 1. Entries without a match are left out: with them, the published code may
    choose 0, which drops every row of a language with few entries.

    Examples
    --------
    >>> import numpy as np
    >>> threshold_of(np.array([0, 5, 1, 4]), 0.45)
    4
    """
    ascending = np.sort(counts[counts > 0])
    if not len(ascending):
        return 1
    shares = np.cumsum(ascending) / ascending.sum()
    return int(ascending[np.abs(shares - share).argmin()])
