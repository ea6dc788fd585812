"""The clauses that exclude the rows of one partition, and their counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Column, Frame, column_like, frame_from_arrow, is_cudf
from laion_dask.frame.exploded import each_record, outcome_of_rows
from laion_dask.predicate import Predicate, certain_and_possible

#: The columns that `excluded` adds.
BY, WHY = "excluded_by", "excluded_why"
#: What is counted for each clause; ``undecided`` is a difference from the clause before.
COUNTED = ("dropped", "unscored", "undecided")
#: Greater than any clause number; also the base for packing two clause numbers into one code.
_NONE = 1 << 14


def clause_codes(part: Frame, parts: tuple[Predicate, ...], start: int) -> Column:
    """The first false and the first unknown clause of each row, packed into one number."""
    false = np.full(len(part), _NONE)
    unknown = false.copy()
    for number, clause in reversed(list(enumerate(parts, start))):
        certain, possible = (mask.to_numpy() for mask in certain_and_possible(clause, part))
        false[~possible] = number
        unknown[possible & ~certain] = number
    return column_like(false * (_NONE + 1) + unknown, part)


def _decoded(codes: Sequence[Column]) -> tuple[np.ndarray, np.ndarray]:
    """The first false and the first unknown clause of each row; without one, `_NONE`."""
    pairs = [np.divmod(code.to_numpy(), _NONE + 1) for code in codes]
    false, unknown = (np.min([pair[i] for pair in pairs], axis=0) for i in range(2))
    return false, unknown


def excluded_rows(part: Frame, *codes_and_texts: Any) -> Frame:
    """The rows of a partition that a clause excludes, each with the clause and the reason."""
    *codes, texts, by_record = codes_and_texts
    if not codes:
        return with_reasons(part[:0], np.empty(0, np.int64), texts, np.empty(0, bool))
    codes = each_record(part, codes) if by_record else codes
    false, unknown = _decoded(codes)
    clause = np.where(false < _NONE, false, unknown)
    kept = part[column_like(clause < _NONE, part)]
    return with_reasons(kept, clause[clause < _NONE], texts, (false < _NONE)[clause < _NONE])


def with_reasons(
    part: Frame, clause: np.ndarray, texts: tuple[str, ...], dropped: np.ndarray
) -> Frame:
    """Rows with the columns that `excluded` adds; ``dropped`` is whether the clause is false."""
    by = np.array(texts, object)[clause] if len(clause) else np.empty(0, object)
    why = np.where(dropped, "dropped", "unscored").astype(object)
    reasons = pa.table({BY: pa.array(by, pa.string()), WHY: pa.array(why, pa.string())})
    reasons = frame_from_arrow(reasons, "cudf" if is_cudf(part) else "pandas")
    reasons.index = part.index
    return part.assign(**{name: reasons[name] for name in (BY, WHY)})


def counts_of_codes(part: Frame, *others_and_n: Any) -> pd.DataFrame:
    """Counts by clause, from the codes of all filters for the rows of a partition."""
    *others, n = others_and_n
    return _counted(*_decoded([part["code"], *others]), n)


def counts_of_records(part: Frame, *codes_and_n: Any) -> pd.DataFrame:
    """Counts by clause of rows that have several records, each with codes."""
    *codes, n = codes_and_n
    false, unknown = _decoded(each_record(part, codes))
    return _counted(*outcome_of_rows(part, false, unknown, _NONE), n)


def _counted(false: np.ndarray, unknown: np.ndarray, n: int) -> pd.DataFrame:
    """Counts by clause, from the first false and the first unknown clause of each row."""
    is_dropped = false < _NONE
    undecided = is_dropped & (unknown < false)
    by_clause = [
        np.bincount(of_rows[of_rows < _NONE], minlength=n)
        for of_rows in (false, unknown[~is_dropped], unknown[undecided], false[undecided])
    ]
    dropped, unscored, starts, ends = by_clause
    return pd.DataFrame(dict(zip(COUNTED, (dropped, unscored, starts - ends), strict=True)))
