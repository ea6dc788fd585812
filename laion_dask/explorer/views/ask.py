"""The question: a text, an image, or a row, and how similar a row must be to be selected."""

from __future__ import annotations

import base64
import math
from contextlib import suppress
from typing import Any

import numpy as np
import param

from laion_dask.errors import MissingExtraError, WeightsError
from laion_dask.explorer.embedding_filters import Score, threshold_of
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs, error_line
from laion_dask.explorer.questions import Answer, Question, ScoreBins, answer, why_no_model
from laion_dask.explorer.selection import MAX_UNDO, FilterKey
from laion_dask.explorer.source_text import EXAMPLE_MODEL, example_opening, name_of, variables
from laion_dask.explorer.views.component import Component, MessageComponent, module, styles
from laion_dask.explorer.views.row_words import RowWords
from laion_dask.formatting import counted, printable

#: The key of the question's filter.
KEY = FilterKey("ask")
#: Number of rows that a question selects by default.
K = 100
#: Maximum characters of a question, and bytes of an image file.
_MAX_TEXT, _MAX_IMAGE = 1000, 6_000_000


#: What distinguishes the filter of a question, without its scores.
_Rule = tuple[tuple[float, ...], float]


class AskComponent(Component):
    _esm = module("ask")
    _stylesheets = styles("ask")


class NoAskComponent(MessageComponent):
    why = param.String()
    code = param.String()

    _esm = module("no_ask")
    _stylesheets = styles("ask")


