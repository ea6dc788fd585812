"""``text.lower()`` in each engine against Python's, for all of Unicode."""

# ruff: noqa: RUF001

from __future__ import annotations

import unicodedata

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import both
from support.property_tests import examples

from laion_dask.frame.where import where
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.predicate.lower_case import lower_case, lower_sql, lowered

EVERY = [chr(i) for i in range(1, 0x110000) if not 0xD800 <= i < 0xE000]
SIGMAS = [
    "ΑΣ",
    "ΟΔΟΣ ΟΔΟΣ",
    "ΣΣ",
    "ΑΣΣ.",
    "Σ",
    "ΑΣ'Α",
    "Α.Σ.",
    "Α'Σ' Α",
    "ΑΣ\u00ad\u0301",
    "ςΣ\0Σ",
    "İΣ",
    "ΑΣ\nΑΣ",
    "\u02b0Σ",
    "Α\u02b0Σ\u02b0",
    "ΑΣΑΣ",
    "ΑΣ ΣΑΣ,ΣΑΣ",
    "1Σ",
    "ΑΣ1",
    "\U0001d400Σ",
    "İI",
    None,
    "",
]


def lowered_by_the_mask(texts):
    return [None if pd.isna(t) else t for t in lowered(pd.Series(texts, dtype="str"))]


CONNECTION = duckdb.connect(config={"threads": 1})


def lowered_by_sql(texts):
    captions = pa.table({"t": pa.array(texts, pa.string())})
    CONNECTION.register("captions", captions)
    found = CONNECTION.sql(f"SELECT {lower_sql('t')} AS low FROM captions").to_arrow_table()
    return found["low"].to_pylist()


@pytest.mark.parametrize("lower", [lowered_by_the_mask, lowered_by_sql])
def test_lower_is_pythons(lower):
    characters = [c for c in EVERY if unicodedata.category(c)[0] in "MP" or c.upper() != c.lower()]
    around = [text for c in characters for text in (f"Α{c}Σ", f"ΑΣ{c}Α", f"{c}Σ")]
    for texts in (EVERY, around, SIGMAS, ["".join(EVERY)]):
        expected = [None if text is None else text.lower() for text in texts]
        found = lower(texts)
        unlike = [ascii(t) for t, a, b in zip(texts, found, expected, strict=True) if a != b]
        assert not unlike, unlike[:20]


@examples(50)
@given(st.lists(st.text("ΑΣςaI.'-\u0301\u00ad \n1İʰ\0", max_size=8), max_size=20))
def test_lower_is_pythons_of_any_text(texts):
    expected = [text.lower() for text in texts]
    assert lowered_by_the_mask(texts) == lowered_by_sql(texts) == expected


@both
def test_rows_by_lower_case(write):
    known = [c for c in SIGMAS if c is not None] + EVERY[:0x3000]
    path = write("a.parquet", {"text": known})
    for way in (read_shards(path), read_shards(path).assign(one=1)):
        for letter in ("a", "ß", "i", "\u03c2", "é", "i\u0307", "ας", "οδος οδος"):
            found = where(way, f"text.lower() == {letter!r}").compute(scheduler="sync")
            assert found["text"].tolist() == [c for c in known if c.lower() == letter]


def test_the_table_of_lower_case_is_pythons():
    """cuDF uses the table; Python lowers texts with a sigma, a dotted I or NUL."""
    known = "".join(c for c in EVERY if c not in "Σİ")
    assert known.translate(lower_case()) == known.lower()
