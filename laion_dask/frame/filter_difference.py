"""Find the filter that turns one frame into another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from laion_dask.frame.provenance import Provenance
from laion_dask.predicate import Predicate
from laion_dask.runtime.dask_expressions import Expr, Filter, MapPartitions, Projection


def filter_between(
    before: Provenance, after: Provenance, kernel: Callable[..., Any]
) -> Predicate | None:
    """The filter that turns one frame into another, or None if they differ in any other way.

    Parameters
    ----------
    before, after : Provenance
    kernel : callable
        The kernel that applies a predicate to a partition.

    Returns
    -------
    Predicate or None
        Refers to columns of ``before``.
    """
    predicate = _added_to_scan(before, after)
    if not predicate:
        predicate = _added_steps(before.frame.expr, after.frame.expr, kernel)
    return predicate if predicate and set(predicate.columns) <= set(before.frame.columns) else None


def _added_to_scan(before: Provenance, after: Provenance) -> Predicate | None:
    """The clauses that one scan has in addition to an otherwise identical one, or None."""
    if before.as_read is None or after.as_read is None:
        return None
    (scan, partitions), (narrow, narrow_partitions) = before.as_read, after.as_read
    if narrow.where is None:
        return None
    if replace(narrow, where=scan.where) != scan or partitions != narrow_partitions:
        return None
    return narrow.where if scan.where is None else narrow.where.beyond(scan.where)


def _added_steps(before: Expr, after: Expr, kernel: Callable[..., Any]) -> Predicate | None:
    """The conjunction of the filters between two expressions; None if there are other steps."""
    combined = None
    start, expr = _before_projections(before), _before_projections(after)
    while expr._name != start._name:
        mask = expr.predicate if isinstance(expr, Filter) else None
        if not isinstance(mask, MapPartitions) or mask.func is not kernel:
            return None
        if _before_projections(mask.frame)._name != _before_projections(expr.frame)._name:
            return None
        (predicate,) = mask.args[1:]
        combined = predicate if combined is None else predicate & combined
        expr = _before_projections(expr.frame)
    return combined


def _before_projections(expr: Expr) -> Expr:
    """The frame before any selection of columns."""
    while isinstance(expr, Projection) and expr.ndim == 2:
        expr = expr.frame
    return expr
