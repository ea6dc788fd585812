"""Parse text to a validated expression tree with Python's `ast`; nothing is evaluated as code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Mapping

from laion_dask.errors import ColumnError, PredicateError, argument, did_you_mean, parameter
from laion_dask.predicate import constants
from laion_dask.predicate.hints import (
    how_to_write,
    joined_texts,
    needs_col,
    not_an_expression,
    without_call,
)
from laion_dask.predicate.nodes import (
    Among,
    Arithmetic,
    Compare,
    Constant,
    Every,
    IsNone,
    Name,
    Node,
    Not,
    Predicate,
    Some,
    TextTest,
    TextValue,
    Truth,
)

#: Maximum length of an expression, in characters (an `in` list of hashes can be long).
MAX_LENGTH = 1_000_000
#: Maximum depth of the syntax tree, because every engine traverses it recursively.
MAX_DEPTH = 100
#: Maximum number of tests, and of calls and arithmetic operations, in one expression. Each costs
#: memory and time; DuckDB needs up to half a gigabyte at the limit. An `in` list is one test.
MAX_TESTS = 1_000

COMPARISONS = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_FOLD = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
NUMBERS = ("integer", "float32", "float64")
TEXT_TESTS = ("contains", "startswith", "endswith")
TEXT_VALUES = {"lower": "string", "len": "integer"}


def parse(text: str, kinds: Mapping[str, str]) -> Predicate:
    """Parse a filter expression and validate it against the available columns.

    Parameters
    ----------
    text : str
        For instance ``"similarity > 0.28 and language in ('en', 'de')"``.
    kinds : mapping of str to str
        Every column and its kind: string, integer, float32, float64, boolean or other.

    Raises
    ------
    PredicateError
        If it is not valid in this language, or compares a string with a number.
    ColumnError
        If it names an unknown column; the message suggests the nearest name.
    """
    if not isinstance(text, str) or not text.strip():
        raise PredicateError(not_an_expression(text))
    if len(text) > MAX_LENGTH:
        raise PredicateError(
            f"{parameter('where')} has {len(text):,} characters, more than {MAX_LENGTH:,}. Put a "
            "long list of values in a separate table and join it."
        )
    try:
        source = text.strip()
        if "\n" in source:  # within parentheses, line breaks are allowed anywhere
            source = f"({source}\n)"
        tree = ast.parse(source, mode="eval")
        _check_depth(tree)
        if joined := joined_texts(source):
            raise PredicateError(
                f"In {argument('where', _cut(text))}: {joined} are two adjacent strings, which "
                "Python would concatenate. Put a comma between them, or write a quote within a "
                'string as in "it\'s".'
            )
        parser = _Parser(source, kinds)
        return Predicate(text, parser.condition(tree.body), tuple(parser.columns))
    except (SyntaxError, ValueError) as error:
        if isinstance(error, PredicateError):
            raise
        reason = how_to_write(text, kinds) or getattr(error, "msg", str(error))
        raise PredicateError(
            f"{argument('where', _cut(text))} is not an expression ({reason}). Write it as "
            "\"similarity > 0.28 and language in ('en', 'de')\"."
        ) from None
    except (RecursionError, MemoryError):
        raise PredicateError(
            f"{argument('where', _cut(text))} is nested too deeply. Write chains as 'in (...)' "
            "lists."
        ) from None


def _shown(text: str) -> str:
    return repr(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"


def _check_depth(tree: ast.AST) -> None:
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise RecursionError
        level = [child for node in level for child in ast.iter_child_nodes(node)]


class _Parser:
    """Traverses the syntax tree: `condition` for tests, `value` for their operands."""

    def __init__(self, text: str, kinds: Mapping[str, str]):
        self.text, self.kinds = text, kinds
        self.columns: dict[str, None] = {}
        self.n_tests = self.n_operations = 0

    def refuse(self, node: ast.AST, why: str) -> PredicateError:
        part = ast.get_source_segment(self.text, node) or ast.unparse(node)
        return PredicateError(f"In {argument('where', _cut(self.text))}: {_shown(part)} {why}")

    def count(self, *, tests: int = 0, operations: int = 0) -> None:
        """Count tests and operations, which cost memory in every engine."""
        self.n_tests += tests
        self.n_operations += operations
        if max(self.n_tests, self.n_operations) > MAX_TESTS:
            raise PredicateError(
                f"{argument('where', _cut(self.text))} has more than {MAX_TESTS:,} tests, or "
                "operations "
                "within them. Write a chain of == as one list, url in ('…', '…'), or put a long "
                "list of values in a separate table and join it."
            )

    def condition(self, node: ast.expr) -> Node:
        if isinstance(node, ast.BoolOp):
            parts = tuple(self.condition(v) for v in node.values)
            return Every(parts) if isinstance(node.op, ast.And) else Some(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Not(self.condition(node.operand))
        self.count(tests=len(node.ops) if isinstance(node, ast.Compare) else 1)
        if isinstance(node, ast.Compare):
            return self.chain(node)
        if isinstance(node, ast.Call) and self.method(node) in TEXT_TESTS:
            return self.text_test(node)
        operand = self.value(node)
        if operand.kind == "boolean" and not isinstance(operand, Constant):
            return Truth(operand)
        raise self.refuse(node, "is a value, not a condition. Compare it with something.")

    def chain(self, node: ast.Compare) -> Node:
        operands = [node.left, *node.comparators]
        parts = tuple(
            self.comparison(node, op, operands[i], operands[i + 1]) for i, op in enumerate(node.ops)
        )
        return parts[0] if len(parts) == 1 else Every(parts)

    def comparison(self, node, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Node:
        if isinstance(op, (ast.In, ast.NotIn)):
            among = self.among(left, right)
            return Not(among) if isinstance(op, ast.NotIn) else among
        if isinstance(op, (ast.Is, ast.IsNot)):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self.refuse(
                    node,
                    "uses 'is' with something other than None. "
                    "Write 'is None', or compare with ==.",
                )
            test = IsNone(self.variable(left))
            return Not(test) if isinstance(op, ast.IsNot) else test
        one, two = self.value(left), self.value(right)
        if isinstance(one, Constant) and isinstance(two, Constant):
            named = [c.value for c in (one, two) if c.value in self.kinds]
            hint = f" The column is written {self.written(named[0])}, unquoted." if named else ""
            raise self.refuse(node, f"compares two constants. Name a column on one side.{hint}")
        one, two = self.fitted(node, one, two.kind), self.fitted(node, two, one.kind)
        return constants.of_any_width(Compare(COMPARISONS[type(op)], one, two))

    def among(self, left: ast.expr, right: ast.expr) -> Node:
        if isinstance(right, ast.Name) and self.is_string(left):
            raise self.refuse(right, f"is a column. Write {right.id}.contains({left.value!r}).")
        if not isinstance(right, (ast.Tuple, ast.List, ast.Set)) or not right.elts:
            raise self.refuse(right, "is not a list of values. Write: language in ('en', 'de').")
        of = self.variable(left)
        values = [self.value(e) for e in right.elts]
        if not all(isinstance(v, Constant) for v in values):
            raise self.refuse(right, "holds something other than constants.")
        fitted = tuple(self.fitted(right, v, of.kind) for v in values)
        return Among(of, constants.in_any_width(of, fitted))

    def variable(self, node: ast.expr) -> Node:
        of = self.value(node)
        if isinstance(of, Constant):
            raise self.refuse(node, "is a constant. Name a column instead.")
        return of

    def fitted(self, node: ast.AST, operand: Node, other: str) -> Node:
        """Check that an operand can be compared with the other kind; convert constants to it."""
        both_numbers = operand.kind in NUMBERS and other in NUMBERS
        if "other" in (operand.kind, other):
            raise self.refuse(node, "compares a column that is not text, a number or a boolean.")
        if not both_numbers and operand.kind != other:
            raise self.refuse(node, f"compares {operand.kind} with {other}.")
        if not (isinstance(operand, Constant) and both_numbers):
            return operand
        if other == "integer":
            return constants.beside_integers(operand.value)
        return constants.beside_floats(operand.value, other)

    def method(self, node: ast.Call) -> str | None:
        return node.func.attr if isinstance(node.func, ast.Attribute) else None

    def text_test(self, node: ast.Call) -> Node:
        of = self.string(node)
        if len(node.args) != 1 or node.keywords or not self.is_string(node.args[0]):
            raise self.refuse(node, "takes one string, as in text.contains('bird').")
        return TextTest(node.func.attr, of, self.constant(node.args[0]).value)

    def is_string(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Constant) and isinstance(node.value, str)

    def string(self, node: ast.Call) -> Node:
        of = self.value(node.func.value)
        if of.kind != "string" or isinstance(of, Constant):
            raise self.refuse(
                node,
                f"needs text, but {_shown(ast.unparse(node.func.value))} is of kind {of.kind}.",
            )
        return of

    def value(self, node: ast.expr) -> Node:
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
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            hint = f" Write {self.written(name)}." if name in self.kinds else ""
            raise self.refuse(node, f"is not a column. Columns have plain names.{hint}")
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            raise self.refuse(node, "uses & or |. Write 'and' and 'or' instead.")
        raise self.refuse(
            node, f"is not supported in {argument('where')}; see laion_dask.predicate."
        )

    def call(self, node: ast.Call) -> Node:
        named = isinstance(node.func, ast.Name) and node.func.id == "col"
        if named and len(node.args) == 1 and self.is_string(node.args[0]):
            return self.column(node.args[0].value)
        method = self.method(node)
        if method in TEXT_VALUES and not node.args and not node.keywords:
            self.count(operations=1)
            return TextValue(method, self.string(node), TEXT_VALUES[method])
        known = [*TEXT_TESTS, *TEXT_VALUES]
        if method is None and node.args and getattr(node.func, "id", None) in known:
            written = f"{ast.unparse(node.args[0])}.{node.func.id}()"
            raise self.refuse(node, f"is a call, which is not supported. Write {written}.")
        name = ast.unparse(node.func)
        written = without_call(name, [ast.unparse(argument) for argument in node.args])
        hint = f" Write {written}." if written else did_you_mean(method or name, known)
        raise self.refuse(node, f"is a call, which is not supported.{hint}")

    def written(self, name: str) -> str:
        """How to write a column's name in an expression."""
        return f"col({name!r})" if needs_col(name) else name

    def as_written(self, node: ast.Name) -> str:
        """A name as written; Python's parser normalizes some letters (NFKC)."""
        if self.text.isascii():
            return node.id
        written = ast.get_source_segment(self.text, node)
        return written if written in self.kinds else node.id

    def column(self, name: str) -> Name:
        if name not in self.kinds:
            raise ColumnError(
                f"{argument('where', _cut(self.text))} names an unknown column {name!r}."
                f"{did_you_mean(name, self.kinds)}"
            )
        self.columns[name] = None
        return Name(name, self.kinds[name], name in getattr(self.kinds, "half", ()))

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

    def signed(self, node: ast.UnaryOp) -> Node:
        operand = self.number(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(operand, Constant):
            return constants.number(-operand.value)
        return Arithmetic("-", Constant(0.0, "float64"), operand)

    def arithmetic(self, node: ast.BinOp, op: str, left: Node, right: Node) -> Node:
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

    def number(self, node: ast.expr) -> Node:
        operand = self.value(node)
        if operand.kind not in NUMBERS:
            raise self.refuse(node, f"is of kind {operand.kind}, not a number.")
        return operand
