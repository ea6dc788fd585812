"""The result of a search for semantic duplicates: decisions, and groups as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from laion_dask.curation.clusters.stages import read_arrays
from laion_dask.curation.duplicates.semantic_pass import GROUP_FIELDS
from laion_dask.curation.row_table import RowTable, shard_and_row
from laion_dask.errors import OptionError
from laion_dask.io.storage.spill import SpillFolder

#: The largest number of rows in groups that are returned as one table.
MAX_TABLE_ROWS = 50_000_000


@dataclass(frozen=True, eq=False)
class SemanticDuplicates:
    """The semantic duplicates of a frame's rows, on disk.

    Attributes
    ----------
    table : RowTable
        ``keep`` (bool) of every row with a direction.
    kept, dropped, unscored : int
        Rows. Unscored ones have no direction.
    n_clusters : int
    """

    table: RowTable
    kept: int
    dropped: int
    unscored: int
    n_clusters: int
    results: SpillFolder
    n_batches: int

    def parts(self) -> Iterator[pd.DataFrame]:
        """The rows in groups of two or more, in parts that have whole groups; see `groups`."""
        for batch in range(self.n_batches):
            arrays = read_arrays(self.results, batch)[2:]
            yield table_of_groups(dict(zip(GROUP_FIELDS, map(np.asarray, arrays), strict=True)))

    def groups(self, most: int | None = None) -> pd.DataFrame:
        """The rows in groups of two or more, ordered by group and rank. Eager.

        Parameters
        ----------
        most : int, optional
            Only that many groups, the largest ones, and largest first; of equally large ones, the
            first.

        Returns
        -------
        pandas.DataFrame
            ``group`` (int64, from 0, in the order of the kept rows), ``rank`` (int64, from 1, the
            row that is kept), ``shard`` (int32), ``row`` (int64), ``kept`` (bool),
            ``representative_shard`` (int32), ``representative_row`` (int64): the earlier row that
            it duplicates, or itself if it is kept; ``similarity`` (float64): the cosine with that
            row, NaN for a kept row.

        Raises
        ------
        OptionError
            When more than 50 million rows are in groups.
        """
        parts, n = [table_of_groups({name: np.empty(0, np.int64) for name in GROUP_FIELDS})], 0
        smallest = self._smallest(most)
        for part in self.parts():
            if smallest:
                part = part[part.groupby("group")["row"].transform("size") >= smallest]
            n += len(part)
            if n > MAX_TABLE_ROWS:
                raise OptionError(
                    f"More than {MAX_TABLE_ROWS:,} rows are in groups of duplicates. Expected a "
                    "table that fits into memory: look at a sample of the rows first."
                )
            parts.append(part)
        table = pd.concat(parts, ignore_index=True)
        kept = table["kept"].to_numpy()
        keys = table["group"].to_numpy()
        by_key = np.sort(keys[kept])
        place = np.searchsorted(by_key, keys)
        if most is not None:  # number groups by size
            sizes = np.bincount(place, minlength=len(by_key))
            number = np.empty(len(by_key), np.int64)
            number[np.argsort(-sizes, kind="stable")] = np.arange(len(by_key))
            place = number[place]
        table["group"] = place
        table = table if most is None else table[place < most]
        return table.sort_values(["group", "rank"], kind="stable", ignore_index=True)

    def _smallest(self, most: int | None) -> int:
        """The least size of the ``most`` largest groups; 0 for all."""
        sizes = np.empty(0, np.int64)
        if most is None:
            return 0
        for part in self.parts():
            sizes = np.concatenate([sizes, part.groupby("group").size().to_numpy()])
            sizes = np.sort(sizes)[::-1][:most]
        return int(sizes[-1]) if len(sizes) == most else 0

    def counts(self) -> dict[str, int]:
        """The numbers of rows, of rows without a direction, of groups, and of rows dropped."""
        rows = self.kept + self.dropped + self.unscored
        groups = sum(int(part["kept"].sum()) for part in self.parts())
        return {
            "rows": rows,
            "missing": self.unscored,
            "groups": groups,
            "repeats": self.dropped,
        }


def table_of_groups(arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """The rows of groups as a table; see `SemanticDuplicates.groups`."""
    shard, row = shard_and_row(arrays["key"])
    other_shard, other_row = shard_and_row(arrays["representative"])
    return pd.DataFrame(
        {
            "group": arrays["group"],
            "rank": arrays["rank"],
            "shard": shard.astype(np.int32),
            "row": row,
            "kept": arrays["key"] == arrays["group"],
            "representative_shard": other_shard.astype(np.int32),
            "representative_row": other_row,
            "similarity": arrays["similarity"].astype(np.float64),
        }
    )
