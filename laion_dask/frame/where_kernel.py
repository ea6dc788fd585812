"""Evaluate a filter on one partition."""

from __future__ import annotations

from laion_dask.backend import Column, Frame
from laion_dask.predicate import Predicate, certain_and_possible


def passes(part: Frame, predicate: Predicate) -> Column:
    """Mask of the rows for which the expression is true.

    Returns
    -------
    Series of bool
        With the partition's index; False where the expression is false or unknown.
    """
    return certain_and_possible(predicate, part)[0]


def possibly_passes(part: Frame, predicate: Predicate) -> Column:
    """Mask of the rows for which the expression is true or unknown."""
    return certain_and_possible(predicate, part)[1]


def undecided(part: Frame, predicate: Predicate) -> Column:
    """Mask of the rows for which the expression is unknown."""
    certain, possible = certain_and_possible(predicate, part)
    return possible & ~certain
