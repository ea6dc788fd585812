"""Export formats: each module in this package, except `base`, is a format of the same name.

To add a format, add a module with a function ``open(staging, schema)`` that returns a
`laion_dask.exports.formats.base.PartWriter`. Formats are not listed anywhere else.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """The names of all export formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def load(name: str) -> ModuleType:
    """The module of a format, given one of the `names`."""
    return importlib.import_module(f"{__name__}.{name}")
