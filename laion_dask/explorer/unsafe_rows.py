"""How many selected rows are not known to be safe, and the condition that leaves them out."""

from __future__ import annotations

from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.dtypes import ColumnTypes
from laion_dask.explorer.columns import NumberColumn
from laion_dask.explorer.safe_rows import known_unsafe, safe_rows
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.where_text import number_text
from laion_dask.frame.where import where
from laion_dask.io.images.thumbnails import UNSAFE
from laion_dask.predicate import Predicate, certain_and_possible, parse
from laion_dask.runtime import graph

#: The column with the probability that an image is unsafe.
SAFETY = "punsafe"
#: Conditions for rows known to be safe, as `safe_rows` decides, and for rows known to be unsafe.
SAFE = f"{SAFETY} >= 0 and {SAFETY} < {number_text(UNSAFE)}"
_UNSAFE = f"{SAFETY} >= {number_text(UNSAFE)}"
#: The reason that a recipe gives for the condition.
WHY = "Rows that are unsafe, or have no safety score, are left out."
NO_SCORES = (
    f"No row has a safety score, because there is no numeric column {SAFETY}. The gallery hides "
    "rows without a score, but they are written."
)
_META = pd.DataFrame({name: pd.Series([], dtype="int64") for name in ("n", "safe", "unsafe")})


@dataclass(frozen=True)
class UnsafeRows:
    """How many of some rows are not known to be safe.

    Attributes
    ----------
    n : int
        All of these rows.
    unsafe : int
        Those with a score of at least 0.5.
    unscored : int
        Those without a score; a negative score counts as missing.
    """

    n: int
    unsafe: int
    unscored: int

    @property
    def hidden(self) -> int:
        """The rows that the gallery hides."""
        return self.unsafe + self.unscored

    def text(self, which: str) -> str:
        """Sentences about the rows that the gallery hides, which are written."""
        if not self.n:
            return "No row is selected."
        if not self.hidden:
            return f"None of the {self.n:,} {which} is unsafe or without a safety score."
        kinds = []
        if self.unsafe:
            kinds.append(f"{self.unsafe:,} unsafe ({SAFETY} of at least {number_text(UNSAFE)})")
        if self.unscored:
            kinds.append(f"{self.unscored:,} without a safety score")
        written = "They are written too, unless you leave them out."
        if self.hidden == 1:
            written = "It is written too, unless you leave it out."
        return (
            f"Of the {self.n:,} {which}, the gallery hides {self.hidden:,}: "
            f"{' and '.join(kinds)}. {written}"
        )


def has_scores(sample: Sample) -> bool:
    """Whether the rows have a column of safety scores; without one, no row is known to be safe."""
    return isinstance(sample.columns.get(SAFETY), NumberColumn)


def unsafe_in_sample(sample: Sample, selected: np.ndarray) -> UnsafeRows:
    """Count among the selected rows of a sample; ``selected`` is a mask, (n,) bool."""
    n = int(np.count_nonzero(selected))
    n_safe = int(np.count_nonzero(safe_rows(sample, SAFETY) & selected))
    n_unsafe = int(np.count_nonzero(known_unsafe(sample, SAFETY) & selected))
    return UnsafeRows(n, n_unsafe, n - n_safe - n_unsafe)


def unsafe_in_frame(frame: dd.DataFrame, types: ColumnTypes) -> UnsafeRows:
    """Count in all rows of a frame that has scores. Eager; reads the scores, and what filters read.

    Parameters
    ----------
    frame : dask DataFrame
    types : ColumnTypes
        The types of the columns of the sample.
    """
    predicates = parse(SAFE, types), parse(_UNSAFE, types)
    counted = graph.map_columns(frame, _counts, *predicates, reads=[SAFETY], meta=_META)
    (found,) = graph.compute(counted, label="counting unsafe rows")
    n, safe, unsafe = (int(found[name].sum()) for name in _META)
    return UnsafeRows(n, unsafe, n - safe - unsafe)


def only_safe(frame: dd.DataFrame) -> dd.DataFrame:
    """The rows of a frame that are known to be safe. Lazy."""
    return where(frame, SAFE)


def _counts(part: pd.DataFrame, safe: Predicate, unsafe: Predicate) -> pd.DataFrame:
    certain = [int(certain_and_possible(one, part)[0].sum()) for one in (safe, unsafe)]
    return pd.DataFrame({"n": [len(part)], "safe": [certain[0]], "unsafe": [certain[1]]})
