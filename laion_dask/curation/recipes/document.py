"""Read the YAML of a recipe as plain values, and remember the line of each.

Recipes come from the open web. A document has at most a million characters, no aliases (which can
multiply a small file into gigabytes), no tags, and no key twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

import yaml

from laion_dask.curation.recipes import library
from laion_dask.errors import RecipeError

_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 20
#: Where a value is in the tree: keys of mappings and positions in lists.
Path: TypeAlias = tuple[str | int, ...]
_CONSTANTS: dict[str, bool | float | None] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
}
_CONSTANTS |= {".inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Document:
    """A tree of plain values, and where each is written.

    Attributes
    ----------
    tree : dict, list, str, number, bool or None
    origin : str
        The file, or another name, for messages.
    lines : dict of Path to int
    step_numbers : tuple of int or None, optional
        Of a recipe with some of its steps: the position of each in the document, from 0, or None
        for a step that is not in it.
    """

    tree: Any
    origin: str
    lines: dict[Path, int]
    step_numbers: tuple[int | None, ...] | None = None

    def step_number(self, at: int) -> int:
        """The number of the step at a position, from 1; 0 for what is not a step of the document.

        That is a removal list, at -1, or a step that an option of the command adds.
        """
        numbers = self.step_numbers
        number = at if numbers is None or at >= len(numbers) else numbers[at]
        return 0 if at < 0 or number is None else number + 1

    def error(self, path: Path, message: str) -> RecipeError:
        """An error at a value: the message with the file and the line in front."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path)
        shipped = library.holds(PurePath(self.origin))
        origin = f"the recipe {PurePath(self.origin).stem}" if shipped else self.origin
        return RecipeError(f"{origin}{'' if line is None else f', line {line}'}: {message}")

    def with_steps(self, numbers: Sequence[int | None]) -> Document:
        """The document of a recipe with some of its steps, by number or None, which has no line."""
        lines = {path: line for path, line in self.lines.items() if path[:1] != ("steps",)}
        for new, old in enumerate(numbers):
            for path, line in self.lines.items():
                if path[:1] == ("steps",) and path[1:2] == (old,):
                    lines["steps", new, *path[2:]] = line
        own = (None if one is None else self.step_number(one) - 1 for one in numbers)
        new_numbers = tuple(None if one is None or one < 0 else one for one in own)
        return Document(self.tree, self.origin, lines, new_numbers)


def read_document(text: str, origin: str) -> Document:
    """Parse one YAML document.

    Raises
    ------
    RecipeError
        When the text is not YAML, or has what recipes may not have; names the line.
    """
    if len(text) > _MAX_CHARACTERS:
        raise RecipeError(
            f"{origin} has {len(text):,} characters. Expected a recipe of at most "
            f"{_MAX_CHARACTERS:,}; put long lists in files of their own."
        )
    lines: dict[Path, int] = {}
    try:
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = "" if mark is None else f", line {mark.line + 1}"
        raise RecipeError(
            f"{origin}{at}: {error.problem or error.context}. Expected YAML; see the recipes "
            "that ld.recipes() lists."
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(
            f"{origin}, line {line}: the character {chr(error.character)!r} is not allowed in "
            "YAML. Remove it, or write it as an escape in double quotes."
        ) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RecipeError(f"{origin} is not a recipe: {reason}.") from None
    if node is None:
        raise RecipeError(f"{origin} is empty. Expected a recipe with 'name' and 'steps'.")
    tree = _plain(node, (), lines, origin)
    return Document(tree, origin, lines)


def to_yaml(tree: Mapping[str, Any]) -> str:
    """A tree as YAML, which `read_document` reads as the same tree."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes text that `scalar` would read as a number; YAML 1.1 has other numbers."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = None if isinstance(scalar(data), str) else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)

    def represent_list(self, data: Iterable[Any]) -> yaml.SequenceNode:
        """A vector, or a polygon, as lines of numbers instead of a line for each."""
        return self.represent_sequence("tag:yaml.org,2002:seq", data, _is_numeric(list(data)))


_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_representer(list, _Dumper.represent_list)


def _is_numeric(value: list[Any]) -> bool:
    """Whether a list has numbers, or pairs of numbers, and nothing else."""
    return bool(value) and all(
        type(one) in (int, float) or (type(one) is list and _is_numeric(one)) for one in value
    )


class _Loader(yaml.BaseLoader):
    """Leaves scalars as text, and refuses aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "recipes have no aliases (*name); write the value again", mark
            )
        return super().compose_node(parent, index)


def _plain(node: yaml.Node, path: Path, lines: dict[Path, int], origin: str) -> Any:
    lines[path] = node.start_mark.line + 1
    at = Document(None, origin, lines)
    if len(path) > _MAX_DEPTH:
        raise at.error(path, f"nested deeper than {_MAX_DEPTH} levels.")
    if node.tag not in _TAGS:
        raise at.error(path, f"the tag {node.tag!r} is not allowed. Write a plain value.")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, n), lines, origin) for n, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return dict(_items(node, path, lines, origin))
    plain: bool = isinstance(node, yaml.ScalarNode) and node.style is None
    return scalar(node.value) if plain else node.value


def scalar(text: str) -> str | int | float | bool | None:
    """The value of a scalar without quotes, as in YAML 1.2: ``no`` is text, and so is a date."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else text
    return float(text) if _FLOAT.fullmatch(text) else text


def _items(
    node: yaml.MappingNode, path: Path, lines: dict[Path, int], origin: str
) -> Iterator[tuple[str, Any]]:
    seen = set()
    at = Document(None, origin, lines)
    for key_node, value_node in node.value:
        key = key_node.value
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            lines[(*path, "")] = line
            raise at.error((*path, ""), "a key is not text. Expected a name and a colon.")
        value = _plain(value_node, (*path, key), lines, origin)
        lines[(*path, key)] = line
        if key in seen:
            raise at.error((*path, key), f"the key {key!r} occurs twice. Remove one of them.")
        seen.add(key)
        yield key, value
