"""Draw a bounded sample of rows that depends on row identity, not on partitioning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import frame_to_arrow
from laion_dask.errors import OptionError
from laion_dask.frame.row_hash import identity_hash


def labeled_sample(part, label: str, seed: int, max_rows: int) -> pd.DataFrame:
    """The first labeled rows of a partition in order of `identity_hash`, at most ``max_rows``.

    Returns
    -------
    DataFrame
        ``shard``, ``row``, ``y`` (bool), ``order`` (uint64); the first row has ``shard`` -1 and
        contains the counts of the partition, ``n_read`` and ``n_unlabelled``.
    """
    table = frame_to_arrow(part[["shard", "row", label]])
    unknown = pc.is_null(table[label], nan_is_null=True)
    labeled = table.filter(pc.invert(unknown))
    shard, row = labeled["shard"].to_numpy(), labeled["row"].to_numpy()
    y = as_labels(labeled[label].cast(pa.float64()).to_numpy(), label)
    rows = pd.DataFrame({"shard": shard, "row": row, "y": y, "n_read": 0, "n_unlabelled": 0})
    rows["order"] = identity_hash(shard, row, seed)
    counts = sample_meta(n_read=len(table), n_unlabelled=len(table) - len(labeled))
    return pd.concat([counts, first(rows[list(counts)].astype(counts.dtypes), max_rows)])


def as_labels(values: np.ndarray, label: str) -> np.ndarray:
    """Convert 0 and 1 to booleans.

    Raises
    ------
    OptionError
        For any other number.
    """
    invalid = values[(values != 0) & (values != 1)]
    if len(invalid):
        raise OptionError(
            f"The labels in {label!r} hold {invalid[0]:g}. Expected 0 and 1 (or true and false), "
            "and null where it is unknown; make them with a comparison, such as frame.x > 0.5."
        )
    return values > 0


def sample_meta(**counts: int) -> pd.DataFrame:
    """A row of counts in the columns of a sample; empty without counts."""
    line = {"shard": -1, "row": -1, "y": False, "order": 0, "n_read": 0, "n_unlabelled": 0}
    dtypes = ("int32", "int64", "bool", "uint64", "int64", "int64")
    values = {**line, **counts}
    lines = [list(values.values())] if counts else []
    return pd.DataFrame(lines, columns=list(values)).astype(dict(zip(values, dtypes, strict=True)))


def first(rows: pd.DataFrame, max_rows: int) -> pd.DataFrame:
    """The rows with the lowest order, ties broken by (shard, row)."""
    return rows.sort_values(["order", "shard", "row"])[:max_rows]


def merge(samples: pd.DataFrame, max_rows: int) -> pd.DataFrame:
    """Combine concatenated samples into one."""
    counts = samples[samples["shard"] < 0][["n_read", "n_unlabelled"]].sum()
    line = sample_meta(n_read=counts["n_read"], n_unlabelled=counts["n_unlabelled"])
    return pd.concat([line, first(samples[samples["shard"] >= 0], max_rows)])
