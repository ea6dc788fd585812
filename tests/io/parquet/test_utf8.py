"""Tensor-based UTF-8 validation against Python's decoder."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.property_tests import examples

from laion_dask.io.parquet import utf8

EDGES = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1]
EDGES += [0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFF]


def decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def valid(texts) -> bool:
    chars = torch.from_numpy(np.frombuffer(b"".join(texts) or b"", np.uint8).copy())
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    return utf8.is_valid(chars, torch.from_numpy(starts))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_short_text_of_bytes_at_the_edges(n):
    for text in map(bytes, itertools.product(EDGES, repeat=n)):
        assert valid([text]) == decodes(text), text


def test_four_bytes_at_the_edges():
    for text in map(bytes, itertools.product(EDGES[14:], EDGES[3:11], EDGES[3:10], EDGES[3:10])):
        assert valid([text]) == decodes(text), text


words = st.one_of(st.text().map(str.encode), st.binary(max_size=6))


@examples(300)
@given(st.lists(words, max_size=8))
def test_every_text_for_itself(texts):
    assert valid(texts) == all(map(decodes, texts))


def test_a_character_across_two_texts():
    whole = "\u00e9".encode()
    assert valid([whole]) and not valid([whole[:1], whole[1:]]) and not valid([b"a", whole[:1]])


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5, 7])
def test_the_answer_does_not_depend_on_blocks(monkeypatch, block):
    monkeypatch.setattr(utf8, "_BLOCK", block)
    text = "a\u00e9\u20ac\U0001f600b".encode()
    for at in range(len(text)):
        for byte in EDGES:
            changed = text[:at] + bytes([byte]) + text[at + 1 :]
            assert valid([changed]) == decodes(changed), (at, byte)
    assert valid([text, b"", text]) and not valid([text[:-2], text])


def test_no_text():
    assert valid([]) and valid([b"", b""])
