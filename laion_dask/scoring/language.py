"""The language of each caption."""

from __future__ import annotations

from dataclasses import replace

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from laion_dask.backend import frame_from_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import kind_of
from laion_dask.errors import ColumnError, OptionError, did_you_mean, must_be
from laion_dask.runtime import graph
from laion_dask.scoring.score import check_free
from laion_dask.text.language_detection import MIN_CONFIDENCE, MIN_LETTERS, Detector, languages


def language(
    frame: dd.DataFrame,
    *,
    to: str | None = None,
    column: str = "text",
    min_letters: int = MIN_LETTERS,
    min_confidence: float = MIN_CONFIDENCE,
) -> dd.DataFrame:
    """The frame with a column of the language of each caption. Lazy.

    By py3langid, whose model is in the package: nothing is fetched. It chooses among the languages
    that LAION's own detector told apart and that are written in the caption's script, and weighs
    them by the shares that LAION published, smoothed. Short captions are hard: of the demo's three
    words in German a fifth stays unknown and a tenth is taken for another language. A caption in a
    language that is not among them is ``"und"`` where no language is known in its script, and else
    is taken for one that is: look at the captions of a rare language before you believe its share.
    Captions are read as they stand, HTML character references undecoded.

    Parameters
    ----------
    frame : dask DataFrame
    to : str, optional
        The new column. By default ``"language"``; ``"detected_language"`` where the frame has a
        published ``language``, which stays as it is.
    column : str
        The captions. Of one beyond 2,000 characters the first 2,000 are read.
    min_letters : int
        A caption with fewer letters, of whatever script, is ``"und"``; an ideograph, kana or
        syllable of Hangul counts as two, a spacing vowel sign as one.
    min_confidence : float
        So is one whose language has a lower probability, in [0, 1]. 0.4 leaves an eighth of web
        captions ``"und"``, names of people and products for the most part; 0 leaves those alone
        in which the model finds nothing.

    Returns
    -------
    dask DataFrame
        With a column of text: ISO 639-1 codes in lower case, ``"und"`` where the language is not
        known, null where the caption is null.

    Raises
    ------
    ColumnError
        When the frame has no such column.
    OptionError
        When the column does not hold text, ``to`` is there already, or a floor is out of its range.
        All are raised at once.

    References
    ----------
    Lui, M., Baldwin, T. (2012). langid.py: an off-the-shelf language identification tool. ACL
    demonstrations. Retrained and kept by A. Barbaresi as py3langid.
    Schuhmann, C. et al. (2022). LAION-5B. NeurIPS Datasets and Benchmarks.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> named = frame.laion.language(to="found")
    >>> "found" in named.columns
    True
    """
    must_be("The frame", frame, dd.DataFrame, "a Dask DataFrame, as read_shards returns")
    if column not in frame.columns:
        raise ColumnError(f"column is {column!r}.{did_you_mean(str(column), frame.columns)}")
    if kind_of(frame.dtypes[column]) != "string":
        raise OptionError(
            f"The column {column!r} holds {frame.dtypes[column]}. Name one of texts with column=."
        )
    if to is None:
        to = "detected_language" if "language" in frame.columns else "language"
    must_be("to", to, str, "the new column's name")
    check_free(frame, [to])
    detector = Detector(column, to, *_floors(min_letters, min_confidence))
    meta = _meta(frame, to)
    made = graph.map_columns(frame, languages, detector, reads=[column], meta=meta)
    return frame.assign(**{to: made[to]})


def language_cost(frame: PlannedFrame, column: str = "text") -> Cost:
    """The cost of `language`."""
    if column not in frame.columns:
        raise ColumnError(f"column is {column!r}.{did_you_mean(str(column), frame.columns)}")
    return replace(Detector(column).cost, label="language")


def _floors(min_letters: int, min_confidence: float) -> tuple[int, float]:
    if isinstance(min_letters, bool) or not isinstance(min_letters, int) or min_letters < 0:
        raise OptionError(f"min_letters is {min_letters!r}. Expected a whole number, such as 4.")
    number = isinstance(min_confidence, (int, float)) and not isinstance(min_confidence, bool)
    if not number or not 0 <= min_confidence <= 1:
        raise OptionError(
            f"min_confidence is {min_confidence!r}. Expected a probability in [0, 1], such as 0.4."
        )
    return min_letters, float(min_confidence)


def _meta(frame: dd.DataFrame, to: str) -> pd.DataFrame:
    """Zero rows of the new column, of the frame's kind."""
    backend = "cudf" if is_cudf(frame._meta) else "pandas"
    empty = frame_from_arrow(pa.table({to: pa.array([], pa.large_string())}), backend)
    empty.index = frame._meta.index
    return empty
