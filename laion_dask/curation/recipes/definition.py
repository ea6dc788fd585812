"""The tree of a recipe: read, written, built step by step, and its parameters replaced."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from laion_dask.curation.recipes import library
from laion_dask.curation.recipes.argument_types import check_plain, check_values
from laion_dask.curation.recipes.document import Document, read_document, to_yaml
from laion_dask.curation.recipes.expression_text import with_files
from laion_dask.curation.recipes.parameters import (
    bound,
    escaped,
    names_in,
    replaced,
    unmet_setting,
)
from laion_dask.curation.recipes.plain_urls import without_urls
from laion_dask.curation.recipes.steps import STEPS, arguments_of
from laion_dask.curation.recipes.validation import KEYS, STEP_KEYS, check_step, validate
from laion_dask.errors import RecipeError, did_you_mean, must_be


@dataclass(frozen=True)
class Definition:
    """A recipe without the verbs that run it; see `laion_dask.Recipe`."""

    name: str
    steps: Sequence[Mapping[str, Any]] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    removal_lists: Sequence[str | Mapping[str, Any]] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    title: str = ""
    paper: str = ""
    url: str = ""
    description: str = ""
    not_reproduced: Sequence[str] = ()
    not_applied: Sequence[str] = ()
    warnings: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    document: Document = field(default=Document(None, "the recipe", {}), repr=False, compare=False)

    def __post_init__(self) -> None:
        must_be("name", self.name, str, "the name of the recipe")
        for number, step in enumerate(self.steps):
            if isinstance(step, Mapping):
                check_plain(self.document, ("steps", number), step)
            check_step(self.document, ("steps", number), step)
        values = bound(self.parameters, self.values, self.name)
        check_values(self.document, self.steps, values)
        lists = [without_urls({"exclude": one})["exclude"] for one in self.removal_lists]
        object.__setattr__(self, "removal_lists", lists)
        object.__setattr__(self, "steps", [without_urls(step) for step in self.steps])

    # -- reading and writing -------------------------------------------------------------------

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Self:
        """A shipped recipe by its name, or a recipe file. Eager.

        Paths in a file are relative to its folder; those that a parameter sets, to the current one.

        Raises
        ------
        RecipeError
            When no recipe has the name, or the file is not a valid recipe; names the line.

        Examples
        --------
        >>> import laion_dask as ld
        >>> ld.Recipe.load("laion-high-resolution").steps
        [{'where': 'width >= $side and height >= $side'}]
        """
        text, origin = library.text_of(name_or_path)
        return cls.parse(text, origin)

    @classmethod
    def parse(cls, text: str, origin: str = "the recipe") -> Self:
        """A recipe from YAML text. Eager.

        Raises
        ------
        RecipeError
            Names ``origin`` and the line.
        """
        document = read_document(text, origin)
        return cls(**validate(document), document=document)

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], origin: str = "the recipe") -> Self:
        """A recipe from its `tree`.

        Raises
        ------
        RecipeError
        """
        values = dict(tree.get("values", {}))
        known = {key: value for key, value in tree.items() if key != "values"}
        document = Document(known, origin, {})
        return cls(**validate(document), document=document).with_parameters(**values)

    @property
    def tree(self) -> dict[str, Any]:
        """The recipe as plain values, without what is empty; ``values`` are the set parameters."""
        keys = [*KEYS, "values"]
        found = {key: deepcopy(getattr(self, key)) for key in keys}
        return {key: _plain(one) for key, one in found.items() if one or key == "name"}

    def to_yaml(self) -> str:
        """The recipe as YAML, which `load` reads; parameters that were set are its defaults."""
        tree = self.tree
        for name, value in tree.pop("values", {}).items():
            tree["parameters"][name]["default"] = value
        return to_yaml(tree)

    def __str__(self) -> str:
        return self.to_yaml()

    # -- building ------------------------------------------------------------------------------

    def with_parameters(self, **values: Any) -> Self:
        """The recipe with parameters set.

        Raises
        ------
        RecipeError
            When the recipe has no such parameter, or the value has the wrong type.
        """
        hidden = names_in(list(self.removal_lists))  # these may list what must not be stored
        values = {
            name: without_urls({"exclude": value})["exclude"] if name in hidden else value
            for name, value in values.items()
        }
        given = {**self.values, **values}
        bound(self.parameters, given, self.name)
        return replace(self, values=given)

    def step(self, name: str, /, *values: Any, **arguments: Any) -> Self:
        """The recipe with one more step.

        Parameters
        ----------
        name : str
            The name of the step, which is that of a verb.
        *values
            One value is the step's main argument, such as the expression of ``where``; several
            are the verb's arguments in order.
        **arguments
            Arguments of the verb; ``if_missing`` and ``if_present`` make the step depend on a
            column, ``if_set`` and ``if_unset`` on a parameter, and ``why`` gives its reason.

        Raises
        ------
        RecipeError
            When there is no such step, or the verb does not take an argument.
        """
        if name not in STEPS:
            raise RecipeError(f"There is no step {name!r}.{did_you_mean(name, STEPS)}")
        extra = {k: arguments.pop(k) for k in STEP_KEYS if k in arguments}
        names = STEPS[name].parameter_names if len(values) != 1 else [STEPS[name].main]
        if len(values) > len(names):
            raise RecipeError(
                f"{name!r} takes {', '.join(names)}; {len(values)} values were given."
            )
        arguments = dict(zip(names, values, strict=False)) | arguments
        main = arguments.get(STEPS[name].main)
        is_main = set(arguments) == {STEPS[name].main}
        if is_main and isinstance(main, Mapping):  # a value itself, unless it is arguments by name
            is_main = bool(values) and set(main) <= set(STEPS[name].parameter_names)
        content = main if is_main else arguments
        step: dict[str, Any] = {name: _plain(content)}
        return replace(self, steps=[*self.steps, step | extra])

    def __getattr__(self, name: str) -> Any:
        if name in STEPS:
            return functools.partial(self.step, name)
        raise AttributeError(f"A recipe has no attribute {name!r}.{did_you_mean(name, STEPS)}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *STEPS})

    # -- resolving -----------------------------------------------------------------------------

    def resolved(self) -> Self:
        """The recipe with its parameters replaced by their values, and paths made absolute.

        Raises
        ------
        RecipeError
            When a parameter that a step uses has no value.
        """
        values = bound(self.parameters, self.values, self.name)
        self._check_set(values)
        taken = [n for n, step in enumerate(self.steps) if not unmet_setting(step, values)]
        steps = [self._resolved_step(self.steps[number], values) for number in taken]
        lists = [self._absolute(replaced(one, values), one) for one in self.removal_lists]
        lists = [one for one in lists if one is not None]
        return replace(
            self,
            steps=steps,
            removal_lists=lists,
            source=self._with_paths(self.source, values, "paths"),
            export=self._with_paths(self.export, values, "images"),
            parameters={},
            values={},
            document=self.document.with_steps(taken),
        )

    def unset_steps(self) -> list[tuple[int, str]]:
        """The steps that `resolved` leaves out: their numbers, from 1, and why."""
        values = bound(self.parameters, self.values, self.name)
        reasons = ((n, unmet_setting(step, values)) for n, step in enumerate(self.steps))
        return [(self.document.step_number(n), why) for n, why in reasons if why]

    def _check_set(self, values: Mapping[str, Any]) -> None:
        for name, declared in self.parameters.items():
            if values[name] is None and "default" not in declared:
                about = declared.get("description", "")
                raise RecipeError(
                    f"The recipe {self.name!r} needs the parameter {name!r}: {about} Set it with "
                    f"ld.recipe({self.name!r}, {name}=...), or --set {name}=VALUE."
                )

    def _resolved_step(self, step: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        (name,) = (key for key in step if key in STEPS)
        kind = STEPS[name]
        written = arguments_of(kind, step[name])
        if name == "where" and isinstance(written.get("expression"), str):
            path = functools.partial(self._list, values)
            written = {**written, "expression": with_files(written["expression"], path)}
        arguments = {
            key: replaced(value, values, in_expression=(name, key) == ("where", "expression"))
            for key, value in written.items()
        }
        for key in set(kind.files) & set(arguments):
            value, before = arguments[key], written[key]
            if isinstance(value, Mapping):  # several, such as the sets of decontaminate
                own = before if isinstance(before, Mapping) else dict.fromkeys(value, before)
                arguments[key] = {n: self._absolute(one, own[n]) for n, one in value.items()}
            else:
                arguments[key] = self._absolute(value, before)
        dropped = (name, "if_set", "if_unset")
        others = {key: replaced(v, values) for key, v in step.items() if key not in dropped}
        return {name: arguments, **others}

    def _list(self, values: Mapping[str, Any], written: str) -> str | None:
        """The path of a list in an expression, made absolute, as a recipe writes it."""
        path = self._absolute(replaced(written, values), written)
        return escaped(path) if isinstance(path, str) else None

    def _with_paths(
        self, written: Mapping[str, Any], values: Mapping[str, Any], name: str
    ) -> dict[str, Any]:
        """Arguments of which one is a path, or several, with their parameters replaced."""
        arguments: dict[str, Any] = replaced(dict(written), values)
        if name in arguments:
            found = arguments[name]
            paths = found if isinstance(found, list) else [found]
            paths = [self._absolute(one, written[name]) for one in paths]
            arguments[name] = paths if isinstance(found, list) else paths[0]
        return arguments

    def _absolute(self, path: Any, written: Any) -> Any:
        """A path as an absolute one: relative to the recipe's file, unless a user set it."""
        if isinstance(path, Mapping):
            text = written.get("list") if isinstance(written, Mapping) else written
            return {k: self._absolute(v, text) if k == "list" else v for k, v in path.items()}
        if not isinstance(path, str) or "://" in path:
            return path
        path, origin = os.path.expanduser(path), Path(self.document.origin)
        is_set = bool(names_in(written) & set(self.values)) or library.holds(origin)
        return os.path.abspath(path if is_set or not origin.is_file() else origin.parent / path)


def _plain(value: Any) -> Any:
    """A value as YAML has it: tuples as lists, paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
