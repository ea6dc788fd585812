"""Keep the rows whose caption mentions a synset of WordNet."""

from __future__ import annotations

import os
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Frame, frame_from_arrow, frame_to_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import column_type
from laion_dask.errors import OptionError, must_be, no_column
from laion_dask.frame.selection import select_rows
from laion_dask.runtime import graph
from laion_dask.text.wordnet import Synsets


def mentions_synset(
    frame: dd.DataFrame,
    synsets: str | os.PathLike[str],
    *,
    wordnet: str | os.PathLike[str],
    column: str = "text",
) -> dd.DataFrame:
    """The rows with a word whose first WordNet synset is in a list. Lazy.

    This is DataComp's text-based filter (Gadre et al. 2023, section 3.4), with the synsets of
    ImageNet-21k. A caption is split at white space, and a word is looked up as it stands: NLTK
    lowers it and finds its base form, and punctuation beside it is part of it.

    Parameters
    ----------
    frame : dask DataFrame
    synsets : path
        A text file with the offset of one synset a line, such as ``n01440764``.
    wordnet : path
        The folder with WordNet's files, such as ``nltk_data/corpora/wordnet``; nothing is
        downloaded.
    column : str
        The captions. Rows without one are unscored.

    Raises
    ------
    OptionError, ColumnError
        Immediately, when the list, the folder or the column does not fit.
    MissingExtraError
        When NLTK is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> try:
    ...     frame.laion.mentions_synset("imagenet21k.txt", wordnet="nltk_data/corpora/wordnet")
    ... except ld.LaionDaskError as error:
    ...     print(type(error).__name__)  # neither file ships with this package
    OptionError
    """
    must_be("synsets", synsets, (str, os.PathLike), "a text file, one offset a line")
    must_be("wordnet", wordnet, (str, os.PathLike), "the folder with WordNet's files")
    if column not in frame.columns:
        raise no_column(column, frame.columns)
    if column_type(frame.dtypes[column]) != "string":
        raise OptionError(f"The column {column!r} does not hold text. Name one with captions.")
    path = Path(synsets)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"The list of synsets {path} cannot be read: {error}.") from error
    listed = Synsets.open(lines, os.fspath(wordnet), str(path))
    meta = _decisions(frame._meta[[column]], column, listed)
    decided = graph.map_columns(frame, _decisions, column, listed, reads=[column], meta=meta)
    text = f"mentions_synset({path.name!r}, {len(listed.offsets):,} synsets)"
    return select_rows(frame, decided["keep"], text)


def mentions_synset_cost(frame: PlannedFrame, column: str = "text") -> Cost:
    """The cost of `mentions_synset`."""
    note = "mentions_synset: at the rate of a filter; looking up new words takes longer"
    return Cost(("where",), columns=(column,), notes=(note,))


def _decisions(part: Frame, column: str, synsets: Synsets) -> Frame:
    """Whether each caption mentions a synset; null for a row without a caption."""
    texts = frame_to_arrow(part[[column]].reset_index(drop=True))[column].to_pylist()
    keep = pa.table({"keep": pa.array(synsets.mentioned(texts), pa.bool_())})
    result: pd.DataFrame = frame_from_arrow(keep, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result
