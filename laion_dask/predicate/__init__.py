"""The ``where=`` language: a filter is data, parsed once, and run by whichever engine reads.

Grammar (a subset of Python's, parsed with `ast`; nothing is ever evaluated as code)::

    similarity > 0.28 and width >= 256        comparisons: == != < <= > >=, chained too
    language in ('en', 'de')                  in, not in
    text.contains('bird')                     also startswith, endswith; text.lower(), text.len()
    width / height < 2                        + - * / on numbers (in float64; x / 0 is unknown)
    similarity is None                        null or NaN; is not None
    col('image url') == '…'                   a column whose name is no plain word
    not (punsafe > 0.5)                       and, or, not, parentheses

The logic is SQL's (three-valued). A comparison that meets a null or a NaN is *unknown*, ``not`` of
unknown is unknown, and only rows for which the whole expression is true are kept. Integers are
compared exactly, a float32 column with the constant rounded to float32, one that a file stores as
float16 with the constant rounded to that as well, and columns of different kinds in float64. At
most a thousand tests make one expression; an ``in`` list, which may have a hundred thousand values,
is one of them. ``lower`` is Python's, by its version of Unicode; ``len`` counts code points.

To have every engine agree, an expression is never evaluated to three values but twice to two: where
it is certainly true, and where it is possibly true (true or unknown).
"""

from laion_dask.predicate.mask import certain_and_possible
from laion_dask.predicate.nodes import Predicate
from laion_dask.predicate.parser import parse
from laion_dask.predicate.sql import Sql, to_sql

__all__ = ["Predicate", "Sql", "certain_and_possible", "parse", "to_sql"]
