"""Which words are terms: boundaries, case, invisible characters and homographs."""

import re
import unicodedata

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import SHARED
from support.property_tests import examples
from support.term_reference import INVISIBLE, does_mention, expected

from laion_dask.aggregations.grouping.terms import terms
from laion_dask.text import term_lists
from laion_dask.text.word_boundaries import characters, folded, split


def pattern(term: str) -> str:
    """A term as a Unicode regular expression: NFC or NFD; any white space, hyphen or quote."""
    forms = dict.fromkeys(unicodedata.normalize(form, term) for form in ("NFC", "NFD"))
    either = "|".join(re.escape(one) for one in forms)
    either = either.replace(r"\ ", r"\s+").replace(r"\-", "[-\u2010\u2011]")
    return f"(?:{either.replace(chr(39), '[' + chr(39) + chr(0x2019) + ']')})"


def by_another_engine(which, label: str, captions: pl.Series) -> np.ndarray:
    """The captions that a list assigns to a group, from polars' regular expressions."""
    one = which.terms
    words = "|".join(map(pattern, dict(one.homographs).get(label, ())))
    guards = "|".join(map(pattern, dict(one.not_after).get(label, ())))
    plain = "|".join(map(pattern, dict(one.groups).get(label, ())))
    before, between = ("|".join(map(pattern, phrases)) for phrases in (one.before, one.between))
    found = np.zeros(len(captions), bool)
    if plain and guards and not words:  # the group's single words are guarded
        alone = "|".join(pattern(t) for t in dict(one.groups)[label] if len(split(t)[0]) == 1)
        taken = rf"(?i)\b(?:{guards})(?:\s+|[-\u2010\u2011])(?:{alone})\b"
        phrases = [pattern(t) for t in dict(one.groups)[label] if len(split(t)[0]) > 1]
        if phrases:
            found |= captions.str.contains(rf"(?i)\b(?:{'|'.join(phrases)})\b").to_numpy()
        found |= captions.str.replace_all(taken, "(taken out)").str.contains(
            rf"(?i)\b(?:{alone})\b"
        ).to_numpy()  # fmt: skip
    elif plain:
        found |= captions.str.contains(rf"(?i)\b(?:{plain})\b").to_numpy()
    if words:
        if guards:  # remove such homographs first: polars has no look-behind
            taken = rf"(?i)\b(?:{guards})(?:\s+|[-\u2010\u2011])(?:{words})\b"
            captions = captions.str.replace_all(taken, "(taken out)")
        asked = rf"(?i)\b(?:{words})\s+(?:(?:{between})\s+)?(?:{before})\b"
        found |= captions.str.contains(asked).to_numpy()
    return found


EXAMPLES = [
    ("She left.", [True, False]),
    ("THE WOMAN's hat", [True, False]),
    ("a human manual, a womanly mane", [False, False]),
    ("man_made", [False, False]),
    ("man2 2man", [False, False]),
    ("man-made", [False, True]),
    ("#man@woman", [True, True]),
    ("(he)", [False, True]),
    ("trans \n\u00a0man", [False, True]),
    ("transman", [False, False]),
    ("trans-man", [False, True]),  # because of "man" alone
    ("", [False, False]),
    (None, [False, False]),
    ("she\x00he", [True, True]),
    ("\u202eshe\u202c", [True, False]),
    ("sh\u00ade", [True, False]),
    ("she\u200d", [True, False]),
    ("he\u00ad", [False, True]),
    ("trans\u200b man, trans \ufeffman", [False, True]),
    ("she\u0301", [False, False]),
    ("\u5979she", [False, False]),
    ("\u5979 she", [True, False]),
    ("\U0001f469she", [True, False]),
]


def test_words_are_found_at_their_boundaries_whatever_their_case():
    which = terms({"woman": ["she", "woman"], "man": ["he", "man", "trans man"]})
    masks = which.masks([caption for caption, _ in EXAMPLES])
    assert masks.tolist() == [expected_row for _, expected_row in EXAMPLES]


