"""Which rooms of the package may import which, and which files reach Dask or the GPU libraries."""

from __future__ import annotations

import ast
import graphlib
import re
from functools import cache
from pathlib import Path

import pytest
from support.paths import PACKAGE, ROOT

import laion_dask as ld

FILES = sorted(PACKAGE.rglob("*.py"))

#: The allowed arrows: each room may import its own files, the foundation (the files directly in
#: ``laion_dask/``) and these rooms, all listed above it. Imports for type checkers count as well.
ARROWS = {
    "predicate": "",
    "stats/sketches": "",
    "plots": "",
    "stats": "plots stats/sketches",
    "io/storage": "",
    "runtime": "io/storage",
    "cluster": "runtime",
    "numerics": "runtime",
    "numerics/gpu": "numerics runtime",
    "io/parquet": "io/storage numerics/gpu predicate runtime",
    "io/images": "io/parquet io/storage",
    "models/weights": "io/storage runtime",
    "models/tf_saved_model": "",
    "models": "io/images models/weights numerics numerics/gpu runtime",
    "models/heads": (
        "io/images io/storage models models/tf_saved_model models/weights numerics "
        "numerics/gpu runtime"
    ),
    "text": "runtime",
    "io/embeddings": "io/parquet io/storage models numerics runtime",
    "frame": "io/embeddings io/parquet io/storage models predicate runtime",
    "scoring": (
        "frame io/embeddings io/images models models/heads numerics numerics/gpu runtime text"
    ),
    "inference": "io/images io/storage models models/heads numerics runtime",
    "training": "frame io/embeddings models models/heads numerics runtime stats",
    "retrieval/exact": "io/embeddings numerics numerics/gpu runtime",
    "retrieval/index": "io/embeddings io/storage models/weights numerics runtime",
    "retrieval": "frame io/embeddings predicate retrieval/exact runtime scoring",
    "aggregations/engine": "frame predicate runtime stats",
    "aggregations/grouping": "aggregations/engine text",
    "aggregations": (
        "aggregations/engine aggregations/grouping frame io/embeddings models "
        "models/heads numerics predicate stats stats/sketches text"
    ),
    "joins": "frame io/parquet predicate runtime",
    "exports/formats": "io/storage",
    "exports": (
        "aggregations aggregations/grouping exports/formats frame io/parquet io/storage joins stats"
    ),
    "planning": "frame io/embeddings io/parquet plots runtime stats",
    "reports": (
        "aggregations aggregations/engine aggregations/grouping exports frame io/images "
        "io/storage plots stats text"
    ),
    "demo": (
        "aggregations exports frame inference io/parquet io/storage models "
        "models/heads reports scoring"
    ),
    "doors": "models/heads training",
    "cli": (
        "doors "
        "aggregations aggregations/engine aggregations/grouping cluster demo exports "
        "exports/formats frame inference io/parquet joins models/heads "
        "models/weights planning reports runtime text"
    ),
}
#: Files of ``laion_dask/`` that are doors; the others are the foundation.
DOORS = {"__init__", "accessor", "heads"}
GPU = {"cudf", "cupy", "dask_cudf", "dask_cuda", "cuvs", "rmm", "pylibcudf", "kvikio"}
#: Calls that build or run a Dask graph.
DASK_CALLS = {
    *("from_map", "map_partitions", "map_overlap", "from_delayed", "to_delayed", "delayed"),
    *("compute", "persist", "submit", "gather", "scatter"),
}
#: Objects with methods of those names that are not Dask's: threads, cosines, `runtime.graph`.
NOT_DASK = {"graph", "pool", "self._cosines", "self._reader"}


