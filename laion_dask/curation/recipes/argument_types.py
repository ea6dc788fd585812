"""Validate the values of a step's arguments, by the types that its verb declares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from laion_dask.curation.recipes.document import Document, Path
from laion_dask.curation.recipes.parameters import names_in, replaced
from laion_dask.curation.recipes.steps import STEPS, StepKind, arguments_of
from laion_dask.curation.sample import check_size
from laion_dask.errors import LaionDaskError
from laion_dask.predicate.without_columns import check_expression

#: The types of plain values by their annotation, and their names for messages. An argument with
#: any other annotation is left to its verb.
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "None": ((type(None),), ""),
    "str": ((str,), "text"),
    "os.PathLike": ((str, os.PathLike), ""),
    "os.PathLike[str]": ((str, os.PathLike), ""),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "Sequence[str]": ((list, tuple), "a list"),
    "Mapping[str, str]": ((dict,), "a mapping"),
}


def check_values(
    document: Document, steps: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
) -> None:
    """Raise if a value in a step cannot be what its verb takes; no data is read.

    Parameters
    ----------
    document : Document
    steps : sequence of mapping
    values : mapping of str to object
        Those of parameters. An argument that refers to one without a value is not checked, nor
        is a step that they rule out.

    Raises
    ------
    RecipeError
        Names the line.
    """
    for number, step in enumerate(steps):
        is_set = "if_set" not in step or values.get(step["if_set"]) is not None
        if is_set and ("if_unset" not in step or values.get(step["if_unset"]) is None):
            _check_step(document, ("steps", number), step, values)


def _check_step(
    document: Document, path: Path, step: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    (name,) = (key for key in step if key in STEPS)
    kind = STEPS[name]
    known = {key for key, value in values.items() if value is not None}
    arguments = {
        key: replaced(value, values, in_expression=(name, key) == ("where", "expression"))
        for key, value in arguments_of(kind, step[name]).items()
        if names_in(value) <= known
    }
    for key, value in arguments.items():
        if expected := _mismatch(kind, key, value):
            raise document.error(
                (*path, name, key), f"{key!r} of {name!r} is {value!r}. Expected {expected}."
            )
    try:
        if name == "where" and "expression" in arguments:
            check_expression(arguments["expression"])
        written = arguments_of(kind, step[name])
        if name in ("top", "sample") and arguments.keys() == written.keys():
            check_size(arguments.get("fraction"), arguments.get("n"), f"{name}: {{fraction: 0.3}}")
    except LaionDaskError as error:
        raise document.error((*path, name), error.marked) from None


def _mismatch(kind: StepKind, key: str, value: Any) -> str:
    """What was expected, if a value does not have a declared type; empty if it does."""
    parameter = kind.parameters.get(key)
    names = str(parameter.annotation).split(" | ") if parameter is not None else [""]
    if not set(names) <= set(_TYPES):
        return ""
    allowed = [one for name in names for one in _TYPES[name][0]]
    if isinstance(value, bool) and bool not in allowed:
        fits = False
    else:
        fits = isinstance(value, tuple(allowed))
    return "" if fits else " or ".join(word for name in names if (word := _TYPES[name][1]))


def check_plain(document: Document, path: Path, value: Any) -> None:
    """Raise if a step has a value that YAML does not have, such as a frame or an array."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            check_plain(document, (*path, key), one)
    elif isinstance(value, (list, tuple)):
        for n, one in enumerate(value):
            check_plain(document, (*path, n), one)
    elif not isinstance(value, (str, int, float, os.PathLike, np.generic, type(None))):
        raise document.error(
            path,
            f"a recipe is plain data, and {path[-1]!r} is an object of type "
            f"{type(value).__name__}. Expected text, a number, a list or a mapping: name a file by "
            "its path, and embeddings by their name, such as 'embeddings:image'.",
        )
