"""The nodes of an expression tree. All are frozen, hashable and picklable.

A `Condition` is true, false or unknown for a row; an `Operand` has a value, or is null.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeAlias

from laion_dask.cost import Cost

#: Maximum characters of an expression in the label of its cost.
_LABEL = 40
#: The values of a URL that are parts of its host.
SITE_VALUES = ("domain", "tld")


@dataclass(frozen=True)
class Node:
    """A node of an expression tree."""


@dataclass(frozen=True)
class Name(Node):
    """A column. ``kind`` is string, integer, float32, float64, boolean or other.

    ``half`` is True for a float column that a file stores as float16.
    """

    name: str
    kind: str = "?"
    half: bool = False


@dataclass(frozen=True)
class Constant(Node):
    value: str | int | float | bool
    kind: str = "?"


@dataclass(frozen=True)
class Arithmetic(Node):
    op: str
    left: Operand
    right: Operand
    kind: str = "float64"


@dataclass(frozen=True)
class TextValue(Node):
    """``lower`` of a string, its ``len``, or the number of its ``words`` or ``distinct_words``.

    Of a URL: the registered ``domain`` or the ``tld`` of its host, which is null for none.
    """

    op: str
    of: Operand
    kind: str = "string"


@dataclass(frozen=True)
class Extreme(Node):
    """The ``min`` or ``max`` of numbers: missing if any of them is.

    ``kind`` is integer if all parts are, and float32 if all are float32 or a constant that float16
    holds exactly; else float64.
    """

    op: str
    parts: tuple[Operand, ...]
    kind: str


@dataclass(frozen=True)
class Absolute(Node):
    """``abs`` of a number. That of an integer is exact, up to 2**63."""

    of: Operand
    kind: str


@dataclass(frozen=True)
class Compare(Node):
    op: str
    left: Operand
    right: Operand


@dataclass(frozen=True)
class In(Node):
    """``of in values``."""

    of: Operand
    values: tuple[Constant, ...]


@dataclass(frozen=True)
class ValueList:
    """The values of a file, by the sha256 of its bytes.

    Attributes
    ----------
    written, path : str
        The file as named in the expression, and its absolute path or address.
    sha256 : str
    kind : {"string", "integer"}
    column : str
        The column that is filtered, which names the column of a table.
    n : int
        The number of distinct values.
    """

    written: str
    path: str
    sha256: str
    kind: str
    column: str
    n: int

    def recipe(self) -> dict[str, object]:
        """What a manifest records of the list: never its values."""
        return {"list": self.path, "sha256": self.sha256, "values": self.n}


@dataclass(frozen=True)
class InFile(Node):
    """``of in file('…')``."""

    of: Operand
    values: ValueList


@dataclass(frozen=True)
class TextTest(Node):
    """``of.contains(pattern)``, startswith or endswith of literal text; matches of an RE2."""

    op: str
    of: Operand
    pattern: str


@dataclass(frozen=True)
class IsNone(Node):
    of: Operand


@dataclass(frozen=True)
class Truth(Node):
    """A boolean column used as a condition."""

    of: Operand


@dataclass(frozen=True)
class Not(Node):
    of: Condition


@dataclass(frozen=True)
class And(Node):
    """Conjunction: ``and``."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Or(Node):
    """Disjunction: ``or``."""

    parts: tuple[Condition, ...]


Operand: TypeAlias = Name | Constant | Arithmetic | TextValue | Extreme | Absolute
#: A condition that is neither compound nor a test for null.
Test: TypeAlias = Compare | In | InFile | TextTest | Truth
Condition: TypeAlias = Test | IsNone | Not | And | Or


def nodes_of(node: Node) -> Iterator[Node]:
    """A node and all nodes within it."""
    yield node
    for field in fields(node):
        value = getattr(node, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Node) and not isinstance(part, Constant):
                yield from nodes_of(part)


def operands_of(test: Test) -> tuple[Operand, ...]:
    """The operands of a test, apart from the values of a list and the pattern of a text test."""
    return (test.left, test.right) if isinstance(test, Compare) else (test.of,)


@dataclass(frozen=True)
class Predicate:
    """A parsed and validated expression.

    Attributes
    ----------
    text : str
        The expression as written.
    root : Condition
    columns : tuple of str
        The columns that the expression reads, in order of first use.
    """

    text: str
    root: Condition
    columns: tuple[str, ...]
    verb = "where"

    @property
    def lists(self) -> tuple[ValueList, ...]:
        """The lists in files that the expression names."""
        within = (node.values for node in nodes_of(self.root) if isinstance(node, InFile))
        return tuple(dict.fromkeys(within))

    @property
    def cost(self) -> Cost:
        """The cost of evaluating it on one row.

        Counting words, or searching for a regular expression, takes about as long as the rest.
        """
        text = " ".join(self.text.split())
        shown = text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…"
        operations = [getattr(node, "op", None) for node in nodes_of(self.root)]
        n = 1 + sum(op in ("words", "distinct_words", "matches") for op in operations)
        sites = ("hosts",) * sum(op in SITE_VALUES for op in operations)
        return Cost(("where",) * n + sites, columns=self.columns, label=f"where {shown}")

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("laion_dask.Predicate", repr(self.root))

    def __and__(self, other: Predicate) -> Predicate:
        columns = tuple(dict.fromkeys(self.columns + other.columns))
        text = f"({self.text}) and ({other.text})"
        first = self.root.parts if isinstance(self.root, And) else (self.root,)
        return Predicate(text, And((*first, other.root)), columns)

    def beyond(self, other: Predicate) -> Predicate | None:
        """The remaining condition if this predicate is ``other & something``; else None."""
        operands = self.root.parts if isinstance(self.root, And) else (self.root,)
        others = other.root.parts if isinstance(other.root, And) else (other.root,)
        remaining = operands[len(others) :]
        if operands[: len(others)] != others or not remaining:
            return None
        root = remaining[0] if len(remaining) == 1 else And(remaining)
        return Predicate(f"beyond ({other.text}): {self.text}", root, self.columns)
