"""The floors of the house: an import goes down, or sideways on one floor, never up."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "laion_dask"
FILES = sorted(PACKAGE.rglob("*.py"))

#: Room by room. A room that is split into a folder keeps its floor.
FLOORS = {
    "errors": 0,
    "printable": 0,
    "notebook_traceback": 0,
    "progress": 1,
    "atomic_file": 1,
    "cancellation": 1,
    "schema": 0,
    "options": 0,
    "backend": 1,
    "kinds": 1,
    "memory": 1,
    "card": 1,
    "products": 1,
    "predicate": 2,
    "stats": 2,
    "measures": 2,
    "text": 2,
    "models": 2,
    "kernels": 2,
    "io": 3,
    "exchange": 3,
    "choices": 3,
    "data_path": 3,
    "identity_steps": 3,
    "lineage": 3,
    "masks": 3,
    "subsets": 3,
    "partition": 3,
    "workers": 3,
    "verbs": 4,
    "recipes": 4,
    "explore": 5,
    "cluster": 5,
    "accessor": 6,
    "heads": 6,
    "cli": 6,
    "demo": 6,
    "__init__": 6,
    "__main__": 6,
}
GPU = {"cudf", "cupy", "dask_cudf", "dask_cuda", "cuvs", "rmm", "pylibcudf", "kvikio"}
DASK_DOORS = {"from_map", "map_partitions", "map_overlap", "from_delayed"}
#: The task runner of `embed` has tasks of its own, which are no partitions of a frame.
OWN_TASKS = {"inference/embed.py", "runtime/tasks.py"}


def where(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(dotted: str) -> str | None:
    """The room of a module of the package, None for the package's own face."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def for_typing_only(tree: ast.AST) -> set[ast.AST]:
    """What lies under ``if TYPE_CHECKING:`` and is never run."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If)]
    blocks = [b for b in blocks if ast.unparse(b.test).endswith("TYPE_CHECKING")]
    return {node for block in blocks for part in block.body for node in ast.walk(part)}


def imports(path: Path) -> list[str]:
    """Every module that a file imports, lazily too, by its full name."""
    found = []
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    tree = ast.parse(path.read_text())
    for node in set(ast.walk(tree)) - for_typing_only(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            inside = module.split(".")[0] == "laion_dask"
            deeper = inside and module == "laion_dask"
            found += [f"{module}.{alias.name}" for alias in node.names] if deeper else [module]
    return found


def calls(path: Path) -> set[str]:
    """The dotted names that a file calls, from the last two parts on."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            found.add(".".join(ast.unparse(node.func).split(".")[-2:]))
    return found


@pytest.mark.parametrize("path", FILES, ids=where)
def test_no_import_goes_up(path):
    here = room(module_of(path))
    assert here in FLOORS, f"{where(path)} is in a room that the house does not know"
    for name in imports(path):
        if name.split(".")[0] != "laion_dask":
            continue
        there = room(name)
        there = there if there in FLOORS else "__init__"
        assert FLOORS[there] <= FLOORS[here], f"{where(path)} imports {name} from a floor above"


@pytest.mark.parametrize("path", FILES, ids=where)
def test_gpu_libraries_are_met_in_one_room(path):
    text = ast.parse(path.read_text())
    strings = {
        node.args[0].value
        for node in ast.walk(text)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("import_module", "__import__"))
        and isinstance(node.args[0], ast.Constant)
    }
    used = {name.split(".")[0] for name in [*imports(path), *strings]} & GPU
    assert not used or where(path) == "backend.py"


@pytest.mark.parametrize("path", FILES, ids=where)
def test_dask_is_met_in_one_room(path):
    made = {name for name in calls(path) if name.split(".")[-1] in DASK_DOORS}
    made |= {name for name in calls(path) if name in ("dask.compute", "dask.persist")}
    if where(path) in OWN_TASKS:
        made -= {"dask.compute", "dask.persist"}
    assert bool(made) == (where(path) == "partition.py"), made
    delayed = {name for name in calls(path) if name in ("delayed", "dask.delayed")}
    assert not delayed or where(path) in {"partition.py", *OWN_TASKS}


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernels").glob("*.py")), ids=where)
def test_kernels_never_see_dask(path):
    assert not {n for n in imports(path) if n.split(".")[0] in ("dask", "distributed")}
