"""Check an expression before its columns are known, as when a recipe is loaded."""

from __future__ import annotations

import itertools

from laion_dask.errors import PredicateError
from laion_dask.predicate.clauses import clause_texts, named_columns
from laion_dask.predicate.parser import parse
from laion_dask.schema import CANONICAL

_TYPES = ("float64", "string", "boolean")
#: A clause of more columns than this is checked for the types of canonical columns only.
_MAX_COLUMNS = 4


def check_expression(text: str) -> None:
    """Raise if an expression is not valid, whatever the types of its columns are.

    Lists in files are not read, so clauses with one are left to `parse`.

    Raises
    ------
    PredicateError
    """
    for clause in clause_texts(text):
        if "file(" not in clause:
            _check(clause)


def _check(clause: str) -> None:
    columns = sorted(named_columns(clause))
    usual = [_usual_type(name) for name in columns]
    others = itertools.product(_TYPES, repeat=len(columns)) if len(columns) <= _MAX_COLUMNS else ()
    first = None
    for types in (usual, *others):
        try:
            parse(clause, dict(zip(columns, types, strict=True)))
        except PredicateError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def _usual_type(name: str) -> str:
    column = CANONICAL.get(name)
    return "string" if column is not None and column.kind == "string" else "float64"
