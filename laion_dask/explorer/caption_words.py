"""The words of captions, for labels of a map. Captions are untrusted text: words only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

#: Maximum characters read of a caption, and of a word that becomes a label.
_CAPTION, _SHORTEST, _LONGEST = 400, 3, 20
#: Minimum captions with a word, and maximum number of words.
_FEWEST, _MOST_WORDS = 3, 20_000
#: Words that say nothing about a picture, in the languages that are most frequent in LAION-5B.
_STOP_WORDS = """
    the and for with from you your this that are was not all can our his her has have its but out
    one new more into over how what who when will they their there been were than then them each
    about after also any because before between both could down during few most other own same she
    some such too under until very while would off only now here where why which
    der die das und ein eine einen einem einer mit von für auf ist den dem des sie ich wir nicht im
    les des une est pour dans sur par avec vous nous que qui pas aux ses son ces cette plus
    los las una para por con del que como más sus este esta son
    gli della delle del dei con che per una nel alla
    dos das uma para com por que não mais seu sua
    het een van voor met aan dat niet zijn naar
"""


def words_of(caption: str) -> set[str]:
    """The words of a caption, in lower case, without stop words and numbers."""
    return {word for word in _found(caption) if _may_be_label(word)}


def incidence(captions: Sequence[str | None]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Which captions have which words.

    Parameters
    ----------
    captions : sequence of n str or None

    Returns
    -------
    words : list of str
        Those of at least 3 captions, sorted; the 20,000 most frequent.
    caption, word : (m,) int32 arrays
        Each pair of a caption and one of its words, once and in order.
    """
    found = [_found(one) if one else frozenset() for one in captions]
    number: dict[str, int] = {}
    numbers = [number.setdefault(word, len(number)) for words in found for word in words]
    known = np.array(numbers, np.int32)
    counts = np.bincount(known, minlength=len(number)).tolist()
    frequent = [
        (-n, word)
        for word, n in zip(number, counts, strict=True)
        if n >= _FEWEST and _may_be_label(word)
    ]
    words = sorted(word for _, word in sorted(frequent)[:_MOST_WORDS])
    rank = np.full(len(number), -1, np.int32)
    rank[[number[word] for word in words]] = np.arange(len(words))
    caption = np.repeat(np.arange(len(found), dtype=np.int32), [len(words) for words in found])
    word = rank[known]
    caption, word = caption[word >= 0], word[word >= 0]
    order = np.lexsort((word, caption))
    return words, caption[order], word[order]


def _found(caption: str) -> set[str]:
    """All words of a caption, in lower case."""
    return set(_pattern().findall(unicodedata.normalize("NFC", caption[:_CAPTION]).lower()))


def _may_be_label(word: str) -> bool:
    has_length = len(word) + 2 * (word[0] > "\u2e7f") >= _SHORTEST and len(word) <= _LONGEST
    return has_length and word not in _stop_words()


@cache
def _stop_words() -> frozenset[str]:
    return frozenset(_STOP_WORDS.split())


@cache
def _pattern() -> re.Pattern[str]:
    """A letter, then letters, digits and marks, such as the vowel signs of Hindi."""
    marks = [code for code in range(0x300, 0x10000) if unicodedata.category(chr(code))[0] == "M"]
    ranges = "".join(f"{chr(first)}-{chr(last)}" for first, last in _runs(marks))
    return re.compile(rf"[^\W\d_](?:[^\W_]|[{ranges}])*")


def _runs(numbers: Sequence[int]) -> Iterable[tuple[int, int]]:
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b > a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b > a + 1), numbers[-1]]
    return zip(starts, ends, strict=True)
