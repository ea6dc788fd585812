"""A filter over one partition: which rows pass, and which it cannot decide on."""

from __future__ import annotations

from laion_dask.predicate import Predicate, certain_and_possible


def passes(part, predicate: Predicate):
    """True for the rows of a partition for which the expression is true.

    Returns
    -------
    Series of bool
        With the partition's index; False where the expression is false or unknown.
    """
    return certain_and_possible(predicate, part)[0]


def possibly_passes(part, predicate: Predicate):
    """True for the rows of a partition for which the expression is true or unknown."""
    return certain_and_possible(predicate, part)[1]


def undecided(part, predicate: Predicate):
    """True for the rows of a partition for which the expression is unknown."""
    certain, possible = certain_and_possible(predicate, part)
    return possible & ~certain
