"""Apply the steps of a recipe to a frame, cheap filters before embeddings are touched.

A step that only adds scores from embeddings gives a row the same value whatever other rows there
are. A clause of a later ``where`` that reads none of its columns is therefore applied first. It
never moves over a step that depends on which rows there are, such as ``dedup``, ``top`` or
``neg_clip_loss``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeAlias

import dask.dataframe as dd

from laion_dask.curation.recipes import inputs, needs
from laion_dask.curation.recipes.definition import Definition
from laion_dask.curation.recipes.steps import STEPS, StepKind
from laion_dask.curation.recipes.validation import at_step
from laion_dask.errors import ColumnError, LaionDaskError, ProvenanceError
from laion_dask.frame import funnel
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import heads
from laion_dask.predicate.clauses import clause_texts, named_columns
from laion_dask.schema import PROVENANCE
from laion_dask.verbs import VERBS

#: The characters of an argument that is shown.
_LONGEST = 200
#: Applies a step to a frame: ``call(kind, frame, arguments)``.
Call: TypeAlias = Callable[[StepKind, dd.DataFrame, Mapping[str, Any]], dd.DataFrame]


@dataclass(frozen=True)
class Taken:
    """A step that was taken.

    Attributes
    ----------
    number : int
        Its position in the recipe, from 0; -1 for a removal list.
    kind : StepKind
    arguments : dict
        As in the recipe: embeddings by name.
    """

    number: int
    kind: StepKind
    arguments: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The step in one line."""
        if set(self.arguments) == {self.kind.main}:
            return f"{self.kind.name}: {self.arguments[self.kind.main]}"
        shown = ", ".join(f"{name}={_short(value)}" for name, value in self.arguments.items())
        return f"{self.kind.name}: {shown}"


@dataclass
class Application:
    """A frame that goes through the steps of a recipe.

    Attributes
    ----------
    recipe : Recipe
        With its parameters replaced.
    frame : dask DataFrame
    source : dask DataFrame
        The frame before the first step.
    vectors : dict of str to Embeddings
    call : callable
        Applies one step; `call_verb`, unless steps are only planned.
    taken : list of Taken
        In the order in which they run.
    clauses : list of int
        For each step that was taken, the number of clauses in the funnel up to it.
    not_counted : list of str
        Steps that a plan does not count.
    clauses_before : int
        The number of clauses before the first step.
    left_out : list of (int, str)
        Steps whose conditions do not hold: the number in the document, from 1, and why.
    """

    recipe: Definition
    frame: dd.DataFrame
    vectors: Mapping[str, Embeddings]
    call: Call
    taken: list[Taken] = field(default_factory=list)
    clauses: list[int] = field(default_factory=list)
    clauses_before: int = 0
    not_counted: list[str] = field(default_factory=list)
    source: dd.DataFrame | None = None
    left_out: list[tuple[int, str]] = field(default_factory=list)
    _scores: list[Taken] = field(default_factory=list)

    def apply(self) -> Application:
        """Apply every step.

        Raises
        ------
        RecipeError
            Names the step.
        """
        self.source = self.frame
        self.clauses_before = _clause_count(self.frame)
        removals = [{"exclude": _exclusion(one)} for one in self.recipe.removal_lists]
        numbered = list(enumerate(self.recipe.steps))
        for number, step in [
            *((-1, one) for one in removals),
            *numbered,
            *((-1, one) for one in removals),
        ]:
            self._step(number, step)
        self._apply_scores()
        return self

    def _step(self, number: int, step: Mapping[str, Any]) -> None:
        (name,) = (key for key in step if key in STEPS)
        kind, arguments = STEPS[name], step[name]
        if len(step) > 1:
            self._apply_scores()  # a condition may concern their columns
        reason = unmet_condition(step, self.frame)
        if reason:
            self.left_out.append((self.recipe.document.step_number(number), reason))
            return
        if kind.adds_columns and kind.needs_embeddings and not kind.depends_on_rows:
            self._scores.append(Taken(number, kind, arguments))
        elif name == "where" and self._scores:
            self._where(number, kind, arguments)
        else:
            self._apply_scores()
            self._take(Taken(number, kind, arguments))

    def _where(self, number: int, kind: StepKind, arguments: Mapping[str, Any]) -> None:
        parts = [
            Taken(number, kind, {"expression": e}) for e in clause_texts(arguments["expression"])
        ]
        known = set(self.frame.columns)
        first = [p for p in parts if named_columns(p.arguments["expression"]) <= known]
        for part in first:
            self._take(part)
        if len(first) < len(parts):
            self._apply_scores()
        for part in parts:
            if part not in first:
                self._take(part)

    def _apply_scores(self) -> None:
        scores, self._scores = self._scores, []
        for one in scores:
            self._take(one)

    def _take(self, step: Taken) -> None:
        arguments = dict(step.arguments)
        try:
            for argument, role in needs.roles_of(step.kind, arguments).items():
                arguments[argument] = inputs.named(self.vectors, role, step.kind.name)
            arguments |= {name: self.source for name in step.kind.frames if name in arguments}
            if "seed" in step.kind.parameters:
                arguments.setdefault("seed", self.recipe.seed)
            self.frame = self.call(step.kind, self.frame, arguments)
        except LaionDaskError as error:
            shown = self._without_columns(step) if isinstance(error, ColumnError) else None
            raise at_step(self.recipe.document, step.number, shown or error) from error
        self.taken.append(step)
        self.clauses.append(_clause_count(self.frame))

    def _without_columns(self, step: Taken) -> ColumnError | None:
        """The error of a step whose columns the source does not have, and no step adds."""
        assert self.source is not None
        known = list(map(str, self.frame.columns))
        lacking = sorted(needs.columns_of(step.kind, step.arguments) - set(known))
        if not lacking or any(get_close_matches(name, known) for name in lacking):
            return None  # the error of the verb names the nearest column
        there = sorted({*map(str, self.source.columns)} - {*PROVENANCE})
        return ColumnError(
            f"{step.text} needs {', '.join(lacking)}, which the source does not have. The source "
            f"has {', '.join(there)}. If a column has another name there, rename it while reading "
            f"(--rename ITS_NAME={lacking[0]})."
        )


