"""The nodes of an expression tree. All are frozen, hashable and picklable."""

from __future__ import annotations

from dataclasses import dataclass


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
    left: Node
    right: Node
    kind: str = "float64"


@dataclass(frozen=True)
class TextValue(Node):
    """``lower`` of a string, or its ``len`` in code points."""

    op: str
    of: Node
    kind: str = "string"


@dataclass(frozen=True)
class Compare(Node):
    op: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Among(Node):
    """``of in values``."""

    of: Node
    values: tuple[Constant, ...]


@dataclass(frozen=True)
class TextTest(Node):
    """``of.contains(pattern)``, startswith or endswith; the pattern is literal text."""

    op: str
    of: Node
    pattern: str


@dataclass(frozen=True)
class IsNone(Node):
    of: Node


@dataclass(frozen=True)
class Truth(Node):
    """A boolean column used as a condition."""

    of: Node


@dataclass(frozen=True)
class Not(Node):
    of: Node


@dataclass(frozen=True)
class Every(Node):
    """Conjunction: ``and``."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Some(Node):
    """Disjunction: ``or``."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Predicate:
    """A parsed and validated expression.

    Attributes
    ----------
    text : str
        The expression as written.
    root : Node
    columns : tuple of str
        The columns that the expression reads, in order of first use.
    """

    text: str
    root: Node
    columns: tuple[str, ...]

    def __dask_tokenize__(self):
        return ("laion_dask.Predicate", repr(self.root))

    def __and__(self, other: Predicate) -> Predicate:
        columns = tuple(dict.fromkeys(self.columns + other.columns))
        text = f"({self.text}) and ({other.text})"
        first = self.root.parts if isinstance(self.root, Every) else (self.root,)
        return Predicate(text, Every((*first, other.root)), columns)

    def beyond(self, other: Predicate) -> Predicate | None:
        """The remaining condition if this predicate is ``other & something``; else None."""
        mine = self.root.parts if isinstance(self.root, Every) else (self.root,)
        theirs = other.root.parts if isinstance(other.root, Every) else (other.root,)
        rest = mine[len(theirs) :]
        if mine[: len(theirs)] != theirs or not rest:
            return None
        root = rest[0] if len(rest) == 1 else Every(rest)
        return Predicate(f"beyond ({other.text}): {self.text}", root, self.columns)
