"""The language of each caption."""

from __future__ import annotations

from dataclasses import replace

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from laion_dask.backend import frame_from_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import column_type
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

    Uses py3langid, whose model is part of its package: nothing is downloaded. It chooses among the
    languages that LAION's own detector distinguished and that are written in the caption's script,
    weighted by LAION's published shares, smoothed. Short captions are hard: of the demo's German
    captions of three words, a fifth are unknown and a tenth are assigned another language. A
    caption in an unsupported language is ``"und"`` if no supported language uses its script, and
    otherwise is assigned one that does: inspect the captions of a rare language before you trust
    its share. Captions are read as they are; HTML character references are not decoded.

    Parameters
    ----------
    frame : dask DataFrame
    to : str, optional
        The new column. By default ``"language"``; ``"detected_language"`` if the frame has a
        published ``language``, which is not changed.
    column : str
        The captions. Only the first 2,000 characters are read.
    min_letters : int
        A caption with fewer letters, in any script, is ``"und"``; an ideograph, kana or Hangul
        syllable counts as two, a spacing vowel sign as one.
    min_confidence : float
        A caption whose language has a lower probability, in [0, 1], is ``"und"``. With
        0.4, an eighth of web captions are ``"und"``, mostly names of people and products; with 0,
        only captions in which the model finds no evidence.

    Returns
    -------
    dask DataFrame
        With a text column: ISO 639-1 codes in lower case, ``"und"`` if the language is unknown,
        null if the caption is null.

    Raises
    ------
    ColumnError
        When the frame has no such column.
    OptionError
        When the column does not hold text, ``to`` already exists, or a limit is out of its range.
        All are raised immediately.

    References
    ----------
    Lui, M., Baldwin, T. (2012). langid.py: an off-the-shelf language identification tool. ACL
    demonstrations. Retrained and maintained by A. Barbaresi as py3langid.
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
    if column_type(frame.dtypes[column]) != "string":
        raise OptionError(
            f"The column {column!r} holds {frame.dtypes[column]}. Name a text column with column=."
        )
    if to is None:
        to = "detected_language" if "language" in frame.columns else "language"
    must_be("to", to, str, "the new column's name")
    check_free(frame, [to])
    detector = Detector(column, to, *_validated_limits(min_letters, min_confidence))
    meta = _meta(frame, to)
    detected = graph.map_columns(frame, languages, detector, reads=[column], meta=meta)
    return frame.assign(**{to: detected[to]})


def language_cost(frame: PlannedFrame, column: str = "text") -> Cost:
    """The cost of `language`."""
    if column not in frame.columns:
        raise ColumnError(f"column is {column!r}.{did_you_mean(str(column), frame.columns)}")
    return replace(Detector(column).cost, label="language")


def _validated_limits(min_letters: int, min_confidence: float) -> tuple[int, float]:
    if isinstance(min_letters, bool) or not isinstance(min_letters, int) or min_letters < 0:
        raise OptionError(f"min_letters is {min_letters!r}. Expected a whole number, such as 4.")
    number = isinstance(min_confidence, (int, float)) and not isinstance(min_confidence, bool)
    if not number or not 0 <= min_confidence <= 1:
        raise OptionError(
            f"min_confidence is {min_confidence!r}. Expected a probability in [0, 1], such as 0.4."
        )
    return min_letters, float(min_confidence)


def _meta(frame: dd.DataFrame, to: str) -> pd.DataFrame:
    """Zero rows of the new column, in the frame's backend."""
    backend = "cudf" if is_cudf(frame._meta) else "pandas"
    empty = frame_from_arrow(pa.table({to: pa.array([], pa.large_string())}), backend)
    empty.index = frame._meta.index
    return empty
