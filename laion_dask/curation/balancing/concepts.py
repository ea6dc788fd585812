"""Count the captions that mention each concept of a list."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.balancing.concept_counts import counted
from laion_dask.curation.balancing.concept_lists import ConceptLists
from laion_dask.frame.provenance import Provenance
from laion_dask.runtime import graph


def concepts(
    frame: dd.DataFrame,
    entries: object,
    *,
    column: str = "text",
    language: str | None = None,
    version: int | None = None,
) -> pd.DataFrame:
    """The number of captions that mention each concept, by MetaCLIP's rule. Eager.

    Parameters
    ----------
    frame : dask DataFrame
    entries : list of str, path or mapping
        As for `balance`: the concepts, a file of them, or lists by language.
    column : str
        The captions. A null mentions nothing.
    language : str, optional
        A column of languages: captions are counted by language.
    version : {1, 2}, optional
        Of the matching rule; by default 2 with ``language``, else 1.

    Returns
    -------
    pandas DataFrame
        Columns ``entry`` (str) and ``count`` (int64): a row for each distinct entry, in the order
        of the list, also where the count is 0. With ``language``, also ``language``, in
        alphabetical order: each language of the frame that has a list.

    Raises
    ------
    OptionError, ColumnError
        Immediately, when an argument or a column does not fit.

    References
    ----------
    Xu, H. et al. (2024). Demystifying CLIP Data. ICLR.

    See Also
    --------
    balance : rows drawn so that no concept dominates.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> counts = frame.laion.concepts(["red", "no such word"])
    >>> counts["count"].tolist()[1]
    0
    """
    Provenance.of(frame)
    lists = ConceptLists.of(frame, entries, column, language, version)
    (counts,) = graph.compute(
        counted(frame, lists, graph.share(lists)), label="counting captions by concept"
    )
    if language is None:
        ((_, single),) = lists.by_language.items()
        of = counts.by_language.get("", np.zeros(len(single), np.int64))
        return _table(single.texts, of)
    tables = []
    for name in sorted(counts.by_language):
        listed = lists.entries_of(name)
        assert listed is not None  # as it was counted
        table = _table(listed.texts, counts.by_language[name])
        table.insert(0, "language", pd.Series([name] * len(table), dtype="str"))
        tables.append(table)
    if tables:
        return pd.concat(tables, ignore_index=True)
    empty = {"language": pd.array([], dtype="str"), "entry": pd.array([], dtype="str")}
    return pd.DataFrame({**empty, "count": np.zeros(0, np.int64)})


def _table(texts, counts: np.ndarray) -> pd.DataFrame:
    entry = pd.array(texts.to_pylist(), dtype="str")
    return pd.DataFrame({"entry": entry, "count": counts})


def concepts_cost(
    frame: PlannedFrame,
    entries: object = ("",),
    *,
    column: str = "text",
    language: str | None = None,
    version: int | None = None,
) -> Cost:
    """The cost of `concepts`."""
    columns = (column, *([language] if language else []))
    note = (
        "concepts: the rate is that of a summary, which takes as long a caption as 500,000 entries"
    )
    return Cost(("summary",), columns=columns, notes=(note,))
