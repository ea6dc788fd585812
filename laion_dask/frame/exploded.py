"""Frames whose rows have several records each: one for each caption of a row.

A row of the data set still counts once: it is kept if at least one of its records is kept. Verbs
that decide about rows, and look their decision up by ``shard`` and ``row``, cannot tell the records
of one row apart, so they refuse such frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np

from laion_dask.backend import Column, Frame, to_numpy
from laion_dask.errors import ProvenanceError
from laion_dask.frame.row_identity import with_identity
from laion_dask.frame.row_path import Steps, walk
from laion_dask.runtime.dask_expressions import Expr, MapPartitions, new_collection
from laion_dask.schema import PROVENANCE


@dataclass(frozen=True)
class Explosion:
    """An argument of a kernel that returns at least one record for each row, in their order.

    Attributes
    ----------
    number : str
        The column that, with ``shard`` and ``row``, identifies a record.
    """

    number: str


def explosion_of(step: Expr) -> Explosion | None:
    """The explosion of a step; None if it returns no more rows than it gets."""
    if not isinstance(step, MapPartitions):
        return None
    return next((one for one in step.args[1:] if isinstance(one, Explosion)), None)


def explosion_in(steps: Steps) -> Explosion | None:
    """The explosion among the steps of a path, or None."""
    found = (explosion_of(step) for step, _ in steps)
    return next((one for one in found if one is not None), None)


def refuse_exploded(frame: object, verb: str) -> None:
    """Raise if a frame has several records a row; arguments of other kinds are passed over.

    Raises
    ------
    ProvenanceError
        Immediately, before any data is read.
    """
    if isinstance(frame, dd.DataFrame) and explosion_in(walk(frame.expr)) is not None:
        raise ProvenanceError(
            f"This frame has one record for each caption (explode_captions), and {verb} decides "
            f"about whole rows, by shard and row. Call {verb} before explode_captions; or export "
            "the frame and read the export, where each record is a row."
        )


def identified(frame: dd.DataFrame) -> dd.DataFrame:
    """The frame with ``shard`` and ``row``, restored if necessary. Lazy.

    Raises
    ------
    ProvenanceError
        When they are lost.
    """
    expr = with_identity(frame.expr)
    if expr is None:
        raise ProvenanceError(
            "The frame has lost the columns shard and row, which tell the row of each caption "
            "(explode_captions). Keep both to the end."
        )
    complete: dd.DataFrame = new_collection(expr)
    return complete


def _rows_of_records(part: Frame) -> np.ndarray:
    """The position of each record's row among the rows of a partition whose order is unchanged."""
    shard, row = (to_numpy(part[name]) for name in PROVENANCE)
    is_next = (shard[1:] != shard[:-1]) | (row[1:] != row[:-1])
    return np.append(np.zeros(min(1, len(row)), np.int64), np.cumsum(is_next))


def each_record(part: Frame, values: Sequence[Column]) -> list[Column]:
    """Series of one value for each record of a partition, of series for its records or rows.

    Parameters
    ----------
    part : DataFrame of n records
        With ``shard`` and ``row``, in the order of `explode_captions`, and with all rows.
    values : sequence of series
        Each is of the records, or of the rows, as before that step.
    """
    rows = _rows_of_records(part)
    return [one if len(one) == len(rows) else one.iloc[rows] for one in values]


def outcome_of_rows(
    part: Frame, false: np.ndarray, unknown: np.ndarray, none: int
) -> tuple[np.ndarray, np.ndarray]:
    """The clauses that exclude rows, from those that exclude their records.

    A row is kept if one of its records is. Otherwise, it is unscored if a record is, and dropped if
    all are, by the last of their clauses.

    Parameters
    ----------
    part : DataFrame of n records
        As for `each_record`.
    false, unknown : (n,) int64
        The first clauses that are false and unknown for each record.
    none : int
        Greater than any clause: no such clause.

    Returns
    -------
    false, unknown : (m,) int64
        For each row: the clause that drops it; and the clause that leaves it unscored or, if a
        later clause drops it, the one from which on every record that is left is undecided.
    """
    starts = np.flatnonzero(np.diff(_rows_of_records(part), prepend=-1))
    if not len(starts):
        return false, unknown
    is_unscored = (false == none) & (unknown < none)
    decided = np.maximum.reduceat(np.minimum(false, unknown), starts)
    unscored = np.maximum.reduceat(np.where(is_unscored, unknown, -1), starts)
    dropped = np.maximum.reduceat(np.where(false == none, -1, false), starts)
    kept, any_unscored = decided == none, unscored >= 0
    return (
        np.where(kept | any_unscored, none, dropped),
        np.where(~kept & any_unscored, unscored, decided),
    )
