"""The number of words, and of distinct words, split at white space as by Python's ``str.split()``.

Python splits at 29 code points, more than RE2's ``\\s``. Lowering text never changes the number of
words.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Column, is_cudf
from laion_dask.predicate.lower_case import ranges


@functools.cache
def _word() -> str:
    """A regular expression (RE2) for a word."""
    space = [c for c in range(0x110000) if chr(c).isspace()]
    return f"[^{ranges(space)}]+"


def words_sql(value: str) -> str:
    """SQL of the number of words; ``value`` is the SQL of the text.

    Printable ASCII with single spaces, as most captions are, takes half the time.
    """
    return (
        f"CASE WHEN regexp_matches({value}, '^[!-~]+( [!-~]+)*$') "
        f"THEN length({value}) - length(replace({value}, ' ', '')) + 1 "
        f"ELSE len(regexp_extract_all({value}, '{_word()}')) END"
    )


def distinct_words_sql(value: str) -> str:
    """SQL of the number of distinct words; ``value`` is the SQL of the text."""
    return f"len(list_distinct(regexp_extract_all({value}, '{_word()}')))"


def words(text: Column) -> Column:
    """The number of words of a series of text, null where the text is."""
    counts = pc.count_substring_regex(_array(text), _word()).cast(pa.int64())
    return _column(counts, text)


def distinct_words(text: Column) -> Column:
    """The number of distinct words of a series of text, null where the text is."""
    texts = _array(text).to_pylist()
    counts = [None if one is None else len(set(one.split())) for one in texts]
    return _column(pa.array(counts, pa.int64()), text)


def _array(text: Column) -> Any:
    array: Any = text.to_arrow() if is_cudf(text) else pa.array(text, from_pandas=True)
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _column(counts: Any, text: Column) -> Column:
    if is_cudf(text):
        made: Column = type(text)(counts, index=text.index)
        return made
    values = counts.fill_null(0).to_numpy()
    missing = np.asarray(counts.is_null())
    return pd.Series(pd.arrays.IntegerArray(values, missing.copy()), index=text.index)
