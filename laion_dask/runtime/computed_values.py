"""Compute the delayed values of a frame's graph once, and put the values in their place."""

from __future__ import annotations

import dask.dataframe as dd

from laion_dask.runtime import graph
from laion_dask.runtime.dask_expressions import BaseExpr, _DelayedExpr, new_collection


def with_computed_values(frame: dd.DataFrame, below: dd.DataFrame, *, label: str) -> dd.DataFrame:
    """The frame, in which the delayed values that a step has added are computed. Eager.

    A pass over all rows ends in a delayed value, such as a threshold, or the handle of a table on
    disk, which every computation of the frame computes again.

    Parameters
    ----------
    frame : dask DataFrame
    below : dask DataFrame
        The frame before the step.
    label : str
        Label of the progress bar.
    """
    known = {node._name for node in below.expr.walk()}
    pending = {
        node._name: node
        for node in frame.expr.walk()
        if isinstance(node, _DelayedExpr) and node._name not in known and len(node.obj.dask) > 1
    }
    if not pending:
        return frame
    values = graph.compute(*(node.obj for node in pending.values()), label=label)
    expr: BaseExpr = frame.expr
    for (name, node), value in zip(pending.items(), values, strict=True):
        expr = expr.substitute(node, _DelayedExpr(graph.share(value, f"computed-{name}")))
    return new_collection(expr)


def rebased(frame: dd.DataFrame, before: dd.DataFrame, after: dd.DataFrame) -> dd.DataFrame:
    """The steps from ``before`` to ``after``, on a frame of the rows and columns of ``before``."""
    if frame.expr._name == before.expr._name:
        return after
    return new_collection(after.expr.substitute(before.expr, frame.expr))
