"""The expression of a read, whose rows Dask counts without reading a column."""

from __future__ import annotations

from typing import Any

from laion_dask.runtime.dask_expressions import (
    Expr,
    FromMapProjectable,
    Index,
    Len,
    Projection,
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
        needed: set[str] = set()
        for reference in dependents.get(self._name, ()):
            step = reference()
            if isinstance(step, Projection):
                needed.update(step.columns)
            elif step is not None and not isinstance(step, (Index, Len)):
                return None  # it needs every column, so the index is read with it
        columns = [name for name in self.columns if name in needed]
        if len(columns) == len(self.columns):
            return None
        return Index(self.substitute_parameters({"columns": columns, "_series": False}))
