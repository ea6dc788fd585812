"""Write ``laion_dask/__init__.pyi``, the public names for type checkers, and recipes' schema.

    python .ci/write_stub.py

Run this after changing ``laion_dask/verbs.py`` or the names in ``laion_dask/__init__.py``; a test
checks that both files are up to date.
"""

from __future__ import annotations

from pathlib import Path

import laion_dask
from laion_dask.curation.recipes.schema import write_schema

STUB = Path(laion_dask.__file__).with_suffix(".pyi")


def stub() -> str:
    """The text of the stub: one explicit re-export per public name, in ruff's import order."""
    modules, names = laion_dask._SUBMODULES, laion_dask._MODULE_OF
    lines = [f"from laion_dask import {name} as {name}" for name in modules]
    lines += [
        f"from {module} import {name} as {name}"
        for module, name in sorted((module, name) for name, module in names.items())
    ]
    head = '"""The public names of `laion_dask`, as `.ci/write_stub.py` writes them."""'
    return "\n".join([head, "", *lines, "", "__version__: str", ""])


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
    write_schema()
