"""Terms in captions, against polars' regular expressions and a slow, obvious loop."""

import os
import pickle
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from support.paths import SHARED
from support.property_tests import examples
from support.shards import write_shard

from laion_dask.aggregations import Grouping, Partition, Statistic, members
from laion_dask.aggregations.engine.statistics import statistics
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.demo.planting import plan_rows, planted
from laion_dask.errors import ColumnError, OptionError
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.text import matcher_compiled, term_lists
from laion_dask.text.matcher import mentions
from laion_dask.text.matcher_tables import _tables as tables
from laion_dask.text.word_boundaries import characters, folded, split

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


def test_long_captions_however_their_words_lie_in_blocks():
    draw = np.random.default_rng(3)
    listed = ["she", "trans man", "man", "a-b", "\u00e9 e", "x" * 40, "man she man", "old"]
    groups = {term: [term] for term in listed}
    pieces = np.array([*listed, "y" * 61, "\u00e9" * 33, "trans", "b", "-", "\u4e2d", "e", "x", ""])
    joins = np.array([" ", " ", " ", "  ", "-", ", ", "\u00a0"])
    captions = [
        "".join(np.ravel(list(zip(draw.choice(pieces, n), draw.choice(joins, n), strict=True))))
        for n in draw.integers(0, 40, 300)
    ]
    masks = terms(groups).masks(captions)
    np.testing.assert_array_equal(masks, expected(captions, groups))
    assert (masks.mean(axis=0) > 0.02).all()


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


REFERENCES = {
    "she": (
        "she&nbsp;left",
        "s&zwj;he",
        "&bogus; she",
        "&#1234567890123456789012345678901; she",
        "&#xD800; she",
        "&; &#; &#x; she",
        "&" * 50 + "she&",
        "&notit; she",
        "&copyshe",
        "&#115;he",
    ),
    "caf\u00e9": (
        "caf&eacute;",
        "caf&#233;",
        "CAF&Eacute;",
        "caf&#xE9;",
        "caf&#XE9;",
        "cafe&#x301;",
    ),
    "man's": ("a man&rsquo;s hat", "man&#39;s", "man&apos;s", "man&amp;#39;s", "man&amp;rsquo;s"),
    "r&d": ("R&amp;D", "R&amp;amp;D", "R&D", "r&#38;D"),
    "x < y": ("x &lt; y", "x&nbsp;&lt;&#32;y"),
    "amp": ("R&amp;amp;amp;D",),  # encoded three times
    "woman": ("wo&shyman", "wo&shy;man", "wo&#173man", "wo&#xADman"),
}


def test_character_references_are_decoded_before_words_are_sought():
    which = terms(list(REFERENCES))
    pairs = [(term, caption) for term, captions in REFERENCES.items() for caption in captions]
    masks = which.masks([caption for _, caption in pairs])
    for (term, caption), row in zip(pairs, masks, strict=True):
        assert np.flatnonzero(row).tolist() == [which.labels.index(term)], caption
    assert not which.masks(
        [None, "&shy;", "&", "&;", "sh&copy;e", "sh&copye", "wo&SHY;men", "\u00ad"]
    ).any()


