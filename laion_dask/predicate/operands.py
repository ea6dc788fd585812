"""Parse the operands of tests: columns, constants, arithmetic, min, max, abs, values of text."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from laion_dask.errors import ColumnError, PredicateError, argument, did_you_mean
from laion_dask.predicate import constants
from laion_dask.predicate.hints import needs_col, without_call
from laion_dask.predicate.nodes import (
    Absolute,
    Arithmetic,
    Constant,
    Extreme,
    Name,
    Operand,
    TextValue,
)

#: Maximum number of tests, and of calls and arithmetic operations, in one expression. Each costs
#: memory and time; DuckDB needs up to half a gigabyte at the limit. An `in` list is one test.
MAX_TESTS = 1_000

ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_FOLD = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_OF_CONSTANTS: dict[str, Callable[[list[Any]], Any]]
_OF_CONSTANTS = {"min": min, "max": max, "abs": lambda values: abs(values[0])}
NUMBERS = ("integer", "float32", "float64")
#: Names that other languages have for a missing value.
_MISSING = frozenset({"null", "nan", "na", "none", "nil"})
TEXT_TESTS = ("contains", "startswith", "endswith", "matches")
TEXT_VALUES = {
    **{"lower": "string", "len": "integer"},
    **{"words": "integer", "distinct_words": "integer"},
    **{"domain": "string", "tld": "string"},
}
FUNCTIONS = ("min", "max", "abs")


def cut(text: str) -> str:
    """The start of a long text, for messages."""
    return text if len(text) <= 200 else text[:200] + "…"


def _shown(text: str) -> str:
    return repr(cut(text))


class OperandParser:
    """Turns the operands in a syntax tree into nodes, and records the columns that they name."""

    def __init__(self, text: str, column_types: Mapping[str, str]) -> None:
        self.text, self.column_types = text, column_types
        self.columns: dict[str, None] = {}
        self.n_tests = self.n_operations = 0

    def refuse(self, node: ast.AST, why: str) -> PredicateError:
        segment = ast.get_source_segment(self.text, node) or ast.unparse(node)
        return PredicateError(f"In {argument('where', cut(self.text))}: {_shown(segment)} {why}")

    def count(self, *, tests: int = 0, operations: int = 0) -> None:
        """Count tests and operations, which cost memory in every engine."""
        self.n_tests += tests
        self.n_operations += operations
        if max(self.n_tests, self.n_operations) > MAX_TESTS:
            raise PredicateError(
                f"{argument('where', cut(self.text))} has more than {MAX_TESTS:,} tests, or "
                "operations within them. Write a chain of == as one list, url in ('…', '…'), or "
                "put a long list of values in a separate table and join it."
            )

    def method(self, node: ast.Call) -> str | None:
        return node.func.attr if isinstance(node.func, ast.Attribute) else None

    def string_argument(self, node: ast.Call) -> str | None:
        """The only positional argument of a call, if it is a string literal."""
        return self.text_of(node.args[0]) if len(node.args) == 1 else None

    def text_of(self, node: ast.expr) -> str | None:
        """The text of a string literal; None for anything else."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return None

    def string(self, node: ast.Call) -> Operand:
        assert isinstance(node.func, ast.Attribute)  # the call of a method
        of = self.value(node.func.value)
        if of.kind != "string" or isinstance(of, Constant):
            raise self.refuse(
                node,
                f"needs text, but {_shown(ast.unparse(node.func.value))} is of kind {of.kind}.",
            )
        return of

    def value(self, node: ast.expr) -> Operand:
        if isinstance(node, ast.Name):
            return self.column(self.as_written(node))
        if isinstance(node, ast.Constant):
            return self.constant(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return self.signed(node)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            sides = self.number(node.left), self.number(node.right)
            return self.arithmetic(node, ARITHMETIC[type(node.op)], *sides)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Attribute) and node.attr == "str":
            raise self.refuse(
                node, f"is not a column. Write {ast.unparse(node.value)}.contains('…')."
            )
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            hint = f" Write {self.written(name)}." if name in self.column_types else ""
            if node.attr in TEXT_VALUES and not hint:
                hint = f" Write {name}()."
            raise self.refuse(node, f"is not a column. Columns have plain names.{hint}")
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            raise self.refuse(node, "uses & or |. Write 'and' and 'or' instead.")
        if isinstance(node, ast.Tuple):
            raise self.refuse(node, "is a list of values. A decimal number has a point: 0.3.")
        raise self.refuse(
            node,
            f"is not supported in {argument('where')}. Available: comparisons, and, or, not, in, "
            f"{' '.join(ARITHMETIC.values())}, "
            f"{', '.join((*FUNCTIONS, *TEXT_TESTS, *TEXT_VALUES))}.",
        )

    def call(self, node: ast.Call) -> Operand:
        is_col = isinstance(node.func, ast.Name) and node.func.id == "col"
        if is_col and (column := self.string_argument(node)) is not None:
            return self.column(column)
        if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            return self.function(node, node.func.id)
        method = self.method(node)
        if method in TEXT_VALUES and not node.args and not node.keywords:
            self.count(operations=1)
            return TextValue(method, self.string(node), TEXT_VALUES[method])
        if method in TEXT_TESTS:
            written = cut(ast.unparse(node))
            raise self.refuse(node, f"is true or false already. Write {written}, or not {written}.")
        if isinstance(node.func, ast.Name) and node.func.id == "file":
            raise self.refuse(node, "is a list of values. Write: url in file('list.txt').")
        methods = [*TEXT_TESTS, *TEXT_VALUES]
        if isinstance(node.func, ast.Name) and node.args and node.func.id in methods:
            written = f"{ast.unparse(node.args[0])}.{node.func.id}()"
            raise self.refuse(node, f"is a call, which is not supported. Write {written}.")
        name = ast.unparse(node.func)
        other = without_call(name, [ast.unparse(argument) for argument in node.args])
        hint = f" Write {other}." if other else did_you_mean(method or name, [*methods, *FUNCTIONS])
        raise self.refuse(node, f"is a call, which is not supported.{hint}")

    def function(self, node: ast.Call, name: str) -> Operand:
        """``min`` and ``max`` of two or more numbers, ``abs`` of one."""
        starred = any(isinstance(each, ast.Starred) for each in node.args)
        enough = len(node.args) == 1 if name == "abs" else len(node.args) > 1
        if node.keywords or starred or not enough:
            example = "abs(similarity)" if name == "abs" else f"{name}(width, height)"
            number = "one number" if name == "abs" else "two or more numbers"
            raise self.refuse(node, f"does not have {number} in its parentheses. Write {example}.")
        parts = tuple(self.number(each) for each in node.args)
        values = [part.value for part in parts if isinstance(part, Constant)]
        if len(values) == len(parts):
            return constants.number(_OF_CONSTANTS[name](values))
        self.count(operations=len(parts) - 1 or 1)
        if name == "abs":
            return Absolute(parts[0], parts[0].kind)
        return Extreme(name, parts, constants.kind_of_extreme(parts))

    def written(self, name: str) -> str:
        """A column's name as written in an expression."""
        return f"col({name!r})" if needs_col(name) else name

    def as_written(self, node: ast.Name) -> str:
        """A name as written; Python's parser normalizes some letters (NFKC)."""
        if self.text.isascii():
            return node.id
        written = ast.get_source_segment(self.text, node)
        return written if written is not None and written in self.column_types else node.id

    def column(self, name: str) -> Name:
        if name not in self.column_types:
            raise ColumnError(
                f"{argument('where', cut(self.text))} names an unknown column {name!r}."
                f"{did_you_mean(name, self.column_types)}"
            )
        self.columns[name] = None
        return Name(name, self.column_types[name], name in getattr(self.column_types, "half", ()))

    def refuse_unquoted(self, left: ast.expr, right: ast.expr) -> None:
        """Raise if a text column is compared with an unknown name, which was meant as a text."""
        for column, name in ((left, right), (right, left)):
            if not (isinstance(column, ast.Name) and isinstance(name, ast.Name)):
                continue
            is_text = self.column_types.get(self.as_written(column)) == "string"
            unknown = self.as_written(name)
            if is_text and unknown not in self.column_types:
                hint = f"If it is a text, write {unknown!r}, in quotes."
                if unknown.lower() in _MISSING:
                    hint = f"For missing values, write {self.as_written(column)} is None."
                raise ColumnError(
                    f"{argument('where', cut(self.text))} names an unknown column {unknown!r}. "
                    f"{hint}{did_you_mean(unknown, self.column_types)}"
                )

    def constant(self, node: ast.Constant) -> Constant:
        value = node.value
        if isinstance(value, bool):
            return Constant(value, "boolean")
        if isinstance(value, str):
            value.encode()
            return Constant(value, "string")
        if isinstance(value, (int, float)):
            return constants.number(value)
        hint = " Write 'is None'." if value is None else ""
        raise self.refuse(node, f"is a constant that no column can be compared with.{hint}")

    def signed(self, node: ast.UnaryOp) -> Operand:
        operand = self.number(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(operand, Constant) and not isinstance(operand.value, str):
            return constants.number(-operand.value)
        return Arithmetic("-", Constant(0.0, "float64"), operand)

    def arithmetic(self, node: ast.BinOp, op: str, left: Operand, right: Operand) -> Operand:
        if not (isinstance(left, Constant) and isinstance(right, Constant)):
            self.count(operations=1)
            return Arithmetic(op, left, right)
        try:
            value = _FOLD[op](float(left.value), float(right.value))
        except ZeroDivisionError:
            value = math.nan
        if math.isnan(value):
            raise self.refuse(node, "is not a number.")
        return Constant(value, "float64")

    def number(self, node: ast.expr) -> Operand:
        operand = self.value(node)
        if operand.kind not in NUMBERS:
            raise self.refuse(node, f"is of kind {operand.kind}, not a number.")
        return operand
