"""Export formats: each module in this package, except those in `_NO_FORMATS`, is a format.

To add a format, add a module with a function ``open(staging, schema)`` that returns a
`laion_dask.exports.formats.base.PartWriter`. Its further parameters, which are keyword-only, are
the format's options: `export` passes its own further keyword arguments to them. A format that needs
only some columns lists them in ``READS``. Formats are not listed anywhere else.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from types import ModuleType

from laion_dask.errors import ExportError, OptionError, argument, did_you_mean, parameter
from laion_dask.io.storage.atomic_file import reason

#: Modules that formats share.
_NO_FORMATS = {"base", "cells", "columns", "image_claims", "npy", "repeats", "staged_files"}


def names() -> list[str]:
    """The names of all export formats, sorted."""
    return list(_names_in(tuple(__path__)))


@cache
def _names_in(folders: tuple[str, ...]) -> tuple[str, ...]:
    """The formats in some folders, which are listed once: a process may run out of handles."""
    modules = {module.name for module in pkgutil.iter_modules(folders)}
    return tuple(sorted(modules - _NO_FORMATS))


def load(name: str) -> ModuleType:
    """The module of a format, given one of the `names`.

    Raises
    ------
    ExportError
        When its file cannot be read.
    """
    module = f"{__name__}.{name}"
    try:
        return importlib.import_module(module)
    except (OSError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != module:
            raise
        raise ExportError(
            f"The export format {name!r} could not be loaded: {_problem(error)}. Check the "
            "installation, and the number of files that this process may open."
        ) from error


def _problem(error: Exception) -> str:
    """Why a module could not be read; the import system hides that a folder cannot be listed."""
    importlib.invalidate_caches()
    try:
        with os.scandir(__path__[0]):
            return reason(error)
    except OSError as unlisted:
        return reason(unlisted)


_names_in(tuple(__path__))


def options_of(name: str) -> Mapping[str, inspect.Parameter]:
    """The options of a format, by name."""
    parameters = inspect.signature(load(name).open).parameters
    return {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def columns_read(name: str, columns: Iterable[str]) -> list[str]:
    """The columns of a frame that a format writes, in their order; all unless it has ``READS``."""
    reads = getattr(load(name), "READS", None)
    return [column for column in columns if reads is None or column in reads]


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Raise if a format does not have one of these options, or needs another.

    Raises
    ------
    OptionError
        Names the nearest option, or the formats that have it.
    """
    known = options_of(name)
    for option in options:
        if option not in known:
            others = [other for other in names() if option in options_of(other)]
            hint = f" Formats with that option: {', '.join(others)}." if others else ""
            hint = hint or did_you_mean(option, known) or " It has no options."
            raise OptionError(f"The format {name!r} has no option {parameter(option)}.{hint}")
    for option, one in known.items():
        if one.default is one.empty and options.get(option) is None:
            raise OptionError(
                f"The format {name!r} needs {argument(option)}. See the format's section in "
                "docs/how-to/export.md."
            )