class AskView:
    """Selects the sampled rows that are most similar to a text, an image, or a row.

    The best k rows of the sample, or all that reach a threshold. The filter is a threshold in both
    cases, so that the same rule holds for all rows of the frame.

    The fields show the rule of the filter that is set. A threshold means something for its own
    question only, so the next one selects the best k again.

    Parameters
    ----------
    exploration : Exploration
        With embeddings.
    jobs : Jobs
    """

    def __init__(self, exploration: Exploration, jobs: Jobs) -> None:
        assert exploration.embeddings is not None
        self._exploration, self._selection = exploration, exploration.selection
        self._jobs, self._words = jobs, RowWords(exploration.sample)
        self._why = why_no_model(exploration.embeddings)
        self._answer: Answer | None = None
        self._bins: ScoreBins | None = None
        self._by_k, self._k, self._at_least = True, K, 0.0
        self._best: dict[_Rule, int] = {}  # the k of thresholds that select the best k rows
        self._question: Question | None = None  # the one that is being answered
        self.job: Job | None = None
        self.panel = AskComponent(self._receive, sizing_mode="stretch_width")
        jobs.subscribe(self._follow_job)
        self.refresh()

    # -- questions -------------------------------------------------------------------------------

    def ask_text(self, text: str) -> None:
        """Select the rows that are similar to a text, in the background."""
        text = text.strip()[:_MAX_TEXT]
        if text and not self._why:
            self._ask(Question(text=text))

    def ask_image(self, data: bytes, name: str = "") -> None:
        """Select the rows that are similar to an image file's content, in the background."""
        if data and not self._why:
            self._ask(Question(image=data, name=name[:100]))

    def ask_row(self, position: int) -> None:
        """Select the rows that are similar to a row of the sample, in the background."""
        if 0 <= position < self._exploration.sample.n:
            self._ask(Question(position=int(position)))

    def _ask(self, question: Question) -> None:
        if self.job is not None and not self.job.has_ended:
            self.job.cancel()
        self._question = question
        label = "embedding the question and comparing the rows"
        self.job = self._jobs.start(
            label if question.position is None else "comparing the rows",
            lambda job: answer(question, self._exploration),
            then=lambda found: self._show(question, found),
            failed=lambda error: self._fail(question, error),
        )
        self.refresh()

    def _show(self, question: Question, found: Answer) -> None:
        if question is self._question:
            self._question = None
            own = self._selection.get(KEY)
            if isinstance(own, Score) and own.vector != found.vector:
                self._by_k = True
            self._hold(found)
            self._apply()

    def _fail(self, question: Question, error: Exception) -> None:
        """End a question; the head shows why. Without a model, there will be no other."""
        if isinstance(error, (WeightsError, MissingExtraError)):
            self._why = error_line(error)
        if question is self._question:
            self._question = None
            self.refresh()

    def _follow_job(self) -> None:
        if self._question is not None and self.job is not None and self.job.state == "canceled":
            self._question = None
            self.refresh()

    def _hold(self, found: Answer) -> None:
        self._answer, self._bins = found, ScoreBins(found.scores)

    def _apply(self) -> None:
        """Set the filter of the answer, if there is one."""
        if self._answer is None:
            self.refresh()
            return
        if self._by_k:
            bound = threshold_of(self._answer.scores, self._k)
            assert bound is not None  # some row has a score
            self._at_least = bound
        filter = self._answer.at_least(self._at_least)
        self._best.pop(_rule_of(filter), None)
        if self._by_k:
            self._best[_rule_of(filter)] = self._k
            for old in list(self._best)[:-MAX_UNDO]:
                del self._best[old]
        if self._selection.get(KEY) == filter:
            self.refresh()
        else:  # the explorer refreshes all views
            self._selection.set(KEY, filter)

    # -- the page --------------------------------------------------------------------------------

    def refresh(self) -> None:
        own = self._selection.get(KEY)
        if isinstance(own, Score):
            self._adopt(own)
        elif self._answer is not None:  # it was removed
            self._answer = self._bins = None
            self._by_k = True
        self.panel.draw(
            {
                "why": self._why,
                "by": "k" if self._by_k else "at_least",
                "k": self._k,
                "at_least": None if self._by_k and own is None else self._at_least,
                "busy": self._question is not None,
                "is_active": isinstance(own, Score),
                **self._answered(own if isinstance(own, Score) else None),
            }
        )

    def _adopt(self, own: Score) -> None:
        """Follow a filter that undo, redo or code has set."""
        if self._answer is None or own.scores is not self._answer.scores:
            self._hold(Answer.of(own))
        assert self._answer is not None
        self._at_least = own.at_least
        self._by_k = _rule_of(own) in self._best
        self._k = self._best.get(_rule_of(own), self._k)

    def _answered(self, own: Score | None) -> dict[str, Any]:
        """What is shown of the answer: the question, and the histogram of its scores."""
        found, bins = self._answer, self._bins
        if found is None or bins is None or own is None:
            return {"about": "", "text": "", "histogram": None, "rows": ""}
        n = int(np.count_nonzero(own.passes(self._exploration.sample)))
        return {
            "about": printable(about(found, self._words)),
            "text": printable(found.text),
            "histogram": {
                "low": bins.low,
                "high": bins.high,
                "all": bins.counts(),
                "chosen": bins.counts(self._selection.mask(without=KEY)),
            },
            "rows": f"{counted(n, 'row')} of {found.n_known:,}",
        }

    def _receive(self, message: dict[str, Any]) -> None:
        match message:
            case {"kind": "text", "text": str(text)}:
                self.ask_text(text)
            case {"kind": "image", "data": str(data), "name": str(name)}:
                if len(data) <= _MAX_IMAGE * 4 // 3 + 4:
                    with suppress(ValueError):
                        self.ask_image(base64.b64decode(data, validate=True), name)
            case {"kind": "clear"}:
                self._selection.set(KEY, None)
                self.refresh()
            case {"kind": "k", "k": int(k)} if not isinstance(k, bool):
                self._by_k, self._k = True, max(1, min(k, max(1, self._exploration.sample.n)))
                self._apply()
            case {"kind": "at_least", "at_least": int(bound) | float(bound)}:
                if math.isfinite(bound):
                    self._by_k, self._at_least = False, float(bound)
                    self._apply()


class NoAskView:
    """A line in place of the question: what is missing without embeddings, and how to pass them.

    Parameters
    ----------
    exploration : Exploration
        Without embeddings.
    """

    def __init__(self, exploration: Exploration) -> None:
        code = f"laion-dask explore … --embeddings img_emb/ --model {EXAMPLE_MODEL}"
        if not exploration.is_command:
            frame = name_of(exploration.frame, variables()) or "frame"
            code = f"{frame}.laion.explore({example_opening(frame)})"
        why = (
            "Without embeddings, there is no map, and you cannot ask questions. ld.embed computes "
            "embeddings from images. To pass embeddings:"
        )
        self.panel = NoAskComponent(
            lambda message: None, why=why, code=code, sizing_mode="stretch_width"
        )

    def refresh(self) -> None:
        """Do nothing: the line does not depend on the selection."""


def _rule_of(filter: Score) -> _Rule:
    return filter.vector, filter.at_least


def about(found: Answer, words: RowWords) -> str:
    """What was asked, in words."""
    if found.row is not None:
        return f"like {words.of(found.row)}"
    if found.text:
        return f"like “{found.text}”"
    return f"like the image {found.image}" if found.image else "like an image"


def make_ask(exploration: Exploration, jobs: Jobs) -> AskView | NoAskView:
    """The question; without embeddings, a line that says so."""
    return NoAskView(exploration) if exploration.embeddings is None else AskView(exploration, jobs)
