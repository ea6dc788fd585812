"""How many values of a column fall between edges; mergeable by adding."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.kinds import kind_of_arrow


def binned(table: pa.Table, columns: tuple[str, ...], edges: tuple[tuple[float, ...], ...]):
    """Counts of every column's values by its edges.

    A column of float32 is compared with the edges as float32 has them, as an expression of
    ``where`` does, so that a threshold keeps the same rows in both.

    Returns
    -------
    list of (len(edges) + 2,) int64 array
        One a column: values below the first edge; in [edge i, edge i + 1); at or above the last
        edge; and last those that are null or NaN.
    """
    found = []
    for name, cuts in zip(columns, edges, strict=True):
        if kind_of_arrow(table.schema.field(name).type) == "float32":
            cuts = np.asarray(cuts, np.float32).astype(np.float64)
        values = pc.cast(table[name], pa.float64(), safe=False).to_numpy()  # null becomes NaN
        known = values[~np.isnan(values)]
        counts = np.bincount(np.searchsorted(cuts, known, side="right"), minlength=len(cuts) + 1)
        found.append(np.append(counts, len(values) - len(known)).astype(np.int64))
    return found
