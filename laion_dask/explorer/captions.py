"""The column that has the captions of a sample, for every view and tab."""

from __future__ import annotations

from laion_dask.explorer.sample import Sample

#: Names of columns of captions, the canonical one first; the others are img2dataset's and LAION's,
#: in frames whose dialect was not recognized or whose ``text`` was left out.
NAMES = ("text", "caption", "TEXT")


def caption_column(sample: Sample) -> str:
    """The name of the caption column: the first of `NAMES` that is a column of text; else empty."""
    return next((name for name in NAMES if name in sample.text_columns), "")