def _short(value: object) -> str:
    """The repr of a value, cut if it is long: a lasso has a thousand points."""
    text = repr(value)
    return text if len(text) <= _LONGEST or isinstance(value, str) else f"{text[: _LONGEST - 1]}…"


def call_verb(kind: StepKind, frame: dd.DataFrame, arguments: Mapping[str, Any]) -> dd.DataFrame:
    """Call the verb of a step."""
    function, arguments = VERBS[kind.name].load(), dict(arguments)
    names = arguments.pop("heads", None) if kind.name == "score" else None
    if names is not None:
        embeddings = arguments.pop("embeddings")
        names = [names] if isinstance(names, str) else names
        chosen = [heads.by_name(one, embeddings.model) for one in names]
        scored: dd.DataFrame = function(frame, embeddings, *chosen, **arguments)
        return scored
    result: dd.DataFrame = function(frame, **arguments)
    return result


def unmet_condition(step: Mapping[str, Any], frame: dd.DataFrame) -> str:
    """Why a step is left out, by the columns of a frame; empty if it is taken."""
    missing, present = step.get("if_missing"), step.get("if_present")
    if missing is not None and missing in frame.columns:
        return f"there is a column {missing}"
    if present is not None and present not in frame.columns:
        return f"no column {present}"
    return ""


def left_out_texts(recipe: Definition, application: Application) -> tuple[str, ...]:
    """The steps of a recipe that were left out, and why, one line each."""
    steps = sorted([*recipe.unset_steps(), *application.left_out])
    return tuple(f"step {number} left out: {reason}" for number, reason in steps)


def _clause_count(frame: dd.DataFrame) -> int:
    try:
        return len(funnel.clause_texts(frame))
    except ProvenanceError:  # a step of the user's own: there will be no funnel
        return 0


def _exclusion(entry: str | Mapping[str, Any]) -> dict[str, Any]:
    return dict(entry) if isinstance(entry, Mapping) else {"list": entry}
