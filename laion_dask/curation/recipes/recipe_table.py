"""The shipped recipes as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from laion_dask.curation.recipes import library
from laion_dask.curation.recipes.definition import Definition
from laion_dask.curation.recipes.needs import needs_text


def recipes() -> pd.DataFrame:
    """The shipped recipes as a table. Eager.

    Returns
    -------
    pandas.DataFrame
        Columns ``name``, ``title``, ``paper``, ``needs`` (the columns, embeddings and parameters
        without which it cannot run) and ``parameters`` (with their defaults, or "required" or
        "optional"); all str. ``--set NAME`` in ``needs`` is the command's ``recipe(name, NAME=…)``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> "datacomp-basic" in set(ld.recipes()["name"])
    True
    """
    rows = []
    for name in library.names():
        one = Definition.load(name)
        shown = (_shown(key, value) for key, value in one.parameters.items())
        rows.append((name, one.title, one.paper, needs_text(one), ", ".join(shown)))
    return pd.DataFrame(rows, columns=["name", "title", "paper", "needs", "parameters"])


def _shown(name: str, declared: Mapping[str, Any]) -> str:
    """A parameter with its default; without one, whether it must be set."""
    if "default" not in declared:
        return f"{name} (required)"
    default = declared["default"]
    return f"{name} (optional)" if default is None else f"{name}={default!r}"
