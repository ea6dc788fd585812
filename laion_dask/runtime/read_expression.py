"""The expression of a read, whose rows Dask counts without reading a column."""

from __future__ import annotations

from laion_dask.runtime.dask_expressions import Expr, FromMapProjectable, Index, Len


class ReadPartitions(FromMapProjectable):
    """Reads partitions; none of their columns for ``len(frame)`` and ``frame.index``.

    Dask would read every column for ``len(frame)``, even for ``len(frame[["url"]])``.
    """

    def _simplify_up(self, parent: Expr, dependents: object) -> Expr | None:
        if not isinstance(parent, (Index, Len)):
            simplified: Expr | None = super()._simplify_up(parent, dependents)
            return simplified
        if self.columns_operand == []:
            return None
        return type(parent)(self.substitute_parameters({"columns": [], "_series": False}))
