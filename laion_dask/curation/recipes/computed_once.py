"""Compute each pass of a recipe, and each of its scores, once in a run.

The export, the funnel and the audit of a run are computations of their own, and each would repeat
what the steps compute. So a run has two frames: one as `Recipe.apply` makes it, for the manifest;
and one of the same rows in which the result of each pass is a value or a table on disk, and scores
are read back from such a table, by shard and row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import dask.dataframe as dd

from laion_dask.curation.recipes.apply_steps import call_verb
from laion_dask.curation.recipes.steps import StepKind
from laion_dask.curation.row_table import RowTable
from laion_dask.curation.stored_decisions import KEEP, looked_up, rows_decided, stored
from laion_dask.frame.exploded import explosion_in
from laion_dask.frame.filters import is_filter, predicate_of
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.undecided_rows import undropped_rows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime.computed_values import rebased, with_computed_values
from laion_dask.runtime.dask_expressions import Expr, new_collection
from laion_dask.schema import PROVENANCE
from laion_dask.verbs import VERBS


@dataclass
class ComputedOnce:
    """The frame of a run on which nothing is computed twice.

    Attributes
    ----------
    frame : dask DataFrame
        With the steps that are computed so far.
    of_all_rows : collection of str
        Columns that the audit reads of every row; others are computed for the rows that no earlier
        filter drops.
    """

    frame: dd.DataFrame
    of_all_rows: Collection[str] = ()
    _pending: list[tuple[StepKind, dd.DataFrame, dd.DataFrame, Mapping[str, Any]]] = field(
        default_factory=list
    )
    _tables: list[RowTable] = field(default_factory=list)
    _passes: list[dd.DataFrame] = field(default_factory=list)  # keep the folders of their results

    def call(
        self, kind: StepKind, frame: dd.DataFrame, arguments: Mapping[str, Any]
    ) -> dd.DataFrame:
        """Call the verb of a step, to be computed by `computed`. Lazy, if the verb is."""
        if not takes_pass_when_called(kind, arguments):
            after = call_verb(kind, frame, arguments)
            self._pending.append((kind, frame, after, arguments))
            return after
        before = self.computed()
        self.frame = call_verb(kind, before, arguments)
        return rebased(frame, before, self.frame)

    def computed(self) -> dd.DataFrame:
        """The frame with all steps so far. Eager: takes their passes, and computes their scores."""
        while self._pending:
            kind, before, after, arguments = self._pending.pop(0)
            if kind.depends_on_rows:
                after = call_verb(kind, self.frame, arguments)  # its pass is over this frame
                self._passes.append(after)
                after = with_computed_values(after, self.frame, label=kind.name)
            else:
                after = rebased(self.frame, before, after)
            self.frame = self.read_back(after, kind.name) if kind.is_stored else after
        return self.frame

    def read_back(self, after: dd.DataFrame, label: str) -> dd.DataFrame:
        """The frame after a step whose result is read back from a table.

        Unchanged if its rows may be repeated.
        """
        before, provenance = self.frame, Provenance.of(after)
        is_repeated = provenance.repeating_step or explosion_in(provenance.steps)
        if is_repeated or not set(PROVENANCE) <= set(before.columns):
            return after
        new = [name for name in after.columns if name not in before.columns]
        own = _own_filters(before, provenance)
        if new and not own:
            rows = self._rows(provenance, new)
            values = looked_up(before, self._table(rows, {name: name for name in new}, label))
            before = before.assign(**{name: values[name] for name in new})
        elif len(own) == 1 and not new and (rule := predicate_of(own[0])) is not None:
            (column,) = rule.columns
            rows = self._rows(Provenance.of(new_collection(own[0].frame)), [])
            before = rows_decided(before, self._table(rows, {column: KEEP}, label), rule.text)
        else:
            return after
        found: dd.DataFrame = before[list(after.columns)]
        return found

    def _rows(self, provenance: Provenance, new: list[str]) -> dd.DataFrame:
        """The rows whose values are read back."""
        if not set(new) & set(self.of_all_rows):
            rows = undropped_rows(provenance.frame, provenance.steps)
            if rows is not None:
                return rows
        return provenance.unfiltered

    def _table(self, rows: dd.DataFrame, columns: dict[str, str], label: str) -> RowTable:
        table = stored(rows, columns, label=label)
        self._tables.append(table)
        return table

    def remove(self) -> None:
        """Remove what is stored; the frame can no longer be computed.

        The scheduler of a cluster in this process may still refer to the tables.
        """
        for table in self._tables:
            table.folder.remove()


def takes_pass_when_called(kind: StepKind, arguments: Mapping[str, Any]) -> bool:
    """Whether the verb of a step computes before it returns."""
    with_vectors = any(isinstance(one, Embeddings) for one in arguments.values())
    is_pass = kind.depends_on_rows and not kind.adds_columns and with_vectors
    return is_pass or not VERBS[kind.name].is_lazy


def _own_filters(before: dd.DataFrame, after: Provenance) -> list[Expr]:
    """The filters that a step has added."""
    known = {step._name for step, _ in Provenance.of(before).steps}
    return [step for step, _ in after.steps if is_filter(step) and step._name not in known]
