"""Parses the files of the package: what they import, and what they call."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from support.paths import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))


def where(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, lazily, for types or by a string, by its full name."""
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
    found |= {name for name in named_imports(path) if name and not name.endswith(".")}
    return frozenset(found - {module_of(path)})


@cache
def named_imports(path: Path) -> frozenset[str]:
    """The modules that a file imports by a name in a string.

    A name that starts with a constant, as in ``f"laion_dask.text.{name}"``, is that constant; it
    ends in a period. A name that starts with no constant is the empty string.
    """
    constants = {
        ast.unparse(target): node.value
        for node in tree(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
    }
    found: set[str] = set()
    for call in calls(path):
        used = [ast.unparse(node).split(".")[-1] for node in (call.func, *call.args)]
        if not {"import_module", "__import__"} & set(used):
            continue
        arguments = call.args if used[0] in ("import_module", "__import__") else call.args[1:]
        for argument in arguments[:1]:
            named = constants.get(ast.unparse(argument), argument)
            names = named.elts if isinstance(named, (ast.Tuple, ast.List)) else [named]
            found |= {constant_start(name) for name in names}
    return frozenset(found)


def constant_start(name: ast.expr) -> str:
    """The constant prefix of a string expression's value; empty if it starts with a variable."""
    if isinstance(name, ast.JoinedStr) and name.values:
        return constant_start(name.values[0])
    if isinstance(name, ast.BinOp):
        return constant_start(name.left)
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""


@cache
def packages(path: Path) -> set[str]:
    """The top-level packages that a file imports, by statement or by a name in a string."""
    return {name.split(".")[0] for name in imports(path) | named_imports(path)}


@cache
def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
