"""The columns of text of a partition: as text, as the sites of URLs, and as few labels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.explorer.columns import MAX_CATEGORIES
from laion_dask.text.domains import Coded, hosts_of, labels_of
from laion_dask.text.hosts import Authorities


def with_texts(table: pa.Table, names: frozenset[str]) -> pa.Table:
    """The table with some columns as text: those of text, dates and other single values."""
    for at, name in enumerate(table.column_names):
        if name in names and not pa.types.is_large_string(table[name].type):
            table = table.set_column(at, name, _as_text(table[name]))
    return table


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.large_string())
    except pa.ArrowException:  # objects of pandas, such as lists
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.large_string())])


def site(urls: pa.ChunkedArray, level: str) -> pa.DictionaryArray:
    """The domain or top-level domain of each URL, as `laion_dask.domains` groups them."""
    found = Authorities()
    found.add(urls)
    sites: Coded = labels_of(hosts_of(found), level)
    codes = sites.codes
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, sites.labels)


def coded_texts(column: pa.ChunkedArray) -> pa.DictionaryArray | None:
    """A column of few texts, or of booleans, as a dictionary; None for any other column."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.large_string())
    elif not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    start = column.slice(0, 4 * MAX_CATEGORIES)
    if pc.count_distinct(start).as_py() > MAX_CATEGORIES:
        return None
    texts = column.cast(pa.large_string()).combine_chunks()
    if isinstance(texts, pa.ChunkedArray):  # of no chunks
        texts = pa.array([], pa.large_string())
    coded = texts.dictionary_encode()
    return coded if len(coded.dictionary) <= MAX_CATEGORIES else None
