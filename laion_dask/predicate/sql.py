"""Compile an expression to DuckDB SQL: once for "certainly true", once for "possibly true".

Both are two-valued: no sub-expression is ever NULL, so ``NOT`` is exact. The SQL is generated from
the parsed tree only: names and strings are quoted, and no user text is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from laion_dask.predicate.lower_case import lower_sql, without_lower
from laion_dask.predicate.nodes import (
    Absolute,
    And,
    Arithmetic,
    Compare,
    Condition,
    Constant,
    Extreme,
    In,
    InFile,
    IsNone,
    Name,
    Not,
    Operand,
    Or,
    Predicate,
    Test,
    TextTest,
    TextValue,
    Truth,
    operands_of,
)
from laion_dask.predicate.sql_functions import SqlFunction, functions_of
from laion_dask.predicate.white_space import distinct_words_sql, words_sql

_OPS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TESTS = {"contains": "contains", "startswith": "starts_with", "endswith": "ends_with"}
_TESTS |= {"matches": "regexp_matches"}


@dataclass(frozen=True)
class Sql:
    """Two conditions over the same parameters.

    Attributes
    ----------
    certain : str
        True if the expression is true.
    possible : str
        True if the expression is true or unknown.
    settled : str
        Among the possible rows, true for the certain ones; cheaper to evaluate than ``certain``.
    parameters : dict of str to str
        Values of the parameters ``$s0``, ``$s1``, … in both conditions: strings that contain a NUL.
    functions : tuple of SqlFunction
        The functions that the conditions call besides DuckDB's own.
    """

    certain: str
    possible: str
    settled: str
    parameters: dict[str, str]
    functions: tuple[SqlFunction, ...] = ()


def quoted(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | int | float) -> str:
    """A value as an SQL literal; text must not contain NUL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'::VARCHAR"
    # A float is written as text: DuckDB parses a bare 0.28 as a decimal and rounds it twice.
    return f"{value}::BIGINT" if isinstance(value, int) else f"'{value!r}'::DOUBLE"


def to_sql(predicate: Predicate, columns: Mapping[str, str | None]) -> Sql:
    """Compile a predicate for one shard.

    Parameters
    ----------
    predicate : Predicate
        Without values that DuckDB cannot compute, see `laion_dask.predicate.sites.split`.
    columns : mapping of str to str or None
        SQL of each column, typed as the predicate expects; None for a column that the shard does
        not have (all its values are unknown).
    """
    writer = _Writer(columns)
    certain = writer.condition(predicate.root, certain=True)
    possible = writer.condition(predicate.root, certain=False)
    unknown = " OR ".join(writer.any_missing) or "FALSE"
    # If no operand is missing, a possible row is certain, so most rows need no second evaluation.
    # If every test must hold and none is false, one unknown test makes the whole unknown.
    settled = f"NOT ({unknown})"
    if not _all_must_hold(predicate.root):
        settled = f"CASE WHEN {unknown} THEN {certain} ELSE TRUE END"
    functions = tuple(writer.functions)
    return Sql(certain, possible, settled, writer.parameters, functions)


def _all_must_hold(node: Condition) -> bool:
    """Whether one test that is not true suffices to make the expression not true."""
    if isinstance(node, And):
        return all(_all_must_hold(operand) for operand in node.parts)
    return not isinstance(node, (Or, Not))


