"""What a word is, and when two words are the same: Unicode's own rules, as tables for the scan.

A word is a run of word characters as Unicode's annex for regular expressions has them (UTS #18,
annex C, ``\\w``: alphabetic, marks, decimal digits, connector punctuation, join controls), so that
words begin and end where ``\\b`` of a Unicode regular expression matches. Two words are the same
when they are a canonical caseless match (The Unicode Standard, section 3.13, D145): case is
folded fully, composed and decomposed letters are equal.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np

_WORD, _SPACE, _HYPHEN, _APOSTROPHE = 1, 2, 4, 8
#: Alphabetic by the property Other_Alphabetic without being a letter or a mark: circled letters.
_CIRCLED = ((0x24B6, 0x24EA), (0x1F130, 0x1F14A), (0x1F150, 0x1F16A), (0x1F170, 0x1F18A))
_JOINERS = (0x200C, 0x200D)
#: The property White_Space.
_SPACES = (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
           0x202F, 0x205F, 0x3000)  # fmt: skip
_HYPHENS = (0x2D, 0x2010, 0x2011)
_APOSTROPHES = (0x27, 0x2019)
#: Nothing else is assigned beyond these: planes 0 to 3, and tags and variation selectors.
_ASSIGNED = (*range(0x34000), *range(0xE0000, 0xE0200))
_IOTA_BELOW = "\u0345"


class Characters(NamedTuple):
    """Tables by code point.

    Attributes
    ----------
    kind : (0x110000,) uint8 array
        Bits: 1 part of a word, 2 white space, 4 a hyphen, 8 an apostrophe.
    marks : (0x110000,) uint8 array
        The canonical combining class.
    unfolds : (0x110000,) int32 array
        0 for what stays as it is; else a number u, and the code point is replaced by
        ``unfold_to[unfold_at[u]:unfold_at[u + 1]]``.
    unfold_at, unfold_to : int32 arrays
    """

    kind: np.ndarray
    marks: np.ndarray
    unfolds: np.ndarray
    unfold_at: np.ndarray
    unfold_to: np.ndarray


@cache
def characters() -> Characters:
    """The tables, by the version of Unicode that this Python has; made once a process."""
    kind, marks = np.zeros(0x110000, np.uint8), np.zeros(0x110000, np.uint8)
    unfolds, at, to = np.zeros(0x110000, np.int32), [0, 0], []
    for c in _ASSIGNED:
        letter = chr(c)
        category = unicodedata.category(letter)
        if category == "Cn":
            continue
        if category[0] in "LM" or category in ("Nd", "Nl", "Pc"):
            kind[c] = _WORD
        if category[0] == "M":
            marks[c] = unicodedata.combining(letter)
        changed = _unfolded(letter)
        if changed != letter:
            unfolds[c] = len(at) - 1
            to += map(ord, changed)
            at.append(len(to))
    for first, stop in _CIRCLED:
        kind[first:stop] = _WORD
    for bit, some in (
        (_WORD, _JOINERS),
        (_SPACE, _SPACES),
        (_HYPHEN, _HYPHENS),
        (_APOSTROPHE, _APOSTROPHES),
    ):
        kind[list(some)] |= bit
    made = (kind, marks, unfolds, np.array(at, np.int32), np.array(to or [0], np.int32))
    for table in made:
        table.flags.writeable = False
    return Characters(*made)


def _unfolded(letter: str) -> str:
    """Decomposed and folded; but the iota below stays a mark until marks have been ordered."""
    parts = unicodedata.normalize("NFD", letter)
    folded = "".join(p if p == _IOTA_BELOW else p.casefold() for p in parts)
    return unicodedata.normalize("NFD", folded)


def folded(word: str) -> str:
    """The one form that all words of a canonical caseless match have (D145)."""
    decomposed = unicodedata.normalize("NFD", word)
    return unicodedata.normalize("NFD", decomposed.casefold())


def is_word(letter: str) -> bool:
    """Whether a character is part of words."""
    return bool(characters().kind[ord(letter)] & _WORD)


def split(text: str) -> tuple[list[str], list[str]]:
    """The words of a text, and what stands before, between and after them.

    Returns
    -------
    words : list of str
        As they stand.
    gaps : list of str
        One more; white space as one space each run, hyphens and apostrophes as ASCII has them.
    """
    words, gaps, inside = [], [""], False
    for letter in text:
        kind = characters().kind[ord(letter)]
        if kind & _WORD:
            if inside:
                words[-1] += letter
            else:
                words.append(letter)
                gaps.append("")
            inside = True
            continue
        inside = False
        if kind & _SPACE:
            letter = "" if gaps[-1].endswith(" ") else " "
        elif kind & _HYPHEN:
            letter = "-"
        elif kind & _APOSTROPHE:
            letter = "'"
        gaps[-1] += letter
    return words, gaps