def test_captions_with_and_without_references_side_by_side():
    listed = {"woman": ["she", "woman"], "man": ["he", "man"]}
    plain = ["she", None, "a man", "", "he, a woman", "nobody", None, "man and woman"] * 40
    encoded = [c and c.replace("a", "&#97;") if k % 3 else c for k, c in enumerate(plain)]
    for layout, column in layouts(encoded).items():
        np.testing.assert_array_equal(terms(listed).masks(column), expected(plain, listed), layout)
    hidden = pa.array(["wo&shy;man"] * 3, pa.string())
    hidden = pa.Array.from_buffers(hidden.type, 3, [pa.py_buffer(b"\x05"), *hidden.buffers()[1:]])
    assert terms(["woman"]).masks(hidden)[:, 0].tolist() == [
        True,
        False,
        True,
    ]  # bytes under a null
    broken = pa.array([b"\xff&shy;she", b"s&shy;he\xff", b"\xffs&shy;he \xe9"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, broken.buffers())
    assert terms(["she"]).masks(broken).all()


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


def layouts(captions: list) -> dict[str, pa.ChunkedArray]:
    plain = pa.array(captions, pa.string())
    return {
        "string": pa.chunked_array([plain]),
        "large_string": pa.chunked_array([plain.cast(pa.large_string())]),
        "string_view": pa.chunked_array([plain.cast(pa.string_view())]),
        "dictionary": pa.chunked_array([plain.dictionary_encode()]),
        "sliced": pa.chunked_array([pa.array(["she", None, *captions, "he"])[2:-1]]),
        "chunked": pa.chunked_array(
            [plain[:3], plain[3:3], plain[3:4], plain[4:].cast(pa.string())], pa.string()
        ),
        "sliced chunks": pa.chunked_array([plain[i : i + 1] for i in range(len(plain))]),
    }


CAPTIONS = ["she", None, "he and her", "", "x", "É she", "long " * 30_000 + "he", None, "her"]


@pytest.mark.parametrize("layout", layouts(CAPTIONS))
def test_any_layout_of_text(layout):
    which = terms({"woman": ["she", "her"], "man": ["he"]})
    rows, groups = mentions(layouts(CAPTIONS)[layout], (which.terms,))
    pairs = [(0, 0), (2, 1), (2, 0), (5, 0), (6, 1), (8, 0)]
    assert list(zip(rows.tolist(), groups.tolist(), strict=True)) == pairs
    assert rows.dtype == np.int64 and groups.dtype == np.int32


def test_nothing_to_look_through():
    which = terms(["she"])
    for empty in (
        pa.chunked_array([], pa.string()),
        pa.chunked_array([pa.array([], pa.large_string())]),
        pa.chunked_array([pa.nulls(5, pa.string())]),
        pa.chunked_array([pa.nulls(5)]),
        pa.chunked_array([pa.array(["", ""])]),
    ):
        rows, groups = mentions(empty, (which.terms,))
        assert len(rows) == len(groups) == 0
    assert which.masks([]).shape == (0, 1)
    with pytest.raises(OptionError, match="int64"):
        mentions(pa.chunked_array([[1, 2]]), (which.terms,))


def test_more_mentions_than_there_was_room_for():
    words = [f"w{i}" for i in range(30)]
    captions = [" ".join(words[: i % 31]) for i in range(5000)]
    masks = terms(words).masks(captions)
    assert masks.sum(axis=1).tolist() == [i % 31 for i in range(5000)]


def test_bytes_that_are_no_text_break_nothing():
    raw = [
        b"she \xff he",
        b"\xc3",
        b"\xe4\xb8 she",
        b"\xf4\x90\x80\x80she",
        b"\xed\xa0\x80 he",
        b"\xc0\xaf",
    ]
    offsets = np.cumsum([0, *map(len, raw)]).astype(np.int32)
    broken = pa.Array.from_buffers(
        pa.string(), len(raw), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(raw))]
    )
    rows, groups = mentions(pa.chunked_array([broken]), (terms({"w": ["she"], "m": ["he"]}).terms,))
    pairs = list(zip(rows.tolist(), groups.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (2, 0), (3, 0), (4, 1)]


def test_words_that_hash_alike_are_told_apart():
    # The hash covers the first and last eight bytes and the length.
    words = [f"abcdefgh{i:04d}stuvwxyz" for i in range(200)]
    which = terms(words[:100])
    masks = which.masks(words)
    assert masks[:100].tolist() == np.eye(100, dtype=bool).tolist()
    assert not masks[100:].any()


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


def test_the_demo_corpus_is_recovered():
    rows = plan_rows(3000, seed=5)
    captions = [row.text for row in rows]
    truth = planted(rows)["gender_words"]["by_occupation"]
    by_gender, by_job = terms("gender"), terms("occupations")
    gender, job = by_gender.masks(captions), by_job.masks(captions)
    she, he = (gender[:, by_gender.labels.index(label)] for label in ("woman", "man"))
    for occupation, counts in truth.items():
        there = job[:, by_job.labels.index(occupation)]
        assert int((there & she).sum()) == counts["she"], occupation
        assert int((there & he).sum()) == counts["he"], occupation
        assert int((there & ~she & ~he).sum()) == counts["neither"], occupation
        others = Counter(by_job.labels[j] for j in np.argwhere(job[there])[:, 1])
        assert set(others) == {occupation}


def part_of(captions, *asked) -> Partition:
    return Partition(pa.table({"text": pa.array(captions, pa.string())}), asked)


def test_members_of_a_part():
    captions = ["she and he", None, "her", "the old woman", "muslim"]
    got = members(part_of(captions), terms("gender"))
    assert got.labels == ("woman", "man", "non-binary") and got.n_rows == 5
    assert got.counts().tolist() == [3, 1, 0]
    assert sorted(zip(got.rows.tolist(), got.codes.tolist(), strict=True)) == [
        (0, 0), (0, 1), (2, 0), (3, 0)
    ]  # fmt: skip
    assert (np.diff(got.rows) >= 0).all()
    assert members(part_of([]), terms("gender")).counts().tolist() == [0, 0, 0]


def test_all_lists_of_a_pass_are_found_in_one_scan(monkeypatch):
    from laion_dask.aggregations.grouping import terms as grouping

    calls = []

    def spied(captions, lists):
        calls.append(lists)
        return mentions(captions, lists)

    monkeypatch.setattr(grouping, "mentions", spied)
    every = [terms(name) for name in term_lists().name]
    captions = ["a young black woman", "the deaf nurse", None, "Muslim men"] * 3
    part = part_of(captions, *every[1:], (every[0],))
    for which in every:
        got = members(part, which).matrix().toarray().astype(bool)
        np.testing.assert_array_equal(got, expected_alone(which, captions))
    assert len(calls) == 1 + len(every)  # one for the pass, one for each call of `expected_alone`
    assert len(calls[0]) == len(every)


def expected_alone(which, captions) -> np.ndarray:
    return which.masks(captions)


def test_terms_are_values():
    one, other = terms("gender"), terms("gender")
    assert one == other and hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != terms("gender", column="caption") and one != terms("age")
    assert terms("gender", column="caption").reads == ("caption",)
    assert one.version and "Zhao" in one.source and "version 2" in repr(one)
    assert one.axis == "gender" and one.words().axis == "gender words"
    assert {"she", "him", "enby"} <= set(one.words().labels)
    assert terms(["b", "a", "B"]).labels == ("b", "a")
    assert terms({"b", "a"}).labels == ("a", "b")
    assert terms(["a"], axis="letters").axis == "letters"
    assert repr(terms({"a": ["b"]})) != repr(terms({"a": ["c"]}))  # Dask names tasks by their repr
    assert one.digest == other.digest != one.words().digest
    table = terms("ethnicity").table()
    assert table.columns.tolist() == ["group", "term", "only_before_person_noun"]
    assert table.query("term == 'white'").only_before_person_noun.tolist() == [True]


def test_the_frame_must_have_captions():
    which = terms("gender")
    assert which.bind({"text": "string"}) == which
    with pytest.raises(ColumnError, match="text"):
        which.bind({"TXT": "string"})
    with pytest.raises(OptionError, match="holds integer"):
        which.bind({"text": "integer"})


def test_captions_of_any_kind():
    which = terms({"w": ["she"], "m": ["he"]})
    answer = [[True, False], [False, False], [False, True]]
    captions = ["She", None, "HE"]
    for given_as in (
        captions,
        tuple(captions),
        pd.Series(captions),
        pd.Series(captions, dtype=object),
        np.array(captions, object),
        pa.array(captions),
        pa.chunked_array([captions]),
    ):
        assert which.masks(given_as).tolist() == answer
    for wrong in ("she", [1, 2], [b"\xff"]):
        with pytest.raises(OptionError):
            which.masks(wrong)


@dataclass(frozen=True)
class Mentions(Statistic):
    """The number of captions that mention each group: a minimal statistic."""

    by: Grouping
    name = "mentions"

    def bind(self, kinds):
        return Mentions(self.by.bind(kinds))

    @property
    def reads(self):
        return self.by.reads

    def chunk(self, part):
        found = members(part, self.by)
        return dict(zip(found.labels, found.counts().tolist(), strict=True)), len(part)

    def combine(self, states):
        counts = sum((Counter(one) for one, _ in states), Counter())
        return dict(counts), sum(n for _, n in states)

    def finalize(self, state, how):
        counts, n = state
        rows = [
            {"axis": self.by.axis, "group": label, "n": n, "k": counts.get(label, 0)}
            for label in self.by.labels
        ]
        return pd.DataFrame(rows)


def test_a_statistic_by_terms_of_a_frame(tmp_path):
    captions = ["A woman", "Her dog", None, "two men", "", "the old man", "x\x00he"] * 20
    table = pa.table({"TEXT": captions, "URL": [f"http://a/{i}" for i in range(len(captions))]})
    asked = [Mentions(terms(name)) for name in ("gender", "age", "ethnicity")]
    results = []
    for cuts in ([0, 140], [0, 3, 3, 90, 140], [0, 70, 71, 72, 140]):
        folder = tmp_path / str(len(results))
        for i, (start, stop) in enumerate(pairwise(cuts)):
            write_shard(folder / f"{i}.parquet", table[start:stop])
        results.append(statistics(read_shards(str(folder)), *asked, min_n=0))
    assert results[0].equals(results[1]) and results[0].equals(results[2])
    counts = results[0].set_index(["axis", "group"]).k
    assert counts["gender", "woman"] == 40 and counts["gender", "man"] == 60
    assert counts["age", "older adult"] == 20 and counts["ethnicity", "Black"] == 0


def test_many_threads_find_the_same():
    captions = [f"{word} and {other}" for word in ("she", "he", "x") for other in ("men", "y")] * 99
    every = [terms(name) for name in term_lists().name] + [
        terms([f"t{i}", "she"]) for i in range(8)
    ]
    alone = [which.masks(captions) for which in every]
    tables.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(
            alone, pool.map(lambda which: which.masks(captions), every), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_without_a_folder_for_what_was_compiled(monkeypatch):
    import numba

    real, kept = numba.njit, dict(matcher_compiled._ready)

    def njit(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(matcher_compiled, "_ready", {"scan": kept.get("scan")} if kept else {})
    which = terms(["nowhere else in these tests"])
    with pytest.warns(RuntimeWarning, match=r"NUMBA_CACHE_DIR"):
        assert which.masks(["Nowhere else in these tests!"]).all()
    assert "fill" in matcher_compiled._ready


def test_importing_the_package_does_not_import_numba():
    code = "import sys, laion_dask, laion_dask.text; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


RUNS = """
from laion_dask.aggregations.grouping.terms import terms
which = terms(["woman"])
for size in range(60, 70):
    run = "woman\N{EM DASH}".encode() + b"y" * (size - 8)
    captions = [before + run.decode() for before in ("", "x ", "hello there, ", "y" * 63 + " ")]
    assert which.masks(captions).all(), size
"""


@pytest.mark.slow
def test_a_run_of_64_bytes_at_the_end_on_any_processor():
    """A shift by 64 bits is undefined: processors with and without BMI2 give different results."""
    exec(RUNS, {})
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    subprocess.run([sys.executable, "-c", RUNS], env={**os.environ, **generic}, check=True)
