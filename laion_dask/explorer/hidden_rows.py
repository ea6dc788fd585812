"""The message shown when no selected row can be shown, with ways to score the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from laion_dask.explorer.columns import NumberColumn
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.source_text import EXAMPLE_MODEL, example_opening, name_of, variables
from laion_dask.formatting import printable
from laion_dask.models.clip import ClipModel
from laion_dask.models.heads.nsfw import detector_model

#: Names of columns that may have a probability that an image is unsafe, such as COYO-700M's
#: ``nsfw_score_opennsfw2``; other names are not put in commands.
_SCORE = re.compile(r"(?=.*(nsfw|unsafe))[\w.-]{1,60}", re.IGNORECASE | re.ASCII)
#: At most this many of these columns are named.
_MOST = 3


class HiddenRows:
    """The message shown when no selected row is on a page: all are hidden, or none is selected.

    Parameters
    ----------
    exploration : Exploration
    safety : str
        The column with the probability that an image is unsafe.
    """

    def __init__(self, exploration: Exploration, safety: str) -> None:
        sample, self._safety = exploration.sample, safety
        self._why = _why_unscored(sample, safety)
        none = "No sampled row passes all filters: remove one, or undo the last."
        self._why_none = none if sample.n else "There are no rows."
        is_free = safety not in exploration.frame.columns
        self._ways = list(_ways(exploration, safety)) if is_free else []

    def state(self, n: int, n_hidden: int, note: str = "") -> dict[str, Any] | None:
        """The reason, the label of the button that shows the rows, and the ways to score them.

        None unless no row is shown. Where no row is selected, only the reason.

        Parameters
        ----------
        n, n_hidden : int
            Selected rows that are on pages, and those that are hidden.
        note : str
            What to expect when they are shown.
        """
        if n:
            return None
        if not n_hidden:
            return {"why": self._why_none, "button": "", "note": "", "ways": []}
        rows = "row" if n_hidden == 1 else f"{n_hidden:,} rows"
        unscored = {"why": self._why, "button": f"Show the {rows} without a score"}
        hidden = {
            "why": f"Every selected row is unsafe, or has no score in {printable(self._safety)}.",
            "button": f"Show the {rows} anyway",
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
        code = _renaming(exploration, names[0], safety)
        yield {"text": f"{text}. To use {'it' if is_one else 'one'}:", "code": code}
    if exploration.embeddings is None:
        yield _way_by_embeddings(exploration, safety, bool(names))
    elif head := _head(exploration, safety):
        where = " in Python" if exploration.is_command else ""
        text = f"To compute it from the embeddings{where}:"
        yield {"text": text, "code": _scoring(exploration, head)}
    elif not names:
        text = "No published head computes it from these embeddings. To use a column that has it:"
        yield {"text": text, "code": _renaming(exploration, "COLUMN", safety)}


def _way_by_embeddings(exploration: Exploration, safety: str, is_second: bool) -> dict[str, str]:
    """How to compute scores where no embeddings were given."""
    where = " in Python" if exploration.is_command else ""
    text = f"To compute it from CLIP embeddings{where}:"
    if not is_second:
        option = "--rename" if exploration.is_command else "rename="
        text = f"If a column has it, name that column with {option}. {text}"
    frame = name_of(exploration.frame, variables()) or "frame"
    head = f'ld.heads.nsfw("{EXAMPLE_MODEL}", to="{safety}")'
    code = f"emb = {example_opening(frame)}\n{_scoring(exploration, head)}"
    return {"text": text, "code": code}


def _renaming(exploration: Exploration, name: str, safety: str) -> str:
    """Code that reads a column as the safety score."""
    if exploration.is_command:
        return f"laion-dask explore … --rename {name}={safety}"
    return f'ld.read_shards(…, rename={{"{name}": "{safety}"}})'


def _scoring(exploration: Exploration, head: str) -> str:
    """Code that scores the frame and explores it again."""
    names = variables()
    frame = name_of(exploration.frame, names) or "frame"
    emb = name_of(exploration.embeddings, names) if exploration.embeddings is not None else None
    emb = emb or "emb"
    return f"scored = {frame}.laion.score({emb}, {head})\nscored.laion.explore({emb})"


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
