"""``text.lower()`` with the result of Python's ``str.lower``, in DuckDB SQL and on frames.

DuckDB and Arrow map each code point separately. Python also maps one code point ("İ") to two, and a
capital sigma at the end of a word to the final sigma (The Unicode Standard, section 3.13,
Final_Sigma). Texts without either are lowered by the engine.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Column, is_cudf
from laion_dask.predicate.nodes import Operand, TextValue

_DOTTED_I, _SIGMA, _FINAL_SIGMA = "\u0130", "\u03a3", "\u03c2"
_NUL = "\0"


def lower_sql(value: str) -> str:
    """SQL that lowers a text; ``value`` is the SQL of the text."""
    final = f"regexp_replace({value}, '{_before_the_end_of_a_word()}', '\\1{_FINAL_SIGMA}\\2', 'g')"
    dotted = f"replace({{}}, '{_DOTTED_I}', '{_DOTTED_I.lower()}')"
    return (
        f"CASE WHEN contains({value}, '{_SIGMA}') THEN lower({dotted.format(final)}) "
        f"WHEN contains({value}, '{_DOTTED_I}') THEN lower({dotted.format(value)}) "
        f"ELSE lower({value}) END"
    )


def without_lower(node: Operand) -> Operand:
    """The text that ``lower`` is applied to, once or repeatedly; any other operand unchanged."""
    while isinstance(node, TextValue) and node.op == "lower":
        node = node.of
    return node


@functools.cache
def _before_the_end_of_a_word() -> str:
    """A regular expression (RE2) for a capital sigma in final position, with its context.

    A cased letter precedes it and none follows it, ignoring case-ignorable characters. The match
    ends before the next cased letter, so no match hides the next one.
    """
    every = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    with_case: list[int] = []
    ignorable: list[int] = []
    after_a_letter = _NUL.join(f"A{c}{_SIGMA}" for c in every).lower().split(_NUL)
    after_none = _NUL.join(f"{c}{_SIGMA}" for c in every).lower().split(_NUL)
    for letter, after, first in zip(every, after_a_letter, after_none, strict=True):
        if after.endswith(_FINAL_SIGMA):
            (with_case if first.endswith(_FINAL_SIGMA) else ignorable).append(ord(letter))
    case, skipped = ranges(with_case), ranges(ignorable)
    return f"([{case}][{skipped}]*){_SIGMA}([{skipped}]*(?:[^{case}{skipped}]|$))"


def ranges(points: list[int]) -> str:
    """Ascending code points as the body of a character class."""
    ranges: list[list[int]] = []
    for point in points:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join("-".join(f"\\x{{{end:X}}}" for end in dict.fromkeys(ends)) for ends in ranges)


def lowered(text: Column) -> Column:
    """A series of text, lowered."""
    if is_cudf(text):
        lowered_by_cudf: Column = _lowered_by_cudf(text)
        return lowered_by_cudf
    low = text.str.lower()
    odd = ~text.str.isascii().fillna(True).astype("bool")
    odd[odd] = text[odd].str.contains(_unlike_python()).astype("bool")
    if odd.any():
        low[odd] = np.array([one.lower() for one in text[odd]], object)
    return low


def _lowered_by_cudf(text: Any) -> Any:
    """Lower with ``translate``: cuDF's ``lower`` misses sigma context and non-BMP letters.

    ``translate`` accepts any table of single code points but drops NULs. A column that contains a
    NUL, a sigma or a dotted I is therefore processed on the host.
    """
    if any(text.str.contains(one, regex=False).any() for one in (_NUL, _SIGMA, _DOTTED_I)):
        on_host = pa.array(
            [one if one is None else one.lower() for one in text.to_arrow().to_pylist()],
            pa.string(),
        )
        return type(text)(on_host, index=text.index)
    return text.str.translate(lower_case())


@functools.cache
def lower_case() -> dict[int, int]:
    """Lower case of all code points that map to one other code point."""
    every = _with_case()
    return {ord(c): ord(c.lower()) for c in every if len(c.lower()) == 1 and c.lower() != c}


@functools.cache
def _unlike_python() -> str:
    """A regular expression for the code points that Arrow and Python lower differently."""
    every = _with_case()
    lower = pc.utf8_lower(pa.array(every)).to_pylist()
    unlike = [ord(c) for c, low in zip(every, lower, strict=True) if c.lower() != low]
    return f"[{ranges(sorted({*unlike, ord(_SIGMA)}))}]"


def _with_case() -> list[str]:
    """The code points of the first two planes; no later plane has cased letters."""
    return [chr(c) for c in range(1, 0x20000) if not 0xD800 <= c < 0xE000]
