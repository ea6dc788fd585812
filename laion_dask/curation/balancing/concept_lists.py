"""The lists of concepts that captions are balanced by: one, or one for each language."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.cost import Cost
from laion_dask.errors import OptionError, no_column, one_of
from laion_dask.predicate.list_file import ListError, read_bytes, read_texts
from laion_dask.text.entries import Entries
from laion_dask.text.term_list import in_order

#: The language of a list for captions of every language that has no list, as in MetaCLIP 2.
OTHER = "other"
_EXPECTED = (
    "Expected a list of texts, a file of them (.json, .parquet, .csv, or one a line), or, with "
    "language='language', a mapping of languages to such"
)


@dataclass(frozen=True)
class ListOrigin:
    """Where a list of concepts came from, for the manifest of an export."""

    path: str
    sha256: str
    n: int
    language: str

    def recipe(self) -> dict[str, object]:
        """What a manifest records: never the concepts."""
        entry: dict[str, object] = {"list": self.path, "sha256": self.sha256, "values": self.n}
        return {**entry, "language": self.language} if self.language else entry


@dataclass(frozen=True, eq=False)
class ConceptLists:
    """Lists of concepts, and the columns that they are applied to. Picklable.

    Attributes
    ----------
    by_language : dict of str to Entries
        Under ``""`` for captions of every language.
    column : str
        The captions.
    language : str or None
        The column of languages.
    lists : tuple of ListOrigin
    """

    by_language: Mapping[str, Entries]
    column: str
    language: str | None
    lists: tuple[ListOrigin, ...]
    verb = "balance"

    @property
    def cost(self) -> Cost:
        """The cost of balancing one row: its caption is read for the counts, and to decide.

        A summary of a row takes as long as finding 500,000 entries in a caption.
        """
        return Cost(("summary", "summary"), columns=tuple(self.reads), label="balance")

    @classmethod
    def of(
        cls, frame: Any, entries: object, column: str, language: str | None, version: int | None
    ) -> ConceptLists:
        """Read and validate the arguments of `balance` and `concepts`.

        Raises
        ------
        OptionError, ColumnError
        """
        for name in (column, *([] if language is None else [language])):
            if name not in frame.columns:
                raise no_column(name, frame.columns)
        if version not in (None, 1, 2):
            raise one_of("version", version, ["1", "2"])
        number = version or (1 if language is None else 2)
        if isinstance(entries, (str, os.PathLike)) and str(entries).endswith(".json"):
            loaded = _json(str(entries))
            if isinstance(loaded, Mapping):
                entries = loaded
        if not isinstance(entries, Mapping):
            entries = {"": entries}
        elif language is None:
            raise OptionError(
                "entries is a mapping of languages, but no column of languages is named. Add "
                "language='language', or give one list."
            )
        by_language, lists = {}, []
        for name, given in entries.items():
            texts, path, digest = _texts(given, str(name))
            made = Entries(texts, number)
            by_language[str(name)] = made
            lists.append(ListOrigin(path, digest or made.digest, len(made), str(name)))
        if not by_language:
            raise OptionError(f"entries is empty. {_EXPECTED}.")
        return cls(by_language, column, language, tuple(lists))

    def entries_of(self, language: str) -> Entries | None:
        """The concepts for captions of a language; None if it has no list."""
        lists = self.by_language
        return lists.get(language) or lists.get("") or lists.get(OTHER)

    @property
    def reads(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys([self.column, *([self.language] if self.language else [])]))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        digests = tuple((name, one.digest) for name, one in self.by_language.items())
        origins = tuple(map(repr, self.lists))  # which a manifest records
        return ("laion_dask.ConceptLists", digests, origins, self.column, self.language)


def _texts(given: object, language: str) -> tuple[pa.Array, str, str]:
    """The distinct texts of one list, its path or origin, and the sha256 of its file."""
    of = f" of {language!r}" if language else ""
    path, digest = "given in Python", ""
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        path = path if "://" in path else os.path.abspath(os.path.expanduser(path))
        if path.endswith(".json"):
            given = _json(path)
            digest = hashlib.sha256(read_bytes(path)).hexdigest()
        else:
            try:
                array, digest = read_texts(path, "entry")
            except ListError as error:
                raise OptionError(f"The list of entries {path} {error.why}.") from None
            return _distinct(array), path, digest
    if isinstance(given, (pa.Array, pa.ChunkedArray)):
        given = given.to_pylist()
    is_table = hasattr(given, "columns")  # whose iteration gives the names of columns
    if isinstance(given, Mapping) or is_table or not isinstance(given, Iterable):
        raise OptionError(f"The list of entries{of} is {repr(given)[:80]}. {_EXPECTED}.")
    texts = in_order(given)
    for text in texts:
        if not isinstance(text, str) or not text:
            raise OptionError(
                f"The list of entries{of} holds {text!r}. Expected texts that are not empty; "
                "quote numbers, and words such as no."
            )
    if not texts:
        raise OptionError(f"The list of entries{of} is empty. {_EXPECTED}.")
    try:
        return _distinct(pa.array(texts, pa.large_string())), path, digest
    except UnicodeEncodeError as error:
        raise OptionError(
            f"The list of entries{of} holds {error.object[:80]!r}, which is not valid Unicode. "
            "Leave it out."
        ) from None


def _distinct(texts: pa.Array) -> pa.Array:
    """Each text once, in the order of first occurrence."""
    distinct = pc.unique(texts)
    return distinct.filter(pc.greater(pc.binary_length(distinct), 0))


def _json(path: str) -> Any:
    try:
        return json.loads(read_bytes(path))
    except ListError as error:
        raise OptionError(f"The list of entries {path} {error.why}.") from None
    except ValueError as error:
        raise OptionError(f"The list of entries {path} is not JSON: {error}.") from None
