"""A filter as people write it elsewhere is refused with the way to write it here."""

from __future__ import annotations

import pytest

from laion_dask.errors import PredicateError
from laion_dask.predicate import parse

TYPES = {"text": "string", "language": "string", "width": "integer", "similarity": "float32"}


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("text.contains('a') == True", r"Write text.contains\('a'\), or not text.contains\('a'\)"),
        ("language == en", "If it is a text, write 'en', in quotes"),
        ("language == null", "For missing values, write language is None"),
        ("language != NaN", "For missing values, write language is None"),
        ("en == language", "If it is a text, write 'en', in quotes"),
        ("width > '256'", "Write 256, without quotes"),
        ("'256' < width", "Write 256, without quotes"),
        ("width in ('256', 3)", "Write 256, without quotes"),
        ("text == 3", "Write '3', in quotes"),
        ("similarity > 0,3", "A decimal number has a point: 0.3"),
        ("width % 2 == 0", r"Available: comparisons, and, or, not, in, \+ - \* /, min, max, abs"),
        ("similarity is not null", "Write 'is not None', or compare with !="),
        ("similarity is null", "Write 'is None', or compare with =="),
        ("text.contains('a') && width > 3", "&& is written and"),
        ("text.contains('a') || width > 3", r"\|\| is written or"),
        ("text.str.contains('a')", r"Write text.contains\('…'\)"),
    ],
)
def test_the_error_says_how_to_write_it(expression, hint):
    with pytest.raises((PredicateError, KeyError), match=hint):
        parse(expression, TYPES)


@pytest.mark.parametrize("expression", ["language == ﾃｷｽﾄ", "ﾃｷｽﾄ == language", "ﾃｷｽﾄ == text"])
def test_a_name_that_python_normalizes_is_a_column(expression):
    assert "ﾃｷｽﾄ" in parse(expression, {**TYPES, "ﾃｷｽﾄ": "string"}).columns


def test_a_column_of_dates_is_filtered_with_a_mask():
    with pytest.raises(PredicateError, match=r"Use a mask instead, as in frame\[frame\['date'\]"):
        parse("day > '2021-01-01'", {**TYPES, "day": "other"})
