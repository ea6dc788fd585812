"""Scores from captions: the profanity proxy, or any text classifier."""

from __future__ import annotations

from dataclasses import replace

import dask.dataframe as dd

from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import column_type
from laion_dask.errors import ColumnError, OptionError, did_you_mean, must_be
from laion_dask.models.heads import Head
from laion_dask.models.heads.captions import PROFANITY_RATE
from laion_dask.models.heads.compatibility import check_heads
from laion_dask.runtime import graph
from laion_dask.scoring.captions_kernel import captions
from laion_dask.scoring.score import assigned, check_free


def score_captions(frame: dd.DataFrame, *heads: Head, column: str = "text") -> dd.DataFrame:
    """The frame with one column per head, computed from its captions. Lazy.

    Only the captions are read. The score of a null caption is NaN.

    Parameters
    ----------
    frame : dask DataFrame
    *heads
        For example ``ld.heads.toxicity()``; the new column has the head's name, float32 in [0, 1].
    column : str
        The captions.

    Raises
    ------
    ColumnError
        When the frame has no such column.
    OptionError
        When no head is given, a head does not read captions, the column does not hold text, or a
        new column exists already. All are raised immediately.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> head = ld.heads.toxicity(lambda texts: [0.0] * len(texts), to="rude")
    >>> scored = frame.laion.score_captions(head)
    >>> "rude" in scored.columns
    True
    """
    must_be("The frame", frame, dd.DataFrame, "a Dask DataFrame, as read_shards returns")
    if not heads:
        raise OptionError("No head was given. Name one, such as ld.heads.toxicity().")
    specs = tuple(check_heads(heads, None, reads=("captions",)))
    names = [head.name for head in specs]
    if column not in frame.columns:
        raise ColumnError(f"column is {column!r}.{did_you_mean(str(column), frame.columns)}")
    if column_type(frame.dtypes[column]) != "string":
        raise OptionError(
            f"The column {column!r} holds {frame.dtypes[column]}. Name a text column with column=."
        )
    check_free(frame, names, of_heads=True)
    return assigned(frame, names, captions, column, graph.share(specs), reads=[column])


def score_captions_cost(frame: PlannedFrame, *heads: Head) -> list[Cost]:
    """The costs of `score_captions`, one per head; without a head, that of the profanity proxy."""
    if not heads:
        note = "score_captions: assumes the profanity proxy"
        return [Cost((PROFANITY_RATE,), columns=("text",), notes=(note,))]
    specs = check_heads(heads, None, reads=("captions",))
    return [replace(head.cost, label=f"score, {head.name}") for head in specs]
