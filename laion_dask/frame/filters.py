"""Find the filters among a frame's steps, describe them, and undo them."""

from __future__ import annotations

from dataclasses import replace

import dask.dataframe as dd

from laion_dask.errors import ProvenanceError
from laion_dask.frame import filter_text
from laion_dask.frame.row_path import Steps, is_verb, walk
from laion_dask.frame.scans import is_scan
from laion_dask.frame.where_kernel import passes
from laion_dask.predicate import Predicate
from laion_dask.runtime.dask_expressions import (
    DropDuplicates,
    DropnaFrame,
    Elemwise,
    Eval,
    Expr,
    Filter,
    FromMap,
    Loc,
    MapPartitions,
    Partitions,
    Query,
    Sample,
    new_collection,
)

#: Steps that drop rows and change nothing else.
_ROW_DROPPING = (Filter, DropnaFrame, Sample, DropDuplicates)
#: Steps that do not reorder rows, and drop rows only as filters.
_IN_PLACE = (Elemwise, Filter, FromMap, Partitions)


def is_filter(step: Expr) -> bool:
    """Whether a step keeps the rows for which a condition is true."""
    if isinstance(step, FromMap):
        return is_scan(step) and step.func.where is not None
    return isinstance(step, (Filter, Query)) or _is_loc(step)


def _is_loc(step: Expr) -> bool:
    return isinstance(step, Loc) and isinstance(step.iindexer, Expr)


def mask_of(step: Expr) -> Expr:
    """The boolean series of a filter that is not a scan."""
    if isinstance(step, Query):
        return Eval(step.frame, step.operand("_expr"), step.expr_kwargs)
    mask: Expr = step.iindexer if _is_loc(step) else step.predicate
    return mask


def predicate_of(step: Expr) -> Predicate | None:
    """The predicate of a filter created by `where`; None for a pandas mask."""
    predicate: Predicate | None = None
    if isinstance(step, FromMap):
        predicate = step.func.where
    elif isinstance(mask := mask_of(step), MapPartitions) and mask.func is passes:
        predicate = mask.args[1]
    return predicate


def filter_texts(steps: Steps) -> list[str]:
    """The filters of a path as text, first to last.

    A pandas mask is described by the columns it compares, with the prefix ``pandas mask:``; any
    other step that selects rows, such as ``sample``, has the prefix ``pandas step:``.
    """
    texts = []
    for step, _ in reversed(list(steps)):
        if is_filter(step) and (predicate := predicate_of(step)) is not None:
            texts.append(predicate.text)
        elif (mask := _mask_text(step)) is not None:
            texts.append(f"{filter_text.MASK} {mask}")
        elif (selection := filter_text.of_selection(step)) is not None:
            texts.append(f"{filter_text.STEP} {selection}")
    return list(dict.fromkeys(texts))


def _mask_text(step: Expr) -> str | None:
    """The text of a pandas step that drops rows by value; None for other steps."""
    if isinstance(step, Query):
        text: str = step.operand("_expr")
        return text
    if isinstance(step, DropnaFrame):
        columns = step.operand("subset")
        return f"dropna({'' if columns is None else f'subset={columns!r}'})"
    if is_filter(step) and not isinstance(step, FromMap):
        return filter_text.of_mask(mask_of(step))
    return None


def stages(steps: Steps) -> list[tuple[dd.DataFrame, Predicate]]:
    """Each `where` filter in order, with the unfiltered rows that it is applied to.

    Raises
    ------
    ProvenanceError
        When another step drops or reorders rows.
    """
    pairs = []
    for step, selected in reversed(list(steps)):
        by_user = isinstance(step, MapPartitions) and not is_verb(step)
        in_place = isinstance(step, (*_IN_PLACE, MapPartitions)) and not by_user
        predicate = predicate_of(step) if is_filter(step) else None
        if not in_place or (is_filter(step) and predicate is None):
            text = _mask_text(step) or type(step).__name__
            raise ProvenanceError(
                f"The excluded rows cannot be determined past {text!r}, a step that drops or "
                "reorders rows itself. Use the frame before that step, and filter by expressions: "
                "frame.laion.where('...')."
            )
        if predicate is not None:
            inputs = step if isinstance(step, FromMap) else step.frame
            rows: dd.DataFrame = new_collection(without_filters(inputs, walk(inputs)))
            rows = rows if selected is None else rows.partitions[list(selected)]
            pairs.append((rows, predicate))
    return pairs


def without_filters(expr: Expr, steps: Steps) -> Expr:
    """The expression with all filters, samples and removals of nulls or duplicates undone.

    Parameters
    ----------
    expr : Expr
    steps : Steps
        The path of ``expr``.
    """
    path = list(steps)
    while (step := next((s for s, _ in path if isinstance(s, _ROW_DROPPING)), None)) is not None:
        expr = replace_step(expr, step, step.frame)
        path = list(walk(expr))
    for scan, _ in path:
        if is_scan(scan) and scan.func.where:
            expr = replace_step(expr, scan, unfiltered_scan(scan))
    return expr


def replace_step(expr: Expr, step: Expr, by: Expr) -> Expr:
    """The expression with every occurrence of a step replaced."""
    replaced = expr.substitute(step, by)
    assert isinstance(replaced, Expr)  # all three are expressions of frames
    return replaced


def unfiltered_scan(scan: FromMap) -> FromMap:
    """A scan without its filter."""
    unfiltered = scan.substitute_parameters({"func": replace(scan.func, where=None)})
    assert isinstance(unfiltered, FromMap)
    return unfiltered
