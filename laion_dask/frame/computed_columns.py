"""Describe the steps that give a frame's rows new or other values, as text."""

from __future__ import annotations

from collections.abc import Iterator, Set

from laion_dask.frame.filter_text import STEP
from laion_dask.frame.provenance import Provenance, arguments_of_type
from laion_dask.frame.row_path import KEEPING_VALUES, is_verb
from laion_dask.runtime.dask_expressions import (
    Assign,
    Elemwise,
    Expr,
    Fillna,
    MapPartitions,
    Merge,
    Projection,
    RenameFrame,
)
from laion_dask.schema import PROVENANCE


def computed_texts(provenance: Provenance) -> list[str]:
    """The steps that compute columns of a frame, first to last, unless a model's recipe says it.

    An argument of a verb may describe the verb in an attribute ``step_text``. Steps of the user's
    own have the prefix ``pandas step:``.
    """
    columns = set(map(str, provenance.frame.columns))
    steps = reversed(list(provenance.steps))
    texts = (text for step, _ in steps for text in _texts(step, columns))
    return list(dict.fromkeys(texts))


def _texts(step: Expr, columns: Set[str]) -> Iterator[str]:
    if isinstance(step, Assign):
        for name, value in zip(step.keys, step.vals, strict=True):
            if name not in PROVENANCE:
                yield from _assigned(str(name), value, str(name) in columns)
    elif isinstance(step, MapPartitions):
        yield from _described(step)
    elif isinstance(step, Merge):
        names = sorted(set(map(str, step.columns)) - {str(name) for name in step.left.columns})
        yield f"{STEP} merge, which adds {', '.join(names) or 'no column'}"
    elif isinstance(step, RenameFrame):
        pairs = zip(step.frame.columns, step.columns, strict=True)
        renamed = [f"{old} to {new}" for old, new in pairs if old != new]
        yield f"{STEP} rename {', '.join(renamed)}"
    elif isinstance(step, Fillna) or _may_change_values(step):
        yield f"{STEP} {type(step).__name__.lower()}"


def _may_change_values(step: Expr) -> bool:
    return isinstance(step, Elemwise) and step.ndim == 2 and not isinstance(step, KEEPING_VALUES)


def _assigned(name: str, value: object, is_left: bool) -> Iterator[str]:
    """What a new column is computed by: a verb, or pandas."""
    kernel = next((one for one in _kernels(value) if is_verb(one)), None)
    if kernel is None:
        yield f"{STEP} assign {name}"
    elif not any(hasattr(one, "recipe") for one in arguments_of_type(kernel.args[1:], object)):
        by = str(getattr(kernel.func, "__module__", "")).rpartition(".")[2].removesuffix("_kernel")
        yield from list(_described(kernel)) or [f"column {name}, by {by}"] * is_left


def _kernels(value: object) -> Iterator[MapPartitions]:
    """The mapped functions that a column comes from, without those of the frame before it."""
    if isinstance(value, Projection) and not isinstance(value.frame, MapPartitions):
        return
    if isinstance(value, MapPartitions):
        yield value
    elif isinstance(value, Expr):
        for one in value.dependencies():
            yield from _kernels(one)


def _described(step: MapPartitions) -> Iterator[str]:
    arguments = arguments_of_type(step.args[1:], object)
    yield from (one.step_text for one in arguments if hasattr(one, "step_text"))
