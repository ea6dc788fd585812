"""The ``where=`` language: a filter is data, parsed once and run by the engine that reads.

Grammar (a subset of Python's, parsed with `ast`; nothing is evaluated as code)::

    similarity > 0.28 and width >= 256        comparisons: == != < <= > >=, chained too
    language in ('en', 'de')                  in, not in
    url not in file('removed.txt')            one value a line; see `laion_dask.predicate.list_file`
    text.contains('bird')                     also startswith, endswith
    text.words() > 2                          words, as str.split() counts; text.lower(), text.len()
    text.distinct_words() > 2                 words, each counted once; case counts
    url.domain() == 'bbc.co.uk'               the registered domain of a URL's host; url.tld()
    text.matches(r'\\bbirds?\\b')             a regular expression (RE2), found anywhere
    width / height < 2                        + - * / on numbers (in float64; x / 0 is unknown)
    min(width, height) >= 200                 min and max of two or more numbers, abs of one
    similarity is None                        null or NaN; is not None
    col('image url') == '…'                   a column whose name is not an identifier
    not (punsafe > 0.5)                       and, or, not, parentheses

The logic is SQL's (three-valued). A comparison with a null or NaN operand is *unknown*, ``not`` of
unknown is unknown, and only rows for which the whole expression is true are kept. Integers are
compared exactly. A float32 column is compared with the constant rounded to float32; a column that a
file stores as float16, with the constant rounded to float16 as well; columns of different types, in
float64. ``min``, ``max`` and ``abs`` select a value. They are integers if all their parts are,
compare like a column of floats if all their parts are such columns, and are float64 otherwise. They
are unknown if any part is null or NaN. An expression has at most a thousand tests; an ``in`` list
counts as one test and may have a hundred thousand values. ``lower`` is Python's, with its version
of Unicode; ``len`` counts code points. ``domain`` and ``tld`` are the groups of
`laion_dask.domains` and `laion_dask.tlds`; they are null where the URL has no host.

To make all engines agree, an expression is never evaluated in three-valued logic. It is evaluated
twice in two-valued logic: where it is certainly true, and where it is possibly true (true or
unknown).
"""

from laion_dask.predicate.mask import certain_and_possible
from laion_dask.predicate.nodes import Predicate
from laion_dask.predicate.parser import parse
from laion_dask.predicate.sql import Sql, to_sql

__all__ = ["Predicate", "Sql", "certain_and_possible", "parse", "to_sql"]


def __dir__() -> list[str]:
    return sorted(__all__)
