"""What a run of a recipe would read and compute, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from typing import Any

import dask.dataframe as dd
import pandas as pd

from laion_dask.aggregations.audit import default_axes
from laion_dask.curation.recipes import inputs
from laion_dask.curation.recipes.apply_steps import Application, Taken, call_verb, left_out_texts
from laion_dask.curation.recipes.computed_once import ComputedOnce, takes_pass_when_called
from laion_dask.curation.recipes.definition import Definition
from laion_dask.curation.recipes.needs import roles_of
from laion_dask.curation.recipes.steps import StepKind
from laion_dask.curation.row_table import RowTable
from laion_dask.curation.stored_decisions import not_stored
from laion_dask.display.grid import Grid
from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import ColumnError, RecipeError
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.planning.passes import IN_FRAME
from laion_dask.planning.plan import Plan, plan
from laion_dask.planning.step import Step
from laion_dask.schema import PROVENANCE
from laion_dask.verbs import VERBS

#: The line of the filters of the source and of earlier steps, and the numbers that add up.
_FILTERS = "filters"
_FILTER_RATES = ("where",)
_SUMMED = ("rows", "metadata_bytes", "embedding_bytes")


@dataclass(frozen=True)
class CarvePlan(Displayed):
    """An estimate of a run. Prints as two tables: the steps, and their costs.

    Attributes
    ----------
    steps : pandas.DataFrame
        The steps in the order in which they run: ``step`` (its position in the YAML, from 1; 0
        for a removal list), ``does`` (str), ``embeddings`` (str, the embeddings that it reads, by
        name), ``passes`` (int, over the rows before the export).
    cost : Plan
        Rows, bytes, time and memory, by measured rates; see `laion_dask.plan`.
    not_counted : tuple of str
        Steps that the cost does not include, because they need embeddings, or columns computed from
        embeddings, and these were not given.
    left_out : tuple of str
        Steps that a run would not take, and why.

    Examples
    --------
    >>> import laion_dask as ld
    >>> plan = ld.recipe("laion-high-resolution").plan("demo-corpus/embedded/metadata")
    >>> plan.needs_embeddings, plan.steps["does"].tolist()
    (False, ['where: width >= 1024 and height >= 1024'])
    """

    steps: pd.DataFrame
    cost: Plan
    not_counted: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """The rows of the source, before any step."""
        return self.cost.rows

    @property
    def bytes_read(self) -> int:
        """Bytes read by all passes."""
        return self.cost.bytes_read

    @property
    def seconds(self) -> float:
        """Seconds of all passes; NaN if one has no measured rate."""
        return self.cost.seconds

    @property
    def needs_embeddings(self) -> bool:
        """Whether a step reads embeddings."""
        return bool((self.steps["embeddings"] != "").any())

    def notes(self) -> list[str]:
        """What is not counted, and the assumptions of the numbers."""
        return [*self._not_counted(), *self.cost.notes()]

    def __str__(self) -> str:
        shown = self.steps.assign(does=self.steps["does"].str.slice(0, 70))
        table = "No step." if shown.empty else shown.to_string(index=False)
        return "\n\n".join([table, *self._not_counted(), str(self.cost)])

    __repr__ = __str__

    def _not_counted(self) -> list[str]:
        notes = ["\n".join(self.left_out)] if self.left_out else []
        if self.not_counted:
            steps = "; ".join(self.not_counted)
            notes.append(f"Not counted, because embeddings were not given: {steps}.")
        return notes

    def _overview(self) -> Overview:
        steps = Grid.of(self.steps, heading="Steps")
        return self.cost._overview().below(steps, self._not_counted())


class _Planned(Application):
    """Steps that are planned; those that lack embeddings are only noted."""

    def _take(self, step: Taken) -> None:
        missing = set(roles_of(step.kind, step.arguments).values()) - set(self.vectors)
        try:
            if not missing:
                super()._take(step)
                return
        except RecipeError as error:
            if not (self.not_counted and isinstance(error.__cause__, ColumnError)):
                raise
        self.taken.append(step)
        self.not_counted.append(step.text)


class _Stored(ComputedOnce):
    """Reads back what a run will store, and stores nothing."""

    def _table(self, rows: dd.DataFrame, columns: dict[str, str], label: str) -> RowTable:
        return not_stored(rows, columns)


def plan_of(
    recipe: Definition,
    source: inputs.Source | None,
    embeddings: inputs.EmbeddingsArgument,
    *,
    model: Any,
    **options: Any,
) -> CarvePlan:
    """See `Recipe.plan`."""
    resolved = recipe.resolved()
    frame = inputs.open_source(resolved, source)
    vectors = inputs.open_all(embeddings, model, frame)
    passes: list[Plan] = []

    def call(kind: StepKind, frame: dd.DataFrame, arguments: Mapping[str, Any]) -> dd.DataFrame:
        takes_pass = takes_pass_when_called(kind, arguments)
        after = frame if takes_pass else call_verb(kind, frame, arguments)
        new = [name for name in after.columns if name not in frame.columns]
        if new and kind.is_stored:
            taken = plan(after[[*PROVENANCE, *new]], "where", **options)
            steps = (*map(_of_a_pass, taken.steps[:-1]), _stored_by(taken.steps[-1], new))
            passes.append(replace(taken, steps=steps))
        elif kind.depends_on_rows or kind.is_stored:
            chosen = next((v for v in arguments.values() if isinstance(v, Embeddings)), None)
            passes.append(plan(frame, _costed(kind, arguments), embeddings=chosen, **options))
        if not kind.is_stored or takes_pass:
            return after
        return _Stored(frame).read_back(after, kind.name)

    application = _Planned(resolved, frame, vectors, call).apply()
    passes.append(plan(application.frame, _verbs_of_a_run(application.frame), **options))
    all_steps = [step for one in passes for step in _with_filters_folded(one.steps)]
    rows = [_row(one, resolved) for one in application.taken]
    table = pd.DataFrame(rows, columns=["step", "does", "embeddings", "passes"])
    cost = replace(passes[-1], steps=tuple(all_steps), data=passes[0].data)
    left_out = left_out_texts(recipe, application)
    return CarvePlan(table, cost, tuple(application.not_counted), left_out)


def _costed(kind: StepKind, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """The verb of a step with the arguments that its cost depends on, as `plan` takes it."""
    parameters = list(signature(VERBS[kind.name].load_cost()).parameters.values())[1:]
    if any(one.kind is Parameter.VAR_POSITIONAL for one in parameters):
        return (kind.name,)
    found = {one.name: arguments[one.name] for one in parameters if one.name in arguments}
    return (kind.name, found) if found else (kind.name,)


def _verbs_of_a_run(frame: dd.DataFrame) -> list[Any]:
    """The verbs that a run computes at its end; each reads back what the steps have stored."""
    return ["export", "funnel", *(["audit"] if default_axes(frame) else [])]


def _of_a_pass(step: Step) -> Step:
    """A column that a run computes once, by its name."""
    if step.rates == _FILTER_RATES:
        return step
    return replace(step, name=step.name.removeprefix(IN_FRAME), notes=())


def _stored_by(step: Step, columns: Sequence[str]) -> Step:
    """The last step of a pass that stores columns."""
    return replace(step, name=f"store {', '.join(columns)}", notes=())


def _with_filters_folded(steps: Sequence[Step]) -> list[Step]:
    """The steps, with the filters of earlier steps as the first one, if there are any.

    Each verb of a run applies them again; what they filter by is computed once, and read back.
    """
    filters = [one for one in steps if one.rates == _FILTER_RATES and one.name.startswith(IN_FRAME)]
    if not filters:
        return list(steps)
    sums = {name: sum(getattr(one, name) for one in filters) for name in _SUMMED}
    notes = (f"{_FILTERS}: applied by each pass, to what earlier steps have computed once",)
    folded = replace(
        max(filters, key=lambda one: one.row_memory), name=_FILTERS, notes=notes, **sums
    )
    return [folded, *(one for one in steps if one not in filters)]


def _row(step: Taken, recipe: Definition) -> tuple[int, str, str, int]:
    roles = ", ".join(roles_of(step.kind, step.arguments).values())
    number = recipe.document.step_number(step.number)
    return number, step.text, roles, int(step.kind.depends_on_rows or step.kind.is_stored)
