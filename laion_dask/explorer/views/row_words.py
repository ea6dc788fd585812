"""How a row is named in a question: by the start of its caption, or by its shard and number."""

from __future__ import annotations

import numpy as np

from laion_dask.explorer.captions import caption_column
from laion_dask.explorer.safe_rows import why_unsafe
from laion_dask.explorer.sample import Sample
from laion_dask.formatting import printable

#: Characters of a caption.
_LONGEST = 24


class RowWords:
    """Names rows of a sample, and remembers the names.

    As in other views, a caption is hidden unless its row is known to be safe.

    Parameters
    ----------
    sample : Sample
    """

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._known: dict[tuple[int, int], str] = {}

    def of(self, row: tuple[int, int]) -> str:
        """The caption in quotes, or ``row 5 of shard 0``."""
        if row not in self._known:
            self._known[row] = self._caption(*row) or f"row {row[1]:,} of shard {row[0]:,}"
        return self._known[row]

    def _caption(self, shard: int, row: int) -> str:
        sample, name = self._sample, caption_column(self._sample)
        rows = np.flatnonzero(sample.row == row)
        found = rows[sample.shard[rows] == shard]
        if not name or not len(found) or why_unsafe(sample, int(found[0]), "punsafe"):
            return ""
        text = " ".join((sample.texts(name, found[:1])[0] or "")[:1000].split())
        short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
        return f"“{printable(short)}”" if text else ""
