"""Caveats that must accompany certain results."""

from __future__ import annotations

import pandas as pd

#: Caveats by the words that trigger them: any table whose text contains the words shows the caveat.
CAVEATS = {
    "model-assigned": (
        "Perceived, model-assigned: the prompt that a CLIP model finds nearest among those it was "
        "given. This is not who a person is or says they are, and the model errs more for some "
        "people than for others. It describes a collection; do not base a decision about a "
        "person on it."
    ),
}
_MARKED = ("statistic", "term", "axis", "group", "method")


def caveats_of(results: pd.DataFrame) -> tuple[str, ...]:
    """The caveats of a tidy table: those triggered by its text, and those in its ``attrs``."""
    columns = [results[name] for name in _MARKED if name in results]
    cells = (cell for column in columns for cell in column.to_numpy(object).ravel().tolist())
    texts = {cell for cell in cells if isinstance(cell, str)}
    marked = [caveat for mark, caveat in CAVEATS.items() if any(mark in text for text in texts)]
    return tuple(dict.fromkeys([*marked, *results.attrs.get("caveats", ())]))
