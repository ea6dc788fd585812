"""A slow, obvious search for terms in captions."""

import unicodedata

import numpy as np
import regex

from laion_dask.text.word_boundaries import split

#: Unicode's Default_Ignorable_Code_Point, from an independent regular expression engine.
INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")


def same_word(one: str, other: str) -> bool:
    """A compatibility caseless match, exactly as in the Unicode Standard (3.13, D146)."""

    def form(x):
        x = unicodedata.normalize("NFD", INVISIBLE.sub("", x))
        for _ in range(2):
            x = unicodedata.normalize("NFKD", x.casefold())
        return x

    return form(one) == form(other)


def does_mention(caption: str | None, term: str) -> bool:
    """Compare word by word at every position."""
    if caption is None:
        return False
    (words, gaps), (wanted, between) = split(caption), split(term)
    for i in range(len(words) - len(wanted) + 1):
        alike = all(map(same_word, words[i : i + len(wanted)], wanted))
        if alike and gaps[i + 1 : i + len(wanted)] == between[1:-1]:
            return True
    return False


def expected(captions, groups) -> np.ndarray:
    return np.array(
        [[any(does_mention(c, t) for t in listed) for listed in groups.values()] for c in captions],
        bool,
    ).reshape(len(captions), len(groups))
