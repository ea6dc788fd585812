"""What a recipe needs: columns, embeddings, and parameters without a default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from laion_dask.curation.recipes.parameters import names_in, replaced
from laion_dask.curation.recipes.steps import ROLES, STEPS, StepKind, arguments_of
from laion_dask.predicate.clauses import named_columns

if TYPE_CHECKING:
    from laion_dask.curation.recipes.definition import Definition

#: Arguments of steps that name columns of the frame.
_COLUMN_ARGUMENTS = ("by", "column", "columns", "weights", "on")
#: Arguments of steps that name new columns.
_NEW_COLUMNS = ("to", "number", "score")


def calls(recipe: Definition) -> Iterator[tuple[int, StepKind, dict[str, Any], Mapping[str, Any]]]:
    """Each step's number, kind, arguments and conditions."""
    for number, step in enumerate(recipe.steps):
        (name,) = (key for key in step if key in STEPS)
        conditions = {key: value for key, value in step.items() if key != name}
        yield number, STEPS[name], arguments_of(STEPS[name], step[name]), conditions


def roles_of(kind: StepKind, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The embeddings of a step by argument: the names under which a run is given them."""
    roles = {}
    for name in kind.embeddings:
        value = arguments.get(name)
        if isinstance(value, str) and (kind.needs_embeddings or value.startswith("embeddings:")):
            roles[name] = value.removeprefix("embeddings:")
        elif value is None and name in ROLES and kind.needs_embeddings:
            roles[name] = ROLES[name]
    return roles


def columns_of(kind: StepKind, arguments: Mapping[str, Any]) -> set[str]:
    """The columns that a step reads, as far as its arguments, or their defaults, name them."""
    if kind.name == "where":
        return named_columns(str(arguments.get("expression", "")))
    found: set[str] = set()
    for name in set(_COLUMN_ARGUMENTS) & set(kind.parameters):
        value = arguments.get(name, kind.parameters[name].default)
        values = value if isinstance(value, (list, Mapping)) else [value]
        found |= {one for one in values if isinstance(one, str) and ":" not in one}
    return {"url" if one == "normalized_url" else one for one in found}


def _new_columns(kind: StepKind, arguments: Mapping[str, Any]) -> list[Any]:
    """The names that arguments of a step give to new columns."""
    names = [name for name in _NEW_COLUMNS if name in kind.parameters]
    return [arguments.get(name, kind.parameters[name].default) for name in names]


def needs_text(recipe: Definition) -> str:
    """What a recipe needs unless parameters with a default are set, as one line.

    A column that is computed from embeddings where it is missing has them in parentheses. Columns
    after heads that the user chooses are not listed, since the heads may add them.
    """
    defaults = {n: one["default"] for n, one in recipe.parameters.items() if "default" in one}
    unset = [name for name in recipe.parameters if name not in defaults]
    shown = {n: 0 if defaults.get(n) is None else defaults[n] for n in recipe.parameters}
    columns: dict[str, None] = {}
    vectors: dict[str, None] = {}
    added: set[str] = set()
    for _, kind, written, conditions in calls(recipe):
        if not _is_usual(conditions, defaults):
            continue
        arguments = {
            key: replaced(value, shown, in_expression=key == "expression")
            for key, value in written.items()
        }
        roles = [f"{role} embeddings" for role in roles_of(kind, arguments).values()]
        missing = conditions.get("if_missing")
        if missing is not None and roles:
            columns |= {f"{missing} (or {' and '.join(roles)})": None}
        else:
            columns |= dict.fromkeys(sorted(columns_of(kind, arguments) - added))
            vectors |= dict.fromkeys(roles)
        added |= {str(one) for one in (*_new_columns(kind, arguments), missing) if one is not None}
        if names_in(written.get("heads")) & set(unset):
            break
    return ", ".join([*columns, *vectors, *(f"--set {name}" for name in unset)])


def _is_usual(conditions: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    """Whether a step is taken by default, and in a frame without optional columns."""
    is_set = {name for name, value in defaults.items() if value is not None}
    return (
        "if_present" not in conditions
        and conditions.get("if_set") in {None, *is_set}
        and conditions.get("if_unset") not in is_set
    )
