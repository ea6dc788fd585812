"""Validate the tree of a recipe; messages name the file, the line and the nearest valid name."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from laion_dask.curation.recipes.document import Document, Path
from laion_dask.curation.recipes.parameters import names_in
from laion_dask.curation.recipes.steps import STEPS, StepKind, arguments_of
from laion_dask.errors import LaionDaskError, RecipeError, did_you_mean
from laion_dask.exports import formats
from laion_dask.exports.export import export

#: The keys of a recipe, with the type of their values and what they are for.
KEYS: Mapping[str, tuple[type, str]] = {
    "name": (str, "The name of the recipe."),
    "title": (str, "What it makes, in one line."),
    "paper": (str, "Where the rule is published."),
    "url": (str, "The address of the publication."),
    "description": (str, "What the recipe does, and what to know before using it."),
    "not_reproduced": (list, "What of the published subset this recipe cannot reproduce."),
    "not_applied": (list, "Parts of the published rule that are not applied."),
    "warnings": (list, "Sentences that every run shows."),
    "parameters": (dict, "Values that a user may set, with their defaults."),
    "source": (dict, "Arguments of read_shards, such as rename."),
    "removal_lists": (list, "Lists of rows to leave out, applied first and again at the end."),
    "steps": (list, "The steps, in order."),
    "export": (dict, "Arguments of export, such as format."),
    "seed": (int, "The seed of every step that draws."),
}
#: The keys of a step beside its name.
STEP_KEYS: Mapping[str, str] = {
    "if_missing": "Take the step only if the frame lacks this column.",
    "if_present": "Take the step only if the frame has this column.",
    "if_set": "Take the step only if this parameter has a value.",
    "if_unset": "Take the step only if this parameter has no value.",
    "why": "The reason for the step.",
}
_KINDS = {str: "text", list: "a list", dict: "a mapping", int: "a whole number"}
#: The arguments of `read_shards` that a recipe may set.
SOURCE_KEYS = (
    *("paths", "columns", "where", "dialect", "swap_width_height", "rename"),
    *("hive_partitioning", "max_rows_per_partition"),
)


@cache
def export_keys() -> tuple[str, ...]:
    """The arguments of `export` that a recipe may set: its own, and the options of formats."""
    own = [n for n, p in inspect.signature(export).parameters.items() if p.kind is p.KEYWORD_ONLY]
    options = (option for name in formats.names() for option in formats.options_of(name))
    return tuple(dict.fromkeys(["format", *own, *options]))


def validate(document: Document) -> dict[str, Any]:
    """The tree of a document that is a valid recipe.

    Raises
    ------
    RecipeError
        Names the file and the line.
    """
    tree = document.tree
    if not isinstance(tree, dict):
        raise document.error((), f"a recipe is a mapping, not {_shown(tree)}.")
    for key, value in tree.items():
        _known(document, (key,), key, KEYS, "key")
        kind = KEYS[key][0]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise document.error(
                (key,), f"{key!r} is {_shown(value)}. Expected {_KINDS[kind]}: {KEYS[key][1]}"
            )
    for key in ("name", "steps"):
        if not tree.get(key):
            raise document.error((), f"the recipe has no {key!r}. {KEYS[key][1]}")
    for key in ("not_reproduced", "not_applied", "warnings"):
        for n, line in enumerate(tree.get(key, ())):
            if not isinstance(line, str):
                raise document.error((key, n), f"{_shown(line)} is not text.")
    for key in tree.get("source", {}):
        _known(document, ("source", key), key, SOURCE_KEYS, "argument of read_shards")
    for key in tree.get("export", {}):
        _known(document, ("export", key), key, export_keys(), "argument of export")
    _check_format(document, tree.get("export", {}).get("format", "parquet"))
    _check_parameters(document, tree)
    for n, one in enumerate(tree.get("removal_lists", ())):
        path: Path = ("removal_lists", n)
        if not isinstance(one, (str, dict)):
            raise document.error(
                path,
                f"{_shown(one)} is not a removal list. Expected a path, or arguments of exclude.",
            )
        _check_arguments(document, path, STEPS["exclude"], arguments_of(STEPS["exclude"], one))
    for n, step in enumerate(tree["steps"]):
        check_step(document, ("steps", n), step)
        for key in ("if_set", "if_unset"):
            if key in step:
                known = tree.get("parameters", {})
                _known(document, ("steps", n, key), step[key], known, "parameter")
    return tree


def _check_format(document: Document, name: Any) -> None:
    if not isinstance(name, str) or (name not in formats.names() and not names_in(name)):
        hint = did_you_mean(str(name), formats.names())
        raise document.error(("export", "format"), f"unknown format {_shown(name)}.{hint}")


def _check_parameters(document: Document, tree: Mapping[str, Any]) -> None:
    declared = tree.get("parameters", {})
    for name, one in declared.items():
        path: Path = ("parameters", name)
        if not isinstance(one, dict):
            raise document.error(
                path, f"{name!r} is {_shown(one)}. Expected 'default' and 'description' below it."
            )
        for key in one:
            _known(document, (*path, key), key, ("default", "description"), "key")
    for key in ("steps", "removal_lists", "export", "source"):
        for path, value in _leaves(tree.get(key), (key,)):
            for name in sorted(names_in(value) - set(declared)):
                hint = did_you_mean(name, declared) if declared else ""
                raise document.error(
                    path,
                    f"${name} is not a parameter of the recipe.{hint} Declare it below "
                    "'parameters', or write $$ for a dollar sign.",
                )


def _leaves(value: Any, path: Path) -> list[tuple[Path, Any]]:
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in _leaves(one, (*path, key))]
    if isinstance(value, list):
        return [leaf for n, one in enumerate(value) for leaf in _leaves(one, (*path, n))]
    return [(path, value)]


def check_step(document: Document, path: Path, step: Any) -> None:
    """Raise unless a step has one known name, and arguments that its verb takes."""
    if not isinstance(step, dict):
        form = "a step such as 'where: width > 256'"
        raise document.error(path, f"{_shown(step)} is not a step. Expected {form}.")
    names = [key for key in step if key not in STEP_KEYS]
    for name in names:
        _known(document, (*path, name), name, (*STEPS, *STEP_KEYS), "step")
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise document.error(path, f"a step has one name; this has {found}. Start a new '- '.")
    for key in (key for key in step if key in STEP_KEYS):
        if not isinstance(step[key], str):
            raise document.error((*path, key), f"{key!r} is {_shown(step[key])}. Expected text.")
    name = names[0]
    value, kind = step[name], STEPS[name]
    if not isinstance(value, dict) and value is not None and not kind.main:
        raise document.error((*path, name), f"{name!r} takes arguments by name.")
    _check_arguments(document, (*path, name), kind, arguments_of(kind, value))


def _check_arguments(
    document: Document, path: Path, kind: StepKind, arguments: Mapping[str, Any]
) -> None:
    for name in arguments:
        known = [one for one in kind.parameter_names if not one.startswith("*")]
        _known(document, (*path, name), name, known, f"argument of {kind.name!r}")
    for name in set(kind.frames) & set(arguments):
        if arguments[name] != "source":
            raise document.error(
                (*path, name), f"{name!r} is {_shown(arguments[name])}. Expected 'source'."
            )
    missing = [name for name in kind.required if name not in arguments]
    if kind.name == "score" and "heads" not in arguments:
        missing = ["heads"]
    if missing:
        raise document.error(path, f"{kind.name!r} needs {' and '.join(missing)}.")


def _known(document: Document, path: Path, name: str, known: Collection[str], what: str) -> None:
    if name not in known:
        raise document.error(path, f"unknown {what} {name!r}.{did_you_mean(name, known)}")


def at_step(document: Document, number: int, error: LaionDaskError) -> RecipeError:
    """An error that a step raised, with the line and the number of the step."""
    path: Path = ("removal_lists",) if number < 0 else ("steps", number)
    shown = document.step_number(number)
    return document.error(path, f"step {shown}: {error.marked}" if shown else error.marked)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
