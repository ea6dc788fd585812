"""What a recipe needs: columns, embeddings, and parameters without a default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from laion_dask.curation.recipes.parameters import replaced
from laion_dask.curation.recipes.steps import ROLES, STEPS, StepKind, arguments_of
from laion_dask.predicate.clauses import named_columns

if TYPE_CHECKING:
    from laion_dask.curation.recipes.definition import Definition

#: Arguments of steps that name columns of the frame.
_COLUMN_ARGUMENTS = ("by", "column", "columns", "weights", "on")


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
    """The columns that a step reads, as far as its arguments name them."""
    if kind.name == "where":
        return named_columns(str(arguments.get("expression", "")))
    found: set[str] = set()
    for name in _COLUMN_ARGUMENTS:
        value = arguments.get(name, ())
        values = value if isinstance(value, list) else [value]
        found |= {one for one in values if isinstance(one, str) and ":" not in one}
    return found


def needs_text(recipe: Definition) -> str:
    """What a recipe needs, as one line."""
    defaults = {n: one.get("default") for n, one in recipe.parameters.items()}
    unset = [name for name, one in recipe.parameters.items() if "default" not in one]
    shown = {n: 0 if v is None else v for n, v in defaults.items()}
    columns: dict[str, None] = {}
    vectors: dict[str, None] = {}
    added: set[str] = set()
    for _, kind, arguments, conditions in calls(recipe):
        arguments = {
            key: replaced(value, shown, in_expression=key == "expression")
            for key, value in arguments.items()
        }
        if not conditions.keys() - {"why"}:
            columns |= dict.fromkeys(sorted(columns_of(kind, arguments) - added))
            vectors |= dict.fromkeys(f"{r} embeddings" for r in roles_of(kind, arguments).values())
        added |= {str(arguments[key]) for key in ("to",) if key in arguments}
        added |= {conditions["if_missing"]} if "if_missing" in conditions else set()
    return ", ".join([*columns, *vectors, *(f"--set {name}" for name in unset)])
