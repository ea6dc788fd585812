"""The message shown when every row of a page is hidden, with ways to score the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from laion_dask.explorer.columns import NumberColumn
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.source_text import name_of, variables
from laion_dask.formatting import printable
from laion_dask.models.clip import ClipModel
from laion_dask.models.heads.nsfw import detector_model

#: Names of columns that may have a probability that an image is unsafe, such as COYO-700M's
#: ``nsfw_score_opennsfw2``; other names are not put in commands.
_SCORE = re.compile(r"(?=.*(nsfw|unsafe))[\w.-]{1,60}", re.IGNORECASE | re.ASCII)
#: At most this many of them are named.
_MOST = 3


class HiddenRows:
    """The message shown when all selected rows are hidden as unsafe or unscored.

    Parameters
    ----------
    exploration : Exploration
    safety : str
        The column with the probability that an image is unsafe.
    """

    def __init__(self, exploration: Exploration, safety: str) -> None:
        sample, self._safety = exploration.sample, safety
        self._why = _why_unscored(sample, safety)
        is_free = safety not in exploration.frame.columns
        self._ways = list(_ways(exploration, safety)) if is_free else []

    def state(self, n: int, n_hidden: int, note: str = "") -> dict[str, Any] | None:
        """The reason, the label of the button that shows the rows, and the ways to score them.

        None unless all selected rows are hidden.

        Parameters
        ----------
        n, n_hidden : int
            Selected rows that are on pages, and those that are hidden.
        note : str
            What to expect when they are shown.
        """
        if n or not n_hidden:
            return None
        rows = "row" if n_hidden == 1 else f"{n_hidden:,} rows"
        unscored = {"why": self._why, "button": f"Show the {rows} without a score"}
        hidden = {
            "why": f"Every selected row is unsafe, or has no score in {printable(self._safety)}.",
            "button": f"Show the {rows} nevertheless",
        }
        return (unscored if self._why else hidden) | {"note": note, "ways": self._ways}


def _why_unscored(sample: Sample, safety: str) -> str:
    """Why no row has a score; empty if one has."""
    name, column = printable(safety), sample.columns.get(safety)
    if safety not in sample.frame.columns:
        return f"No row has a safety score, because there is no column {name}."
    if not isinstance(column, NumberColumn):
        return f"No row has a safety score, because the column {name} has no numbers."
    if column.n_missing == sample.n:
        return f"No sampled row has a safety score: the column {name} is empty."
    return ""


def _ways(exploration: Exploration, safety: str) -> Iterator[dict[str, str]]:
    """Ways to get scores, each as a sentence and code."""
    if names := _similar_columns(exploration.sample):
        is_one = len(names) == 1
        shown = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
        text = f"{shown} {'seems to be such a score' if is_one else 'seem to be such scores'}"
        code = f'ld.read_shards(…, rename={{"{names[0]}": "{safety}"}})'
        if exploration.is_command:
            code = f"laion-dask explore … --rename {names[0]}={safety}"
        yield {"text": f"{text}. To use {'it' if is_one else 'one'}:", "code": code}
    if exploration.embeddings is not None and (head := _head(exploration, safety)):
        names_here = variables()
        frame = name_of(exploration.frame, names_here) or "frame"
        emb = name_of(exploration.embeddings, names_here) or "emb"
        code = f"scored = {frame}.laion.score({emb}, {head})\nscored.laion.explore({emb})"
        where = " in Python" if exploration.is_command else ""
        yield {"text": f"To compute it from the embeddings{where}:", "code": code}


def _similar_columns(sample: Sample) -> list[str]:
    """Columns of probabilities whose names say that they are of unsafe images."""
    found = []
    for name, column in sample.columns.items():
        if isinstance(column, NumberColumn) and _SCORE.fullmatch(name) and _is_share(column):
            found.append(name)
    return found[:_MOST]


def _is_share(column: NumberColumn) -> bool:
    values = column.values[~column.missing()]
    return bool(len(values)) and bool(np.all((values >= 0) & (values <= 1)))


def _head(exploration: Exploration, safety: str) -> str:
    """The call that makes a head for the embeddings; empty if none is published."""
    assert exploration.embeddings is not None
    model = exploration.embeddings.model
    if isinstance(model, ClipModel) and model.arch == "demo":
        return f'ld.heads.demo_safety(to="{safety}")'
    name = detector_model(model)
    return f'ld.heads.nsfw("{name}", to="{safety}")' if name else ""
