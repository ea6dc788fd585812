"""Keep one row of each group of rows with equal keys: the work on a partition and on a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Frame, frame_from_arrow, is_cudf
from laion_dask.curation.bucket_pass import HASH
from laion_dask.curation.draws import DEDUP, draws
from laion_dask.curation.key import Key
from laion_dask.curation.ranking import Ranking
from laion_dask.curation.row_table import KEY, RowTable, distinct_row_keys, row_keys
from laion_dask.numerics.murmur3 import best_of_groups

#: Fields of records: the second half of the hash, and the order of rows within a group.
LOW, ORDER = "low", "order"
#: The column of a `RowTable` of decisions.
KEEP = "keep"
SCHEMA = pa.schema({KEEP: pa.bool_()})


@dataclass(frozen=True)
class Rule:
    """Which row of a group is kept: the one that comes first.

    Attributes
    ----------
    how : {"first", "last", "random", "max", "min"}
    ranking : Ranking or None
        For ``"max"`` and ``"min"``: the column.
    seed : int
        For ``"random"``.
    """

    how: str
    ranking: Ranking | None = None
    seed: int = 0

    def __str__(self) -> str:
        return repr({self.how: self.ranking.column} if self.ranking else self.how)

    @property
    def dtype(self) -> np.dtype:
        """That of the records of rows."""
        fields = [(HASH, "<u8"), (LOW, "<u8"), (KEY, "<i8")]
        return np.dtype(fields if self.how == "first" else [*fields, (ORDER, "<u8")])

    def order(self, part: Frame, keys: np.ndarray) -> np.ndarray:
        """A number for each row, (n,) uint64; of a group, the row with the smallest is kept."""
        if self.how == "last":
            return ~keys.astype(np.uint64)
        if self.how == "random":
            return draws(part, self.seed, DEDUP)[0]
        assert self.ranking is not None  # of "max" and "min"
        rank, missing = self.ranking.ranks(part)
        return np.where(missing, np.uint64(2**64 - 1), rank if self.how == "min" else ~rank)


def records_of(part: Frame, key: Key, rule: Rule) -> np.ndarray:
    """The records of a partition's rows that have a key and an identity."""
    hashes, valid = key.hashes(part)
    keys, identified = row_keys(part)
    valid &= identified
    fields = {HASH: hashes[:, 0], LOW: hashes[:, 1], KEY: keys}
    if rule.how != "first":
        fields[ORDER] = rule.order(part, keys)
    records = np.empty(np.count_nonzero(valid), rule.dtype)
    for name, values in fields.items():
        records[name] = values if len(records) == len(values) else values[valid]
    return records


def keep_one(records: np.ndarray, key: Key, rule: Rule) -> tuple[np.ndarray, Mapping]:
    """The keys of a bucket's rows, and whether each is kept."""
    keys = np.ascontiguousarray(records[KEY])
    order = None if rule.how == "first" else records[ORDER]
    return keys, {KEEP: best_of_groups(records[HASH], records[LOW], order, keys)}


def decisions(part: Frame, table: RowTable, key: Key, keep_missing: bool) -> Frame:
    """The decision about each row of a partition: a frame with the column `KEEP`."""
    keep = table.lookup(distinct_row_keys(part))[KEEP].combine_chunks()
    if keep_missing:
        _, has_key = key.hashes(part)
        keep = pc.if_else(pa.array(has_key), keep, pa.scalar(True))
    result = frame_from_arrow(pa.table({KEEP: keep}), "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result


def decisions_meta(meta: Frame) -> pd.DataFrame:
    """The meta of `decisions` on a frame of zero rows."""
    result = frame_from_arrow(SCHEMA.empty_table(), "cudf" if is_cudf(meta) else "pandas")
    result.index = meta.index[:0]
    return result
