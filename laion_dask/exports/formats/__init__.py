"""Export formats: every module of this package but `base` is one, known by the module's name.

To add a format, add its module, with ``open(staging, schema)`` returning a
`laion_dask.exports.formats.base.PartWriter`. Nothing else lists formats.
"""

from __future__ import annotations

import importlib
import pkgutil


def names() -> list[str]:
    """The names of all export formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def load(name: str):
    """The module of a format; `name` is one of `names`."""
    return importlib.import_module(f"{__name__}.{name}")
