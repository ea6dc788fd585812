"""Word boundaries and word equality by Unicode's rules, as tables by code point.

A word is a run of word characters as defined by Unicode's annex for regular expressions (UTS #18,
annex C, ``\\w``: alphabetic, marks, decimal digits, connector punctuation), so words begin and end
where ``\\b`` of a Unicode regular expression matches. Invisible characters are removed first: they
are not part of a word and do not end one. Two words are equal if they are a compatibility caseless
match (The Unicode Standard, section 3.13, D146): full case folding applies; composed and decomposed
letters, full-width letters, ligatures and letters of mathematical alphabets are equal to their
plain forms.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np

#: Bits of `Characters.classes`.
WORD, SPACE, HYPHEN, APOSTROPHE, INVISIBLE = 1, 2, 4, 8, 16
#: Characters with the property Other_Alphabetic that are not letters or marks: circled letters.
_CIRCLED = ((0x24B6, 0x24EA), (0x1F130, 0x1F14A), (0x1F150, 0x1F16A), (0x1F170, 0x1F18A))
#: The property Default_Ignorable_Code_Point (Unicode Character Database, DerivedCoreProperties):
#: soft hyphen, zero-width space and joiners, bidirectional controls, variation selectors, …
_INVISIBLES = (
    0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810),
    *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164,
    *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
)  # fmt: skip
#: The property White_Space.
_SPACES = (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
           0x202F, 0x205F, 0x3000)  # fmt: skip
_HYPHENS = (0x2D, 0x2010, 0x2011)
_APOSTROPHES = (0x27, 0x2019)
#: Code points that may be assigned: planes 0 to 3, and tags and variation selectors.
_ASSIGNED = (*range(0x34000), *range(0xE0000, 0xE0200))
_IOTA_BELOW = "\u0345"


class Characters(NamedTuple):
    """Tables by code point.

    Attributes
    ----------
    classes : (0x110000,) uint8 array
        Bits: 1 word character, 2 white space, 4 hyphen, 8 apostrophe; or 16, invisible.
    combining : (0x110000,) uint8 array
        The canonical combining class.
    fold_index : (0x110000,) int32 array
        0 for unchanged code points; otherwise a number u: the code point is replaced by
        ``fold_to[fold_at[u]:fold_at[u + 1]]``.
    fold_at, fold_to : int32 arrays
    """

    classes: np.ndarray
    combining: np.ndarray
    fold_index: np.ndarray
    fold_at: np.ndarray
    fold_to: np.ndarray


@cache
def characters() -> Characters:
    """The tables for this Python's version of Unicode; built once per process."""
    classes, combining = np.zeros(0x110000, np.uint8), np.zeros(0x110000, np.uint8)
    fold_index, at = np.zeros(0x110000, np.int32), [0, 0]
    to: list[int] = []
    for c in _ASSIGNED:
        letter = chr(c)
        category = unicodedata.category(letter)
        if category == "Cn":
            continue
        if category[0] in "LM" or category in ("Nd", "Nl", "Pc"):
            classes[c] = WORD
        if category[0] == "M":
            combining[c] = unicodedata.combining(letter)
        decomposed = _decomposed_caseless(letter)
        if decomposed != letter:
            fold_index[c] = len(at) - 1
            to += map(ord, decomposed)
            at.append(len(to))
    for first, stop in _CIRCLED:
        classes[first:stop] = WORD
    for bit, points in ((SPACE, _SPACES), (HYPHEN, _HYPHENS), (APOSTROPHE, _APOSTROPHES)):
        classes[list(points)] |= bit
    classes[list(_INVISIBLES)] = INVISIBLE
    tables = Characters(
        classes, combining, fold_index, np.array(at, np.int32), np.array(to or [0], np.int32)
    )
    for table in tables:
        table.flags.writeable = False
    return tables


def _decomposed_caseless(letter: str) -> str:
    """Decompose and case-fold; the iota subscript stays a mark until marks have been reordered."""
    parts = unicodedata.normalize("NFD", letter)
    folded = "".join(p if p == _IOTA_BELOW else _caseless(p) for p in parts)
    return unicodedata.normalize("NFD", folded)


def _caseless(decomposed: str) -> str:
    folded_once = unicodedata.normalize("NFKD", decomposed.casefold())
    return unicodedata.normalize("NFKD", folded_once.casefold())


def folded(word: str) -> str:
    """Canonical form, equal for all words that are a compatibility caseless match (D146)."""
    return _caseless(unicodedata.normalize("NFD", visible(word)))


def visible(text: str) -> str:
    """A text without its invisible characters."""
    return "".join(letter for letter in text if not characters().classes[ord(letter)] & INVISIBLE)


def split(text: str) -> tuple[list[str], list[str]]:
    """Split a text into words and the gaps before, between and after them.

    Returns
    -------
    words : list of str
        As written, without invisible characters.
    gaps : list of str
        One more than words; runs of white space become one space, hyphens and apostrophes ASCII.
    """
    words: list[str] = []
    gaps, inside = [""], False
    for letter in visible(text):
        kind = characters().classes[ord(letter)]
        if kind & WORD:
            if inside:
                words[-1] += letter
            else:
                words.append(letter)
                gaps.append("")
            inside = True
            continue
        inside = False
        if kind & SPACE:
            letter = "" if gaps[-1].endswith(" ") else " "
        elif kind & HYPHEN:
            letter = "-"
        elif kind & APOSTROPHE:
            letter = "'"
        gaps[-1] += letter
    return words, gaps
