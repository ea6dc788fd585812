"""All classes of this package that a user gets to see."""

from __future__ import annotations

import importlib
import inspect
import re
import sys

import laion_dask as ld
from laion_dask.verbs import VERBS

_NAMESPACES = (ld, ld.heads, ld.models, ld.stats)


def public_classes() -> dict[str, type]:
    """Public classes, and those that public functions and their own methods return, by name.

    Annotations are followed by name, from the modules that use them, also where they are imported
    for type checkers only.
    """
    values = [getattr(one, name) for one in _NAMESPACES for name in one.__all__]
    values += [verb.load() for verb in VERBS.values()]
    classes = [value for value in values if inspect.isclass(value)]
    methods = [
        value
        for cls in classes
        for base in cls.__mro__
        if base.__module__.startswith("laion_dask")
        for name, value in vars(base).items()
        if not name.startswith("_")
    ]
    classes += [one for value in (*values, *methods) for one in _returned(value)]
    named = {f"{one.__module__}.{one.__qualname__}": one for one in classes}
    return {name.removeprefix("laion_dask."): cls for name, cls in sorted(named.items())}


def _returned(value: object) -> list[type]:
    value = getattr(value, "__func__", value)
    if not inspect.isfunction(value):
        return []
    annotation = value.__annotations__.get("return", "")
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return _named(text, sys.modules[value.__module__])


def _named(text: str, module) -> list[type]:
    """The classes of this package that an annotation names."""
    classes = []
    for name in re.findall(r"[A-Za-z_]\w*", text):
        value = getattr(module, name, None) or _imported_for_types(name, module)
        if inspect.isclass(value) and value.__module__.startswith("laion_dask"):
            classes.append(value)
    return classes


def _imported_for_types(name: str, module) -> object:
    found = re.search(
        rf"from (laion_dask[\w.]*) import [^\n]*\b{name}\b", inspect.getsource(module)
    )
    return getattr(importlib.import_module(found[1]), name, None) if found else None
