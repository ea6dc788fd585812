"""Entries in captions, against the published loop over substrings."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.property_tests import examples

from laion_dask.text.entries import _FREE, Entries

LETTERS = "ab c.,é漢字ก\t\n`か🙂   "
ENTRY = st.text(LETTERS, min_size=1, max_size=6)


def is_free(letter):
    pairs = zip(_FREE[::2], _FREE[1::2], strict=True)
    return any(low <= ord(letter) <= high for low, high in pairs)


def found(caption, entries, version):
    spaced = f" {caption} "
    for mark in ",.;:?!`":
        spaced = spaced.replace(mark, f" {mark} ")
    for blank in "\t\n\r":
        spaced = spaced.replace(blank, " ")
    numbers = []
    for number, entry in enumerate(entries):
        before = "" if version == 2 and is_free(entry[0]) else " "
        after = "" if version == 2 and is_free(entry[-1]) else " "
        if f"{before}{entry}{after}" in spaced:
            numbers.append(number)
    return numbers


@pytest.mark.parametrize("version", [1, 2])
@examples(150)
@given(
    entries=st.lists(ENTRY, min_size=1, max_size=20, unique=True),
    captions=st.lists(st.one_of(st.none(), st.text(LETTERS, max_size=25)), max_size=8),
)
def test_entries_are_found_where_the_published_code_finds_them(entries, captions, version):
    table = Entries(pa.array(entries, pa.large_string()), version)
    counts, factors = np.zeros(len(entries), np.int64), np.linspace(0.1, 0.9, len(entries))
    column = pa.array([*captions, "cut"], pa.string())[:-1]
    n_found, missed = table.find(column, counts, factors)
    right = [[] if caption is None else found(caption, entries, version) for caption in captions]
    assert n_found.tolist() == [len(numbers) for numbers in right]
    assert missed == pytest.approx([np.prod(factors[numbers]) for numbers in right])
    assert counts.tolist() == [sum(i in numbers for numbers in right) for i in range(len(entries))]


def test_blocks_of_captions_do_not_matter():
    table = Entries(pa.array(["a", "b c"], pa.large_string()), 1)
    counts = np.zeros(2, np.int64)
    captions = pa.array(["a b c", "c b a", None, ""] * 10_000)
    n_found, _ = table.find(captions, counts)
    assert counts.tolist() == [20_000, 10_000]
    assert n_found[-4:].tolist() == [2, 1, 0, 0] and n_found.sum() == 30_000


def test_entries_are_equal_by_their_texts_and_version():
    one, two = (Entries(pa.array(["x", "y"], pa.large_string()), v) for v in (1, 2))
    assert one == Entries(pa.array(["w", "x", "y"], pa.large_string())[1:], 1) != two
    assert len({one, two}) == 2 and len(one) == 2
