"""Drop rows whose value, such as a caption, occurs too often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dask.dataframe as dd
import numpy as np

from laion_dask.backend import Frame
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.bucket_pass import HASH, bucket_count, decide_in_buckets
from laion_dask.curation.duplicates import exact
from laion_dask.curation.duplicates.dedup import dedup_cost, needed_columns
from laion_dask.curation.duplicates.exact import KEEP, LOW, Rule
from laion_dask.curation.key import Key
from laion_dask.curation.row_table import KEY, shards_per_block
from laion_dask.curation.row_writer import RowWriter
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.validation import whole_number


def drop_frequent(
    frame: dd.DataFrame, by: str | Sequence[str] = "text", *, more_than: int = 10
) -> dd.DataFrame:
    """The rows whose key occurs at most so many times in the frame. Lazy.

    All rows of a frequent key are dropped, as COYO-700M does with captions such as "image for".
    Rows are counted as they stand: filters before apply first. Rows are compared, and the pass is
    made, as in `dedup`.

    Parameters
    ----------
    frame : dask DataFrame
        From `read_shards`, filtered or with columns added; each row at most once.
    by : str or sequence of str
        The key: a column, or several that are compared together.
    more_than : int
        Rows of a key that occurs more often are dropped; at least 1.

    Returns
    -------
    dask DataFrame
        The kept rows. Rows without a key, because one of its columns is null or NaN, are unscored.

    Raises
    ------
    OptionError, ColumnError, ProvenanceError
        Immediately, when an argument or a column does not fit.
    SpillError
        During the computation, when the disk is full.

    References
    ----------
    Byeon, M. et al. (2022). COYO-700M: Image-Text Pair Dataset, section "Data filtering".

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> rare = frame.laion.drop_frequent("text", more_than=2)
    >>> int(rare["text"].compute().value_counts().max()) <= 2
    True
    """
    refuse_exploded(frame, "drop_frequent")
    limit = whole_number("more_than", more_than, "a number of rows")
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    key, rule = Key.of(frame, by), Rule("first")
    table = decide_in_buckets(
        frame[needed_columns(frame, key, rule)],
        _records_of,
        _keep_rare,
        RowWriter.create(exact.SCHEMA, shards_per_block(provenance)),
        rule.dtype,
        bucket_count(provenance),
        key,
        rule,
        limit,
    )
    decided = graph.map_columns(
        frame,
        exact.decisions,
        table,
        key,
        False,
        reads=list(PROVENANCE),
        meta=exact.decisions_meta(frame._meta),
    )
    names = key.names[0] if len(key.names) == 1 else list(key.names)
    return select_rows(frame, decided[KEEP], f"drop_frequent(by={names!r}, more_than={limit})")


def drop_frequent_cost(frame: PlannedFrame, by: str | Sequence[str] = "text") -> Cost:
    """The cost of `drop_frequent`, which is that of `dedup`."""
    return dedup_cost(frame, by)


def _keep_rare(records: np.ndarray, key: Key, rule: Rule, limit: int) -> tuple[np.ndarray, Mapping]:
    """The keys of a bucket's rows, and whether the key of each is rare enough."""
    order = np.lexsort((records[LOW], records[HASH]))
    high, low = records[HASH][order], records[LOW][order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    group = np.cumsum(is_first) - 1
    sizes = np.bincount(group, minlength=1)
    keep = np.empty(len(order), bool)
    keep[order] = sizes[group] <= limit
    return np.ascontiguousarray(records[KEY]), {KEEP: keep}


def _records_of(part: Frame, key: Key, rule: Rule, limit: int) -> np.ndarray:
    return exact.records_of(part, key, rule)
