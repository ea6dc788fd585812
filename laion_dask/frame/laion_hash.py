"""LAION's hash of a sample, computed from its URL and caption."""

from __future__ import annotations

from collections.abc import Collection

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Column, Frame, column_like, frame_to_arrow
from laion_dask.numerics.murmur3 import hashes_of
from laion_dask.runtime import graph

#: The columns that the hash is computed from.
SOURCE = ("url", "text")
HASH = "hash"


def laion_hashes(url: pa.ChunkedArray, text: pa.ChunkedArray) -> np.ndarray:
    """The column ``hash`` of LAION-5B: ``mmh3.hash64(url + text)[0]``, signed, (n,) int64.

    The first half of MurmurHash3 x64 128 with seed 0 of the UTF-8 bytes; a null is an empty text
    (LAION-5B, ``compute_hash`` in the scripts of the data set).

    Examples
    --------
    >>> import pyarrow as pa
    >>> laion_hashes(pa.chunked_array([["http://a/"]]), pa.chunked_array([["a bird"]])).dtype
    dtype('int64')
    """
    parts = [pc.fill_null(column.cast(pa.large_string()), "") for column in (url, text)]
    joined = pc.binary_join_element_wise(*parts, pa.scalar("", pa.large_string()))
    return np.ascontiguousarray(hashes_of(joined)[:, 0]).view(np.int64)


def can_be_hashed(columns: Collection[str]) -> bool:
    """Whether a frame lacks the column ``hash`` and has those that it is computed from."""
    return HASH not in columns and all(name in columns for name in SOURCE)


def with_hash(frame: dd.DataFrame) -> dd.DataFrame:
    """The frame with the column ``hash``, computed if it has none. Lazy."""
    if not can_be_hashed(frame.columns):
        return frame
    meta = column_like(np.empty(0, np.int64), frame._meta)
    hashed = graph.map_columns(frame, _hash_of, reads=list(SOURCE), meta=meta)
    hashed_frame: dd.DataFrame = frame.assign(**{HASH: hashed})
    return hashed_frame


def _hash_of(part: Frame) -> Column:
    table = frame_to_arrow(part.reset_index(drop=True))
    return column_like(laion_hashes(*(table[name] for name in SOURCE)), part)
