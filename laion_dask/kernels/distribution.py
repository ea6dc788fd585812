"""How many values of a column fall between edges; mergeable by adding."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def binned(table: pa.Table, columns: tuple[str, ...], edges: tuple[tuple[float, ...], ...]):
    """Counts of every column's values by its edges.

    Returns
    -------
    list of (len(edges) + 2,) int64 array
        One a column: values below the first edge; in [edge i, edge i + 1); at or above the last
        edge; and last those that are null or NaN.
    """
    found = []
    for name, cuts in zip(columns, edges, strict=True):
        values = pc.cast(table[name], pa.float64(), safe=False).to_numpy()  # null becomes NaN
        known = values[~np.isnan(values)]
        counts = np.bincount(np.searchsorted(cuts, known, side="right"), minlength=len(cuts) + 1)
        found.append(np.append(counts, len(values) - len(known)).astype(np.int64))
    return found
