"""Parameters of a recipe: ``$name`` in its values is replaced by the value that was set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from laion_dask.curation.recipes.expression_text import with_parts
from laion_dask.errors import RecipeError, did_you_mean

_NAME = re.compile(r"\$(\$|[A-Za-z_][A-Za-z0-9_]*)")


def unmet_setting(step: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Why a step is left out, if a parameter must be set, or not be set; empty if it is taken."""
    is_set, is_unset = step.get("if_set"), step.get("if_unset")
    if is_set is not None and values[is_set] is None:
        return f"the parameter {is_set} is not set"
    if is_unset is not None and values[is_unset] is not None:
        return f"the parameter {is_unset} is set"
    return ""


def names_in(value: Any) -> set[str]:
    """The names of the parameters that a value, at any depth, refers to."""
    if isinstance(value, str):
        return {name for name in _NAME.findall(value) if name != "$"}
    if isinstance(value, Mapping):
        return set().union(*map(names_in, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(names_in, value))
    return set()


def replaced(value: Any, values: Mapping[str, Any], *, in_expression: bool = False) -> Any:
    """A value with its parameters replaced, at any depth.

    Text that is one parameter, such as ``$fraction``, becomes its value, with its type. Within
    longer text a parameter is inserted: as it is written in `where` if ``in_expression`` (text is
    quoted, so that it cannot change the expression), else, and within quotes, as text. ``$$`` is a
    dollar sign.
    """
    if isinstance(value, Mapping):
        return {key: replaced(v, values, in_expression=in_expression) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [replaced(one, values, in_expression=in_expression) for one in value]
    if not isinstance(value, str):
        return value
    if in_expression:
        literal = partial(_inserted, values, _literal)
        return with_parts(value, outside=literal, inside=partial(_inserted, values, _text))
    whole = _NAME.fullmatch(value)
    if whole and whole[1] != "$":
        return values[whole[1]]
    return _inserted(values, _text, value)


def _inserted(values: Mapping[str, Any], written: Callable[[str, Any], str], text: str) -> str:
    """Text with each ``$name`` replaced by its value, as ``written`` writes it."""

    def one(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else written(match[1], values[match[1]])

    return _NAME.sub(one, text)


def _text(name: str, value: Any) -> str:
    return str(value)


def escaped(value: Any) -> Any:
    """A value that `replaced` leaves as it was: each dollar sign in text is doubled."""
    if isinstance(value, Mapping):
        return {key: escaped(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [escaped(one) for one in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _literal(name: str, value: Any) -> str:
    """A value as `where` reads it."""
    if isinstance(value, (list, tuple)):
        return f"({', '.join(_literal(name, one) for one in value)},)"
    if isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise RecipeError(
        f"The parameter {name!r} is {value!r}, and an expression uses it. Expected text, a number, "
        "or a list of these."
    )


def bound(
    declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], recipe: str
) -> dict[str, Any]:
    """The value of every parameter: the given one, else its default, else None.

    Raises
    ------
    RecipeError
        When the recipe has no such parameter, or the value has another type than the default.
    """
    for name, value in given.items():
        if name not in declared:
            hint = did_you_mean(name, declared) if declared else " It has no parameters."
            raise RecipeError(f"The recipe {recipe!r} has no parameter {name!r}.{hint}")
        _check_type(name, value, declared[name].get("default"))
    defaults = {name: one.get("default") for name, one in declared.items()}
    return {**defaults, **given}


def _check_type(name: str, value: Any, default: Any) -> None:
    if default is None or value is None:
        return
    is_number = [isinstance(v, (int, float)) and not isinstance(v, bool) for v in (value, default)]
    if all(is_number) or (not any(is_number) and type(value) is type(default)):
        return
    kinds = {bool: "true or false", str: "text", list: "a list"}
    expected = "a number" if is_number[1] else kinds.get(type(default), type(default).__name__)
    raise RecipeError(
        f"The parameter {name!r} is {value!r}. Expected {expected}, such as {default!r}."
    )
