"""Generate the API reference: every public name, grouped by the folder that defines it."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import laion_dask as ld

#: Page title, introduction, and the folders and modules whose public names the page lists.
GROUPS = {
    "Reading": (
        "Shards, embeddings and images become lazy objects; headers and footers are checked "
        "immediately, and no data is read.",
        ("io", "joins", "schema", "dialects"),
    ),
    "Frames": (
        "Filters, and the accounting of every row.",
        ("frame", "predicate"),
    ),
    "Scores": ("Scores from embeddings, captions and models.", ("scoring", "models", "inference")),
    "Search": ("Nearest rows, exactly or with an approximate index.", ("retrieval",)),
    "Statistics": (
        "Any number of statistics, computed in one pass over the rows.",
        ("aggregations", "text"),
    ),
    "Curation": (
        "Recipes, duplicates, pruning, samples, balancing and filter networks.",
        ("curation", "training"),
    ),
    "Exports": ("Exported folders with a manifest and a recipe.", ("exports",)),
    "Pages and plots": ("Reports, datasheets and plots.", ("reports", "plots")),
    "Exploring": (
        "Linked views in a notebook or a browser, and the projections of their maps.",
        ("explorer", "projections"),
    ),
    "Planning": ("What a job costs, before it runs.", ("planning",)),
    "Workers and settings": ("Clusters, options, errors.", ("cluster", "options", "errors")),
    "Demo": ("A corpus with known answers.", ("demo",)),
}
#: Public modules with their own page.
MODULES = {
    "heads": "Classifiers over embeddings, captions or images.",
    "models": "CLIP models as specs: constructing one loads nothing.",
    "predicate": "The ``where=`` language: parsed, checked, and run by each engine.",
    "stats": "Statistics as plain functions of arrays, each with its source.",
}


def write(folder: Path) -> None:
    """Write the pages, and an ``index.rst`` that lists them."""
    folder.mkdir(exist_ok=True)
    pages = []
    for title, (about, rooms) in GROUPS.items():
        names = [name for name in _names() if _room(name) in rooms]
        if names:
            pages.append(_page(folder, title, about, "laion_dask", names))
    ungrouped = [name for name in _names() if _room(name) not in _rooms()]
    if ungrouped:
        raise ValueError(f"No group in docs/reference_pages.py lists the folders of {ungrouped}.")
    for module, about in MODULES.items():
        value = import_module(f"laion_dask.{module}")
        names = [n for n in value.__all__ if getattr(ld, n, None) is not getattr(value, n)]
        pages.append(_page(folder, f"laion_dask.{module}", about, value.__name__, names))
    pages.append(_error_page(folder))
    text = ["API reference", "=============", ""]
    text += ["Every public name, from its docstring. Verbs on a frame are functions of the package"]
    text += ["and methods of its ``.laion`` accessor: ``ld.search(frame, …)`` is"]
    text += ["``frame.laion.search(…)``. The first line of each says whether it is lazy or eager."]
    text += [""]
    text += [".. toctree::", "   :maxdepth: 1", "", *(f"   {page}" for page in pages), ""]
    _keep(folder / "index.rst", "\n".join(text))


def _names() -> list[str]:
    return [name for name in ld.__all__ if not inspect.ismodule(getattr(ld, name))]


def _room(name: str) -> str:
    return ld._MODULE_OF[name].split(".")[1]


def _rooms() -> set[str]:
    return {room for _, rooms in GROUPS.values() for room in rooms}


def _page(folder: Path, title: str, about: str, module: str, names: list[str]) -> str:
    """Write one page, without constants, which their module's docstring describes."""
    owner = import_module(module)
    values = {name: getattr(owner, name) for name in names}
    documented = [n for n, v in values.items() if inspect.isroutine(v) or inspect.isclass(v)]
    text = [title, "=" * len(title), "", about, "", f".. currentmodule:: {module}", ""]
    text += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
    text += [*(f"   {name}" for name in documented), ""]
    stem = title.lower().replace(" ", "-").replace(".", "-").replace("_", "-")
    _keep(folder / f"{stem}.rst", "\n".join(text))
    return stem


def _error_page(folder: Path) -> str:
    """Write one page with all errors and warnings."""
    errors = import_module("laion_dask.errors")
    kinds = [k for k in vars(errors).values() if inspect.isclass(k) and issubclass(k, Exception)]
    kinds = [k for k in kinds if k.__module__ == errors.__name__]
    title = "Errors and warnings"
    text = [title, "=" * len(title), ""]
    text += [
        "Each error is a ``LaionDaskError`` and also a builtin exception, listed under *also*."
    ]
    text += [""]
    text += [".. list-table::", "   :header-rows: 1", ""]
    text += ["   * - name", "     - also", "     - when"]
    for kind in kinds:
        also = ", ".join(f"``{base.__name__}``" for base in kind.__mro__[1:] if _is_builtin(base))
        text += [f"   * - ``{kind.__name__}``", f"     - {also}"]
        text += [f"     - {inspect.getdoc(kind).splitlines()[0]}"]
    _keep(folder / "errors.rst", "\n".join([*text, ""]))
    return "errors"


def _is_builtin(kind: type) -> bool:
    general = (object, Exception, BaseException, Warning)
    return kind.__module__ == "builtins" and kind not in general


def _keep(path: Path, text: str) -> None:
    """Write a page only if it has changed, so that Sphinx does not read it again otherwise."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
