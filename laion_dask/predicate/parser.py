"""Parse text to a validated expression tree with Python's `ast`; nothing is evaluated as code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import overload

from laion_dask.errors import PredicateError, argument, parameter
from laion_dask.predicate import constants, list_file, regular_expressions
from laion_dask.predicate.hints import for_other_type, how_to_write, joined_texts, not_an_expression
from laion_dask.predicate.nodes import (
    And,
    Compare,
    Condition,
    Constant,
    In,
    InFile,
    IsNone,
    Name,
    Not,
    Operand,
    Or,
    Predicate,
    TextTest,
    Truth,
    ValueList,
)
from laion_dask.predicate.operands import NUMBERS, TEXT_TESTS, OperandParser, cut
from laion_dask.predicate.syntax import syntax_tree

#: Maximum length of an expression, in characters (an `in` list of hashes can be long).
MAX_LENGTH = 1_000_000
#: Maximum depth of the syntax tree, because every engine traverses it recursively.
MAX_DEPTH = 100

COMPARISONS = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def parse(text: str, kinds: Mapping[str, str], lists: Iterable[ValueList] = ()) -> Predicate:
    """Parse a filter expression and validate it against the available columns.

    Parameters
    ----------
    text : str
        For instance ``"similarity > 0.28 and language in ('en', 'de')"``.
    kinds : mapping of str to str
        Every column and its type: string, integer, float32, float64, boolean or other.
    lists : iterable of ValueList
        Lists in files that are known already, and not read again.

    Raises
    ------
    PredicateError
        If the text is not valid in this language, compares a string with a number, or names a list
        that cannot be read.
    ColumnError
        If the text names an unknown column; the message suggests the nearest name.
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
        tree = syntax_tree(source)
        _check_depth(tree)
        if joined := joined_texts(source):
            raise PredicateError(
                f"In {argument('where', cut(text))}: {joined} are two adjacent strings, which "
                "Python would concatenate. Put a comma between them, or write a quote within a "
                'string as in "it\'s".'
            )
        parser = _Parser(source, kinds)
        parser.lists = {(one.written, one.kind): one for one in lists}
        return Predicate(text, parser.condition(tree.body), tuple(parser.columns))
    except (SyntaxError, ValueError) as error:
        if isinstance(error, PredicateError):
            raise
        reason = how_to_write(text, kinds) or getattr(error, "msg", str(error))
        raise PredicateError(
            f"{argument('where', cut(text))} is not an expression ({reason}). Write it as "
            "\"similarity > 0.28 and language in ('en', 'de')\"."
        ) from None
    except (RecursionError, MemoryError):
        raise PredicateError(
            f"{argument('where', cut(text))} is nested too deeply. Write chains as 'in (...)' "
            "lists."
        ) from None


def _check_depth(tree: ast.AST) -> None:
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise RecursionError
        level = [child for node in level for child in ast.iter_child_nodes(node)]


def _column_of(node: Operand) -> str:
    """The column that an operand is computed from; a list in a table has one of that name."""
    while not isinstance(node, Name):
        node = getattr(node, "of", None) or getattr(node, "parts", (Name(""),))[0]
    return node.name