class _Writer:
    def __init__(self, columns: Mapping[str, str | None]) -> None:
        self.columns = columns
        self.parameters: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.any_missing: dict[str, None] = {}
        self.functions: dict[SqlFunction, None] = {}

    def condition(self, node: Condition, *, certain: bool) -> str:
        """SQL that is true where the node is certainly (or possibly) true."""
        if isinstance(node, Not):
            return f"NOT ({self.condition(node.of, certain=not certain)})"
        if isinstance(node, (And, Or)):
            word = " AND " if isinstance(node, And) else " OR "
            return word.join(f"({self.condition(p, certain=certain)})" for p in node.parts)
        if isinstance(node, IsNone):
            return " OR ".join(self.null(node.of) + self.nan(node.of)) or "FALSE"
        operands = operands_of(node)
        null = [m for operand in operands for m in self.null(operand)]
        nan = [m for operand in operands for m in self.nan(operand)]
        self.any_missing.update(dict.fromkeys(null + nan))
        if "TRUE" in null:  # return before the test is written, which may add an unused parameter
            return "FALSE" if certain else "TRUE"
        test = self.test(node)
        if certain:
            return " AND ".join([*(f"NOT ({m})" for m in null + nan), test])
        if isinstance(node, Compare) and "string" not in (node.left.kind, node.right.kind):
            return self.number_may_pass(node, test, nan)
        # For text, IS NULL lets DuckDB test each dictionary entry once.
        return " OR ".join([test, *null, *nan])

    def number_may_pass(self, node: Compare, test: str, nan: list[str]) -> str:
        """A comparison of numbers that is true for missing values, in DuckDB's fastest form.

        Half the time of ``test OR x IS NULL OR isnan(x)``. DuckDB sorts NaN above all numbers.
        """
        value, bound = self.sides(node)
        if nan and isinstance(node.right, Constant) and node.op in (">", ">="):
            type_ = "FLOAT" if node.left.kind == "float32" else "DOUBLE"
            return f"COALESCE({value}, 'nan'::{type_}) {node.op} {bound}"
        if nan and isinstance(node.right, Constant) and node.op in ("<", "<="):
            fails = ">=" if node.op == "<" else ">"
            return f"CASE WHEN {value} {fails} {bound} THEN isnan({value}) ELSE TRUE END"
        return f"({' OR '.join([test, *nan])}) IS NOT FALSE"  # any test of null yields null

    def test(self, node: Test) -> str:
        """A condition on known operands."""
        if isinstance(node, Compare):
            sides = self.sides(node)
            return f"{sides[0]} {_OPS[node.op]} {sides[1]}"
        if isinstance(node, In):
            return self.among(node)
        if isinstance(node, InFile):
            return self.in_file(node)
        if isinstance(node, TextTest):
            return f"{_TESTS[node.op]}({self.value(node.of)}, {self.string(node.pattern)})"
        if isinstance(node, Truth):
            return self.value(node.of)
        raise AssertionError(node)

    def sides(self, node: Compare) -> tuple[str, str]:
        """Both operands; two columns of different types are converted to float64."""
        left, right = self.value(node.left), self.value(node.right)
        constant = isinstance(node.left, Constant) or isinstance(node.right, Constant)
        if node.left.kind != node.right.kind and not constant:
            return f"({left})::DOUBLE", f"({right})::DOUBLE"
        return left, right

    def among(self, node: In) -> str:
        """One list per type of constant: in a mixed list, integers would become floats."""
        lists: dict[type, list[str]] = {}
        for value in node.values:
            lists.setdefault(type(value.value), []).append(self.value(value))
        column = self.value(node.of)
        tests = [f"{column} IN ({', '.join(values)})" for values in lists.values()]
        return f"({' OR '.join(tests)})"

    def in_file(self, node: InFile) -> str:
        """A call of a function of the connection, which looks values up in the list."""
        functions = functions_of(node.values)
        self.functions.update(dict.fromkeys(functions))
        value = self.value(node.of)
        calls = [f"{one.name}(TRY_CAST({value} AS {one.type}))" for one in functions]
        return f"({' OR '.join(calls)})"

    def null(self, node: Operand) -> list[str]:
        """SQL conditions under which an operand is null.

        They must precede those of `nan`, because ``isnan`` of null is null. The tests are only
        two-valued in this order, joined by OR, or negated and joined by AND.
        """
        if isinstance(node, Constant):
            return []
        if isinstance(node, (TextValue, Absolute)):
            return self.null(node.of)
        if isinstance(node, Extreme):
            every = dict.fromkeys(null for part in node.parts for null in self.null(part))
            if "TRUE" in every:
                return ["TRUE"]
            return list(every) if node.kind == "integer" else []  # a float is NaN instead
        value = self.value(node)
        if value == "NULL":
            return ["TRUE"]
        # DuckDB 2.0 reads a whole row group as null for ``x IS NULL`` if its text is not in a
        # dictionary and has a single value besides null. It does not for a function of the text.
        return [f"strlen({value}) IS NULL" if node.kind == "string" else f"{value} IS NULL"]

    def nan(self, node: Operand) -> list[str]:
        """SQL conditions under which an operand is NaN."""
        if isinstance(node, Constant) or node.kind not in ("float32", "float64"):
            return []
        value = self.value(node)
        return [] if value == "NULL" else [f"isnan({value})"]

    def value(self, node: Operand) -> str:
        if isinstance(node, Name):
            return self.columns[node.name] or "NULL"
        if isinstance(node, Constant):
            return self.constant(node)
        if isinstance(node, TextValue):
            return self.text_value(node)
        if isinstance(node, Extreme):
            return self.extreme(node)
        if isinstance(node, Absolute):
            value = self.value(node.of)
            # DuckDB's abs of the lowest integer of a type is an error.
            return f"abs(({value})::HUGEINT)" if node.kind == "integer" else f"abs({value})"
        if isinstance(node, Arithmetic):
            left, right = (
                self.extreme_float(side)
                if isinstance(side, Extreme) and side.kind == "integer"
                else f"({self.value(side)})::DOUBLE"
                for side in (node.left, node.right)
            )
            if node.op == "/":
                right = f"NULLIF({right}, 0)"
            return f"({left} {node.op} {right})"
        raise AssertionError(node)

    def text_value(self, node: TextValue) -> str:
        """SQL of a length or of lowered text; repeated lowering is dropped."""
        operand = node.of
        if node.op == "len":
            return f"length({self.value(operand)})"
        if node.op == "words":
            return words_sql(self.value(without_lower(operand)))
        if node.op == "distinct_words":
            return distinct_words_sql(self.value(operand))
        assert node.op == "lower", node  # the rest is not SQL's, see `laion_dask.predicate.sites`
        return lower_sql(self.value(without_lower(operand)))

    def extreme(self, node: Extreme) -> str:
        """SQL of a minimum or maximum, which is null or NaN if a part is either.

        DuckDB's ``greatest`` and ``least`` ignore null, and its NaN is above all numbers.
        """
        if node.kind == "integer":
            known = " AND ".join(f"NOT ({null})" for null in self.null(node)) or "TRUE"
            return f"CASE WHEN {known} THEN {self.extreme_integer(node)} END"
        return self.extreme_float(node)

    def extreme_float(self, node: Extreme) -> str:
        """The same as a float; converting integers to float64 first gives the same number."""
        type_ = "FLOAT" if node.kind == "float32" else "DOUBLE"
        sign = "-" if node.op == "min" else ""
        parts = (f"{sign}(({self.value(part)})::{type_})" for part in node.parts)
        parts = (f"COALESCE({part}, 'nan'::{type_})" for part in parts)
        return f"{sign}greatest({', '.join(parts)})"

    def extreme_integer(self, node: Operand) -> str:
        if not isinstance(node, Extreme):
            return f"({self.value(node)})"
        function = "least" if node.op == "min" else "greatest"
        return f"{function}({', '.join(map(self.extreme_integer, node.parts))})"

    def constant(self, node: Constant) -> str:
        if isinstance(node.value, str):
            return self.string(node.value)
        if isinstance(node.value, bool):
            return "TRUE" if node.value else "FALSE"
        if isinstance(node.value, int):
            return f"({node.value})::{'BIGINT' if node.value < 2**63 else 'UBIGINT'}"
        # Written as text: DuckDB parses a bare 0.28 as a decimal and rounds it twice.
        return f"'{node.value!r}'::DOUBLE{'::FLOAT' if node.kind == 'float32' else ''}"

    def string(self, text: str) -> str:
        """A literal, which DuckDB compares faster than a parameter; it cannot contain NUL."""
        if "\0" not in text:
            return "'" + text.replace("'", "''") + "'"
        if text not in self.names:
            self.names[text] = f"s{len(self.names)}"
            self.parameters[self.names[text]] = text
        return f"${self.names[text]}"