@pytest.mark.parametrize(
    ("term", "caption"),
    [
        ("métis", "Me\u0301tis"),
        ("me\u0301tis", "MÉTIS"),
        ("straße", "STRASSE"),
        ("\u212bngstrom", "ångstrom"),
        ("kelvin", "\u212aELVIN"),
        ("ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"),
        ("\u1fb3\u0323", "\u03b1\u0323\u0399"),
        ("a\u0323\u0301", "Á\u0323"),
        ("각", "\u1100\u1161\u11a8"),
        ("hawai'i", "Hawai\u2019i"),
        ("non-binary", "NON\u2011BINARY"),
        ("\U00010428", "\U00010400"),
        ("c3po", "C3PO"),
        ("trans man", "TRANS \n man"),
        ("sign-language interpreter", "Sign\u2010LANGUAGE\u2003Interpreter"),
        ("supercalifragilistic", "SuperCaliFragilistic"),
        ("x" * 63, "X" * 63),
        ("x" * 64, "X" * 64),
        ("x" * 200, "X" * 200),
        ("é" * 100, "É" * 100),
    ],
)
def test_equal_words_in_other_clothes(term, caption):
    assert does_mention(caption, term)
    for before in range(70):  # at every position of a word in a block of 64 bytes
        padded = ["-" * before + caption, "é" * before + " " + caption + " ", caption]
        assert terms([term]).masks(padded).all()
    assert not terms([term]).masks([caption + "x", "x" + caption, caption[:-1]]).any()


letters = st.sampled_from(
    [
        *"abAB_1 -.,'\n\x00",
        *("x" * 31, "e\u0301", "\u00e9", "\u00c9", "\u0301", "\u0323", "\u0345", "\u1fb3"),
        *("\u00df", "\u1e9e", "\u017f", "\u212a", "\u2126", "\u03a9", "\u0130", "\u0131"),
        *("\ufb01", "\ufb00", "\u01f0", "\u0390", "\U0001d400", "\U00010400", "\uac01"),
        *("\u4e2d", "\u05d0", "\u24b6", "\u0663", "\u200d", "\u2011", "\u2019", "\u00a0"),
        *("\u202e", "\U0001f600", "\u00ad", "\ufe0f", "\uff41", "\u3164", "\u037a", "\ufdfa"),
    ]
)
odd_text = st.lists(letters, max_size=20).map("".join)
some_text = st.one_of(odd_text, st.text(max_size=20))
some_term = st.lists(letters, min_size=1, max_size=6).map("".join).map(str.strip)


def is_term(text: str) -> bool:
    words, gaps = split(text)
    return bool(words) and not gaps[0] and not gaps[-1] and all(len(g) < 4 for g in gaps)


@examples(80)
@given(st.data())
def test_any_terms_in_any_text(data):
    listed = data.draw(st.lists(some_term.filter(is_term), min_size=1, max_size=6))
    groups = {f"g{i}": [term] for i, term in enumerate(listed)}
    pieces = st.one_of(some_text, st.sampled_from([*listed, *(t.upper() for t in listed)]))
    captions = data.draw(
        st.lists(st.none() | st.lists(pieces, max_size=6).map(" ".join), max_size=8)
    )
    np.testing.assert_array_equal(terms(groups).masks(captions), expected(captions, groups))


def test_word_characters_are_those_of_another_engine():
    points = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    every = pl.Series([chr(c) for c in points])
    unseen = np.array([bool(INVISIBLE.match(chr(c))) for c in points])
    np.testing.assert_array_equal(characters().classes[points] & 16 != 0, unseen)
    for bit, theirs in ((1, r"^\w$"), (2, r"^\s$")):
        ours = characters().classes[points] & bit != 0
        theirs = every.str.contains(theirs).to_numpy() & ~unseen
        np.testing.assert_array_equal(ours, theirs)


INVISIBLE_WORDS = [
    (unseen, word)
    for unseen in (
        "\u00ad",
        "\u034f",
        "\u061c",
        "\u200b",
        "\u200c",
        "\u200d",
        "\u200e",
        "\u2060",
        "\u2066",
        "\u202e",
        "\ufe0f",
        "\ufeff",
        "\U000e0001",
        "\U000e01ef",
        "\u180b",
        "&shy;",
        "&#173;",
        "&#xAD;",
        "&zwnj;",
        "&ZeroWidthSpace;",
        "&#x200B;",
        "&amp;shy;",
    )
    for word in ("wo{}men", "fe{}male", "wo{}{}man", "{}w{}oman{}", "the trans{}woman", "WO{}MAN's")
]