class _Parser(OperandParser):
    """Turns a syntax tree into nodes: `condition` for tests, `value` for their operands."""

    lists: dict[tuple[str, str], ValueList]

    def condition(self, node: ast.expr) -> Condition:
        if isinstance(node, ast.BoolOp):
            parts = tuple(self.condition(v) for v in node.values)
            return And(parts) if isinstance(node.op, ast.And) else Or(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Not(self.condition(node.operand))
        self.count(tests=len(node.ops) if isinstance(node, ast.Compare) else 1)
        if isinstance(node, ast.Compare):
            return self.chain(node)
        if isinstance(node, ast.Call) and (method := self.method(node)) in TEXT_TESTS:
            return self.text_test(node, method)
        operand = self.value(node)
        if operand.kind == "boolean" and not isinstance(operand, Constant):
            return Truth(operand)
        raise self.refuse(node, "is a value, not a condition. Compare it with something.")

    def chain(self, node: ast.Compare) -> Condition:
        operands = [node.left, *node.comparators]
        parts = tuple(
            self.comparison(node, op, operands[i], operands[i + 1]) for i, op in enumerate(node.ops)
        )
        return parts[0] if len(parts) == 1 else And(parts)

    def comparison(
        self, node: ast.Compare, op: ast.cmpop, left: ast.expr, right: ast.expr
    ) -> Condition:
        if isinstance(op, (ast.In, ast.NotIn)):
            membership = self.among(left, right)
            return Not(membership) if isinstance(op, ast.NotIn) else membership
        if isinstance(op, (ast.Is, ast.IsNot)):
            if not (isinstance(right, ast.Constant) and right.value is None):
                negated = isinstance(op, ast.IsNot)
                word, symbol = ("is not", "!=") if negated else ("is", "==")
                raise self.refuse(
                    node,
                    f"uses '{word}' with something other than None. Write '{word} None', or "
                    f"compare with {symbol}.",
                )
            test = IsNone(self.variable(left))
            return Not(test) if isinstance(op, ast.IsNot) else test
        self.refuse_unquoted(left, right)
        one, two = self.value(left), self.value(right)
        if isinstance(one, Constant) and isinstance(two, Constant):
            texts = (c.value for c in (one, two) if isinstance(c.value, str))
            named = [text for text in texts if text in self.column_types]
            hint = f" The column is written {self.written(named[0])}, unquoted." if named else ""
            raise self.refuse(node, f"compares two constants. Name a column on one side.{hint}")
        if isinstance(two, Constant):
            self.fitted(node, two, one.kind)  # whose error has a hint
        one, two = self.fitted(node, one, two.kind), self.fitted(node, two, one.kind)
        return constants.of_any_width(Compare(COMPARISONS[type(op)], one, two))

    def among(self, left: ast.expr, right: ast.expr) -> In | InFile:
        if isinstance(right, ast.Call) and ast.unparse(right.func) == "file":
            return self.in_file(left, right)
        if isinstance(right, ast.Name) and (text := self.text_of(left)) is not None:
            raise self.refuse(right, f"is a column. Write {right.id}.contains({text!r}).")
        if not isinstance(right, (ast.Tuple, ast.List, ast.Set)) or not right.elts:
            raise self.refuse(right, "is not a list of values. Write: language in ('en', 'de').")
        variable = self.variable(left)
        operands = [self.value(e) for e in right.elts]
        values = [v for v in operands if isinstance(v, Constant)]
        if len(values) < len(operands):
            raise self.refuse(right, "holds something other than constants.")
        fitted = tuple(self.fitted(right, v, variable.kind) for v in values)
        return In(variable, constants.in_any_width(variable, fitted))

    def in_file(self, left: ast.expr, call: ast.Call) -> InFile:
        written = self.string_argument(call)
        if not written or call.keywords:
            raise self.refuse(call, "does not name a file. Write: url in file('list.txt').")
        of = self.variable(left)
        if of.kind not in ("string", "integer"):
            raise self.refuse(
                left, f"is of kind {of.kind}. A list in a file holds texts or integers."
            )
        if (known := self.lists.get((written, of.kind))) is not None:
            return InFile(of, known)
        try:
            return InFile(of, list_file.open_list(written, of.kind, _column_of(of)))
        except list_file.ListError as error:
            raise self.refuse(call, f"{error.why}.") from None

    def variable(self, node: ast.expr) -> Operand:
        of = self.value(node)
        if isinstance(of, Constant):
            raise self.refuse(node, "is a constant. Name a column instead.")
        return of

    @overload
    def fitted(self, node: ast.AST, operand: Constant, other: str) -> Constant: ...

    @overload
    def fitted(self, node: ast.AST, operand: Operand, other: str) -> Operand: ...

    def fitted(self, node: ast.AST, operand: Operand, other: str) -> Operand:
        """Check that an operand can be compared with the other kind; convert constants to it."""
        both_numbers = operand.kind in NUMBERS and other in NUMBERS
        if "other" in (operand.kind, other):
            raise self.refuse(
                node,
                "compares a column that is not text, a number or a boolean. Use a mask instead, as "
                "in frame[frame['date'] > '2021-01-01'].",
            )
        if not both_numbers and operand.kind != other:
            hint = for_other_type(operand.value, other) if isinstance(operand, Constant) else ""
            raise self.refuse(node, f"compares {operand.kind} with {other}.{hint}")
        if not (isinstance(operand, Constant) and both_numbers) or isinstance(operand.value, str):
            return operand
        if other == "integer":
            return constants.for_integers(operand.value)
        return constants.for_floats(operand.value, other)

    def text_test(self, node: ast.Call, method: str) -> TextTest:
        of = self.string(node)
        pattern = self.string_argument(node)
        if pattern is None or node.keywords:
            raise self.refuse(node, "takes one string, as in text.contains('bird').")
        pattern.encode()  # raises for a lone surrogate, like any other constant
        if method == "matches" and (why := regular_expressions.fault(pattern)) is not None:
            raise self.refuse(node, why)
        return TextTest(method, of, pattern)