def where(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    path = MODULES[module]
    room = path.parent.relative_to(PACKAGE).as_posix()
    if room == ".":
        if path.stem == "__main__":
            return "cli"
        return "doors" if path.stem in DOORS else "foundation"
    return room


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, lazily or for types only, by its full name."""
    found = set()
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = {f"{module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else module for name in names}
    return frozenset(found - {module_of(path)})


@cache
def packages(path: Path) -> set[str]:
    """The top-level packages that a file imports, by statement or by name in a string."""
    names = set(imports(path))
    for call in calls(path):
        name = called(call)[1]
        if name in ("import_module", "__import__") and isinstance(call.args[0], ast.Constant):
            names.add(call.args[0].value)
    return {name.split(".")[0] for name in names}


@cache
def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]


def called(call: ast.Call) -> tuple[str, str]:
    """The object a call is made on (empty for a plain name), and the name of what is called."""
    if isinstance(call.func, ast.Attribute):
        return ast.unparse(call.func.value), call.func.attr
    return "", call.func.id if isinstance(call.func, ast.Name) else ""


def own_imports(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "laion_dask"}


def test_every_arrow_between_rooms_is_declared():
    undeclared = []
    for path in FILES:
        here = room_of(module_of(path))
        allowed = {here, "foundation"} | set(ARROWS.get(here, "").split())
        for name in own_imports(path):
            if room_of(name) not in allowed:
                undeclared.append(f"{where(path)} imports {name}")
    assert undeclared == []


def test_every_declared_arrow_is_used_and_points_up():
    used = {
        (room_of(module_of(path)), room_of(name)) for path in FILES for name in own_imports(path)
    }
    above: set[str] = set()
    for room, targets in ARROWS.items():
        assert set(targets.split()) <= above, f"{room} imports a room that is not listed above it"
        above.add(room)
        assert {(room, target) for target in targets.split()} <= used


def test_no_two_modules_import_each_other():
    graphlib.TopologicalSorter(
        {module: own_imports(path) for module, path in MODULES.items()}
    ).prepare()  # raises CycleError, which names the cycle


def test_the_map_names_every_room():
    """README's map names exactly the rooms that exist."""
    map_ = re.search(r"## The map of the house\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.S)
    rooms = {room_of(module) for module in MODULES} - {"doors", "foundation", "io"}
    named = set(re.findall(r"(?<![\w/])[a-z_]+(?:/[a-z_]+)*(?=/(?!\w))", map_[1]))
    assert {room for room in rooms if room not in named} == set()
    assert {name for name in named if not (PACKAGE / name).is_dir()} - {"laion_dask"} == set()


@pytest.mark.parametrize("library", sorted(GPU))
def test_gpu_libraries_are_imported_in_three_files(library):
    users = {where(path) for path in FILES if library in packages(path)}
    assert users <= {"backend.py", "gpu_packages.py", "io/parquet/cudf_decoder.py"}


def test_dask_is_reached_in_the_runtime_alone():
    found = []
    for path in FILES:
        if where(path).startswith("runtime/"):
            continue
        for call in calls(path):
            if called(call)[1] in DASK_CALLS and called(call)[0] not in NOT_DASK:
                found.append(f"{where(path)}:{call.lineno} calls {ast.unparse(call.func)}")
    assert found == []


def test_private_modules_of_dask_are_imported_in_one_file():
    private = re.compile(r"(dask|distributed)\..*\b_|dask\.dataframe\.dask_expr")
    found = {where(path) for path in FILES if any(map(private.match, imports(path)))}
    assert found == {"runtime/dask_expressions.py"}


def test_kernels_import_nothing_of_dask():
    kernels = [p for p in FILES if where(p).split("/")[0] in KERNEL_ROOMS or p in KERNELS]
    assert len(kernels) > 40
    for path in kernels:
        assert not {n for n in imports(path) if n.split(".")[0] in ("dask", "distributed")}, path


#: Rooms and files whose functions all take arrays or a single partition.
KERNEL_ROOMS = {"numerics", "text", "stats", "predicate"}
KERNELS = {
    *(PACKAGE / "retrieval" / "exact").glob("*.py"),
    *(PACKAGE / "scoring").glob("*kernel*.py"),
    *(PACKAGE / "aggregations").glob("*kernel*.py"),
}


def test_dir_is_what_is_public():
    assert dir(ld) == sorted(ld.__all__)