def test_what_is_not_seen_is_no_word_boundary():
    captions = [word.replace("{}", unseen) for unseen, word in INVISIBLE_WORDS]
    which = terms(
        {"woman": ["woman", "women", "female", "transwoman"], "man": ["man", "men", "male"]}
    )
    assert which.masks(captions).tolist() == [[True, False]] * len(captions)
    padded = [
        " x" * k + f" she{caption}" for k in range(40) for caption in ("", "\u00ad.", "&shy;")
    ]
    assert terms(["she"]).masks(padded).all()
    for spelled in (
        "trans\u00ad woman",
        "trans &shy; woman",
        "trans\u200b\u00a0woman",
        "trans&nbsp;woman",
    ):
        assert terms(["trans woman"]).masks([spelled]).all(), spelled
    assert terms(["wo\u00adman"]).masks(["woman", "a WO\u200bMAN"]).all()


def test_every_letter_folds_by_the_standard():
    points = [c for c in range(0x110000) if characters().classes[c] & 1]
    changed = [chr(c) for c in points if characters().fold_index[c] or folded(chr(c)) != chr(c)]
    assert len(changed) > 10_000
    captions = [f"{letter}x" for letter in changed]
    for k in range(0, len(changed), 400):
        batch = captions[k : k + 400]
        which = terms(["\u0251" + x for x in batch])  # none combines with the letter before
        forms = [folded("\u0251" + x) for x in batch]
        masks = which.masks(["\u0251" + x for x in batch])
        assert masks.any(axis=1).all()
        labels = {folded(label): j for j, label in enumerate(which.labels)}
        assert masks[np.arange(len(batch)), [labels[f] for f in forms]].all()


def test_a_homograph_counts_before_a_person_noun():
    which = terms("ethnicity")
    white, black = which.labels.index("White"), which.labels.index("Black")
    examples = {
        "a white woman": (True, False),
        "White  Women": (True, False),
        "a black young man": (False, True),
        "black and white photo": (False, False),
        "black and white people": (False, False),
        "white people, a black person": (True, True),
        "and white, white people": (True, False),
        "a black dress, a woman": (False, False),
        "white, woman": (False, False),
        "white-woman": (False, False),
        "white very young woman": (False, False),
        "black": (False, False),
        "African-American": (False, True),
        "blackwoman": (False, False),
    }
    masks = which.masks(list(examples))
    assert [tuple(row) for row in masks[:, [white, black]].tolist()] == list(examples.values())
    words = which.words()
    at = words.labels.index("white")
    assert words.masks(["white", "a white man"])[:, at].tolist() == [False, True]


def test_a_homograph_does_not_count_after_certain_words():
    which = terms("age")
    older = which.labels.index("older adult")
    examples = {
        "an old man": True,
        "a 30 year old man": False,
        "a 30-YEAR-OLD man": False,
        "30 years  old young woman": False,
        "a year, old men": True,
        "a year old boy and an old man": True,
        "year old": False,
        "last year a man was old": False,
    }
    assert which.masks(list(examples))[:, older].tolist() == list(examples.values())
    every = which.words()
    assert not every.masks(["a year old man"])[:, every.labels.index("old")].any()
    assert terms(["old"]).masks(["a year old man"]).all()


def real_captions() -> pa.ChunkedArray:
    path = SHARED / "data" / "web_captions_10000.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return pq.read_table(path, columns=["TEXT"])["TEXT"]


@pytest.mark.parametrize("name", term_lists().name)
def test_packaged_lists_on_real_captions_against_another_engine(name):
    captions = real_captions()
    which = terms(name)
    theirs = pl.from_arrow(captions).fill_null("")
    masks = which.masks(captions)
    for j, label in enumerate(which.labels):
        other = by_another_engine(which, label, theirs)
        np.testing.assert_array_equal(masks[:, j], other, err_msg=label)
