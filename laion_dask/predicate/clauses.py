"""The parts of a filter, and the columns that it names, before it is applied."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from laion_dask.predicate.nodes import Predicate, Truth
from laion_dask.predicate.parser import parse
from laion_dask.predicate.syntax import syntax_tree


def clauses(predicate: Predicate, column_types: Mapping[str, str]) -> list[Predicate]:
    """The operands of ``and`` at the top level of a filter, in the order in which they are written.

    Parameters
    ----------
    predicate : Predicate
    column_types : mapping of str to str
        As for `parse`.

    Returns
    -------
    list of Predicate
        A row passes the filter if it passes all of them, also in three-valued logic. A predicate
        whose text is not its expression, such as the rule of `select_rows`, is its only clause.
    """
    if isinstance(predicate.root, Truth):
        return [predicate]
    tree = syntax_tree(f"({predicate.text.strip()}\n)")
    return [
        parse(ast.unparse(clause), column_types, predicate.lists) for clause in _parts(tree.body)
    ]


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        for operand in node.values:
            yield from _parts(operand)
    else:
        yield node


def clause_texts(text: str) -> list[str]:
    """The operands of ``and`` at the top level of an expression; the text itself if it has none."""
    try:
        tree = syntax_tree(f"({text.strip()}\n)")
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # `parse` reports these
        return [text]
    parts = list(_parts(tree.body))
    return [ast.unparse(part) for part in parts] if len(parts) > 1 else [text]


def named_columns(text: str) -> set[str]:
    """Columns that an expression names, known or not; empty if the text is not an expression."""
    try:
        nodes = list(ast.walk(syntax_tree(f"({text.strip()}\n)")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # `parse` reports these
        return set()
    quoted = [
        node.args[0].value
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "col"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Constant)
    ]
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    names = (node for node in nodes if isinstance(node, ast.Name) and id(node) not in functions)
    return {node.id for node in names}.union(map(str, quoted))
