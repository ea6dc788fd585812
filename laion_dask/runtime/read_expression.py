"""The expression of a read, whose rows Dask counts without reading a column."""

from __future__ import annotations

from typing import Any

from laion_dask.runtime.dask_expressions import (
    Expr,
    FromMapProjectable,
    Index,
    Len,
    determine_column_projection,
)


class ReadPartitions(FromMapProjectable):
    """Reads partitions; for ``len(frame)`` and ``frame.index``, no column that nothing else needs.

    Dask would read every column for ``len(frame)``, even for ``len(frame[["url"]])``.
    """

    def _simplify_up(self, parent: Expr, dependents: dict[str, Any]) -> Expr | None:
        if isinstance(parent, Len):
            return Len(Index(self))
        if not isinstance(parent, Index):
            simplified: Expr | None = super()._simplify_up(parent, dependents)
            return simplified
        needed: Any = determine_column_projection(self, parent, dependents)
        names = {needed} if isinstance(needed, str) else set(needed)
        columns = [name for name in self.columns if name in names]
        if len(columns) == len(self.columns):
            return None
        return Index(self.substitute_parameters({"columns": columns, "_series": False}))
