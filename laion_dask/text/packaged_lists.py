"""Read, list and copy term lists: the packaged ones and those in files."""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files
from pathlib import Path

import pandas as pd
import yaml

from laion_dask.errors import ExportError, OptionError, unknown
from laion_dask.text.term_list import TermList, of_file

#: The list that holds the person nouns of homographs, and the words allowed in between.
_PEOPLE = "people"
_SUFFIXES = (".yaml", ".yml")


class _Loader(yaml.SafeLoader):
    """Rejects duplicate keys; YAML would silently keep only the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} occurs twice", node.value[i][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _folder():
    return files("laion_dask.text") / "lists"


@cache
def names() -> tuple[str, ...]:
    """Names of the packaged lists, in alphabetical order."""
    entries = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml")))


@cache
def packaged(name: str) -> TermList:
    """A packaged list.

    Raises
    ------
    OptionError
        If no list has that name.
    """
    return _of_text(_text(name), f"The list {name!r}", None if name == _PEOPLE else _defaults())


def read(path: str | os.PathLike[str]) -> TermList:
    """Read a term list from a user's file.

    Raises
    ------
    OptionError
        If the file cannot be read or is not a valid list; names the invalid entry and the reason.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise OptionError(
            f"There is no file {os.fspath(path)!r}. Expected a list of terms in YAML; "
            "ld.write_term_list(name, path) writes a copy of a packaged list."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"{os.fspath(path)!r} cannot be read as UTF-8 text: {error}. Expected a list of terms "
            "in YAML."
        ) from error
    return _of_text(text, f"The file {os.fspath(path)!r}", _defaults())


def is_path(argument: object) -> bool:
    """Whether an argument names a file rather than a packaged list."""
    if isinstance(argument, os.PathLike):
        return True
    separators = {os.sep, os.altsep or os.sep, "/"}
    if not isinstance(argument, str):
        return False
    return argument.endswith(_SUFFIXES) or any(s in argument for s in separators)


def term_lists() -> pd.DataFrame:
    """Table of the packaged term lists, their contents and their sources. Eager.

    Returns
    -------
    pandas DataFrame
        One row per list: ``name``, ``version``, ``language``, ``groups`` and ``terms`` (counts),
        ``about``, ``sources``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> "gender" in set(ld.term_lists()["name"])
    True
    """
    rows = []
    for name in names():
        one = packaged(name)
        terms = sum(len(terms) for _, terms in (*one.groups, *one.homographs))
        rows.append(
            {
                "name": name,
                "version": one.version,
                "language": one.language,
                "groups": len(one.labels),
                "terms": terms,
                "about": one.about,
                "sources": "; ".join(one.sources),
            }
        )
    return pd.DataFrame(rows)


def write_term_list(name: str, path: str | os.PathLike[str]) -> Path:
    """Write a copy of a packaged list, to edit and pass to ``ld.terms(path)``. Eager.

    Parameters
    ----------
    name : str
        A name from `term_lists`.
    path : path
        The file to write, such as ``my_gender.yaml``; must not exist.

    Raises
    ------
    OptionError
        If no list has that name, or the path does not end in .yaml.
    ExportError
        If the file exists or cannot be written.

    Examples
    --------
    >>> import laion_dask as ld
    >>> path = ld.write_term_list("gender", "my_gender.yaml")
    >>> grouping = ld.terms(path)  # after editing the file
    """
    text, path = _text(name), Path(path)
    if path.suffix not in _SUFFIXES:
        raise OptionError(f"The path is {str(path)!r}. Expected one that ends in .yaml.")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ExportError(
            f"{str(path)!r} exists, and may have been edited. Choose another name, or remove it."
        ) from error
    except OSError as error:
        raise ExportError(f"{str(path)!r} cannot be written: {error}.") from error
    return path


def _text(name: str) -> str:
    if name not in names():
        raise unknown("term list", name, names())
    return (_folder() / f"{name}.yaml").read_text(encoding="utf-8")


@cache
def _defaults() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Person nouns of homographs, and the words allowed in between, from the list of people."""
    people = packaged(_PEOPLE)
    nouns = tuple(term for _, terms in people.groups for term in terms if " " not in term)
    between = yaml.load(_text(_PEOPLE), _Loader)["between"]
    return nouns, tuple(between)


def _of_text(text: str, where: str, defaults) -> TermList:
    try:
        data = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise OptionError(
            f"{where} is not valid YAML: {reason}. Quote terms that contain punctuation."
        ) from error
    nouns, between = defaults or ((), ())
    return of_file(data, where, nouns, between)
