"""Group rows by the terms that their captions mention."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.grouping.base import Grouping, Members
from laion_dask.cost import Cost
from laion_dask.display.overview import Overview
from laion_dask.errors import OptionError, no_column
from laion_dask.text.matcher import mentions
from laion_dask.text.packaged_lists import is_path, packaged, read
from laion_dask.text.term_list import TermList, in_order, of_groups


@dataclass(frozen=True, repr=False)
class Terms(Grouping):
    """Captions grouped by the terms they mention; create one with `terms`.

    Attributes
    ----------
    terms : TermList
        The terms of every group.
    column : str
        The column of captions.
    """

    terms: TermList
    column: str = "text"
    no_group = "(no term)"
    cost = Cost(("grouping terms",))

    @property
    def axis(self) -> str:
        """The list's name."""
        return self.terms.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The groups, in the order of the list."""
        return self.terms.labels

    @property
    def version(self) -> str:
        """The list's version; empty if it has none."""
        return self.terms.version

    @property
    def source(self) -> str:
        """The sources of the terms; empty for your own terms."""
        return "; ".join(self.terms.sources)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def words(self) -> Terms:
        """The same grouping with each term as its own group. Eager."""
        return replace(self, terms=self.terms.by_word())

    def table(self) -> pd.DataFrame:
        """All terms: ``group``, ``term``, ``only_before_person_noun``. Eager."""
        rows = [
            {"group": label, "term": term, "only_before_person_noun": only}
            for only, groups in ((False, self.terms.groups), (True, self.terms.homographs))
            for label, terms in groups
            for term in terms
        ]
        return pd.DataFrame(rows)

    def masks(self, captions: Iterable[str | None]) -> np.ndarray:
        """Mask of the groups that each caption mentions, (n, len(labels)) bool. Eager.

        Use it to try a list on examples; ``statistics`` counts over a whole frame.

        Parameters
        ----------
        captions : list, series or Arrow array of str
            A null mentions nothing.

        Raises
        ------
        OptionError
            If a caption is not a string.
        """
        rows, groups, n = self._mentions(captions)
        masks = np.zeros((n, len(self.labels)), bool)
        masks[rows, groups] = True
        return masks

    def _mentions(self, captions) -> tuple[np.ndarray, np.ndarray, int]:
        if isinstance(captions, (str, bytes)):
            raise OptionError("A single caption was given. Expected a list of captions.")
        if not isinstance(captions, (pa.Array, pa.ChunkedArray)):
            try:
                captions = pa.array(captions, pa.large_string(), from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
                raise OptionError(f"Expected a list of texts and nulls: {error}") from error
        if isinstance(captions, pa.Array):
            captions = pa.chunked_array([captions])
        return *mentions(captions, (self.terms,)), len(captions)

    def bind(self, column_types: Mapping[str, str]) -> Terms:
        if self.column not in column_types:
            raise no_column(
                self.column, column_types, "Name the column of captions: ld.terms(…, column=…)."
            )
        if column_types[self.column] != "string":
            raise OptionError(
                f"The column {self.column!r} holds {column_types[self.column]}. Terms are found in "
                "captions; expected a column of text: ld.terms(…, column=…)."
            )
        return self

    def assign(self, partition: Partition) -> Members:
        lists = partition.memo(_lists_of_the_pass, self.column)
        if self.terms not in lists:
            lists = (self.terms,)
        rows, groups = partition.memo(_mentions, self.column, lists)
        first = sum(len(one.labels) for one in lists[: lists.index(self.terms)])
        is_own = (groups >= first) & (groups < first + len(self.labels))
        return Members(self.labels, rows[is_own], groups[is_own] - np.int32(first), len(partition))

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all terms and their sources."""
        return _digest(self.terms)

    @property
    def _first_labels(self) -> str:
        return ", ".join(self.labels[:8]) + (", …" if len(self.labels) > 8 else "")

    def _overview(self) -> Overview:
        facts = {
            "list": self.axis,
            "version": self.version or None,
            "groups": f"{len(self.labels):,}: {self._first_labels}",
            "column": self.column,
            "digest": self.digest,
            "source": self.source or None,
        }
        notes = ["A match is a word in a caption; it does not show who is in the image."]
        return Overview("Term list", facts, notes=notes)

    def __repr__(self) -> str:
        # Dask names tasks by this text, so different terms must have different texts.
        version = f", version {self.version}" if self.version else ""
        named = f"{self.axis!r}{version}, {self.digest}, column={self.column!r}"
        return f"terms({named}: {self._first_labels})"


@lru_cache(maxsize=64)
def _digest(one: TermList) -> str:
    return hashlib.sha256(repr(one).encode()).hexdigest()[:12]


def terms(
    which: str | os.PathLike[str] | Mapping[str, Iterable[str]] | Iterable[str],
    *,
    column: str = "text",
    axis: str | None = None,
) -> Terms:
    """Group rows by the terms that their captions mention. Eager.

    A caption may mention terms of several groups, or none. A match is a word in a caption; it does
    not show who is in the image.

    Parameters
    ----------
    which : str, path, mapping or list
        The name of a packaged list (``ld.term_lists()`` lists them); the path of your own list in
        YAML (``ld.write_term_list`` writes a copy of a packaged list as a starting point);
        ``{group: [terms]}``; or a list of terms, each of which is its own group.
    column : str
        The column of captions.
    axis : str, optional
        Name of the axis of groups; by default the list's name, or "terms" for your own terms.

    Returns
    -------
    Terms
        For ``by=``. Has ``labels``, ``version``, ``source``; ``words()`` makes every term its own
        group, ``masks(captions)`` tries it on examples, ``table()`` lists the terms.

    Raises
    ------
    OptionError
        If no list has that name, or an entry is invalid; the message names it.

    Notes
    -----
    A term matches where all its words occur in sequence, in any case. Words are maximal runs of
    letters, marks, digits and connector punctuation such as ``_``, so they begin and end where
    ``\\b`` of a Unicode regular expression matches (UTS #18, annex C): "man" matches in "man's",
    but not in "human". Two words are equal if they are a compatibility caseless match (Unicode,
    section 3.13, D146): full case folding; composed and decomposed letters, full-width letters and
    ligatures are equal to their plain forms. Words that differ in an accent are different. Before
    matching, HTML character references are decoded as in HTML 5 (``&nbsp;``, ``&#39;``, ``&shy``
    without a semicolon, and the doubly encoded ``&amp;nbsp;``), and invisible characters are
    removed (Unicode's Default_Ignorable_Code_Point: soft hyphen, zero-width space, direction marks,
    …): "wo&shy;man" mentions "woman", not "man". Caption lengths and languages are those of the
    text as written, with references undecoded. Between the words of a term, white space matches any
    white space, a hyphen also matches U+2010 and U+2011, and an apostrophe also U+2019; other
    punctuation must match exactly. Matches may overlap; a longer one does not hide a shorter one.

    A homograph of a packaged list ("white", "black") counts only before a person noun, or before
    one other word and a person noun: "black woman", "a white young man"; not "black dress". Some
    words do not count after certain others: "white" in "black and white people", "old" in "a year
    old". This is a heuristic: "black women's boots" matches too.

    Examples
    --------
    >>> import laion_dask as ld
    >>> ld.terms("gender").labels
    ('woman', 'man', 'non-binary')
    >>> ld.terms({"pets": ["cat", "dog"]}).masks(["A cat.", "catalogue"]).tolist()
    [[True], [False]]
    """
    for name, value in (("column", column), ("axis", axis or "terms")):
        if not isinstance(value, str) or not value:
            raise OptionError(f"{name} is {value!r}. Expected a name.")
    term_list = _list(which)
    if axis is not None:
        term_list = replace(term_list, name=axis)
    return Terms(term_list, column)


def _list(value) -> TermList:
    if isinstance(value, Mapping):
        return of_groups("terms", value, "The mapping of terms")
    if is_path(value):
        return read(value)
    if isinstance(value, str):
        return packaged(value)
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise OptionError(
            f"The terms are {value!r}. Expected the name of a list, a path, {{group: [terms]}}, or "
            "a list of terms."
        )
    groups = {"terms": in_order(value)}
    return of_groups("terms", groups, "The list of terms").by_word("terms")


def _mentions(partition: Partition, column: str, lists: tuple[TermList, ...]):
    return mentions(partition.table[column], lists)


def _lists_of_the_pass(partition: Partition, column: str) -> tuple[TermList, ...]:
    """All lists that the statistics of the pass search in a column; one scan finds them all."""
    groupings = (one for statistic in partition.statistics for one in _terms_inside(statistic))
    return tuple(dict.fromkeys(one.terms for one in groupings if one.column == column))


def _terms_inside(value: object) -> Iterator[Terms]:
    if isinstance(value, Terms):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _terms_inside(getattr(value, field.name, None))
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _terms_inside(one)
