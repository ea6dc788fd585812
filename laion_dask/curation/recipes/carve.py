"""Run a recipe: apply its steps to a frame, and export the rows that it keeps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd
import pandas as pd

from laion_dask.aggregations.audit import audit, check_axes, default_axes
from laion_dask.aggregations.grouping.base import axes
from laion_dask.curation.recipes import inputs
from laion_dask.curation.recipes.apply_steps import Application, call_verb, left_out_texts
from laion_dask.curation.recipes.carve_result import Carve, funnel_by_step
from laion_dask.curation.recipes.computed_once import ComputedOnce
from laion_dask.curation.recipes.definition import Definition
from laion_dask.curation.recipes.export_options import check_options, plain_options, with_vectors
from laion_dask.curation.recipes.run_record import run_record
from laion_dask.errors import DeviceLostError
from laion_dask.exports.documents import as_csv
from laion_dask.exports.export import export_with_notes
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.frame.accounting import Rows
from laion_dask.frame.provenance import Provenance
from laion_dask.io.storage.spill import removed_on_error
from laion_dask.stats.table import Table

#: The columns that the default audit groups by.
_DEFAULT = {"language", "text"}


@dataclass(frozen=True)
class Prepared:
    """A run whose steps are applied, and nothing is exported yet.

    Attributes
    ----------
    recipe : Recipe
    application : Application
    provenance : Provenance
        Of the rows that are kept.
    once : ComputedOnce
        The same rows, to compute.
    by : see `Recipe.run`
    export : dict
        The arguments of `laion_dask.export`.
    record : dict
        See `run_record`.
    """

    recipe: Definition
    application: Application
    provenance: Provenance
    once: ComputedOnce
    by: Any
    export: dict[str, Any]
    record: dict[str, Any]

    @property
    def identity(self) -> str | None:
        """What the rows follow from, besides the shards; None if the source is a user's frame."""
        source = self.application.source
        if source is None or (self.record["source"] is None and "paths" not in self.recipe.source):
            return None
        return json.dumps([source._name, self.record, self.provenance.lists], sort_keys=True)


def prepared(
    recipe: Definition,
    source: inputs.Source | None,
    embeddings: inputs.EmbeddingsArgument,
    model: Any,
    export: Mapping[str, Any],
    by: Any = None,
) -> Prepared:
    """Apply the steps of a recipe. Lazy, except for steps whose verbs are not.

    Raises
    ------
    RecipeError, ColumnError, OptionError
    """
    resolved, source = recipe.resolved(), inputs.listed(source)
    frame = inputs.open_source(resolved, source)
    vectors = inputs.open_all(embeddings, model, frame)
    plain = plain_options({**resolved.export, "seed": resolved.seed, **export})
    options = with_vectors(plain, vectors)
    check_options(options)
    if by is None and (asked := options.pop("audit", False)) and not isinstance(asked, bool):
        by = asked  # the audit of the run is the one that the export asks for
    named = axes(by) if by else ()
    read = _DEFAULT if by is None else {name for axis in named for name in axis.reads}
    once = ComputedOnce(frame, read)
    with removed_on_error():
        application = Application(resolved, frame, vectors, once.call).apply()
    provenance = Provenance.of(application.frame)
    if named:
        check_axes(provenance.unfiltered, named)
    record = run_record(resolved, source, vectors, plain)
    return Prepared(recipe, application, provenance, once, by, options, record)


def carve(
    run: Prepared,
    out: str | os.PathLike[str],
    check: Callable[[Rows, Sequence[WrittenPart]], None] | None = None,
) -> Carve:
    """Export the rows of a run; see `Recipe.run`.

    ``check`` may raise once the parts are written, before they are visible.
    """
    results: dict[str, Any] = {}
    left_out = left_out_texts(run.recipe, run.application)

    def notes(rows: Rows, parts: Sequence[WrittenPart], read: Provenance) -> tuple:
        if check is not None:
            check(rows, parts)
        results["funnel"] = funnel_by_step(read, rows, run.application)
        results["audit"] = audited = _audit(read, run.by)
        entries = {
            "recipe": run.recipe.tree,
            "run": run.record,
            "funnel": results["funnel"].to_dict("records"),
            **({"left_out": list(left_out)} if left_out else {}),
            "audit": _records(audited),
        }
        return entries, {} if audited is None else {"_audit.csv": as_csv(audited)}

    def computed() -> dd.DataFrame:
        try:
            return run.once.computed()
        except DeviceLostError:
            if run.export.get("strict", True):
                raise
            return run.application.frame  # the export sets aside what ends workers

    try:
        with removed_on_error():
            frame, identity = run.application.frame, run.identity
            done = export_with_notes(frame, out, notes, computed, identity, **run.export)
    finally:
        run.once.remove()
    return Carve(run.recipe, done, results["funnel"], results["audit"], left_out)


def _audit(provenance: Provenance, by: Any) -> Table | None:
    before = provenance.unfiltered
    groups = default_axes(before) if by is None else by
    return audit(before, provenance.frame, groups) if groups else None


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """A table as plain values; NaN as None."""
    if table is None:
        return []
    text: str = pd.DataFrame(table).to_json(orient="records", double_precision=15)
    records: list[dict[str, Any]] = json.loads(text)
    return records


def applied(
    recipe: Definition, frame: dd.DataFrame, embeddings: inputs.EmbeddingsArgument
) -> dd.DataFrame:
    """See `Recipe.apply`."""
    resolved = recipe.resolved()
    vectors = inputs.open_all(embeddings, None, frame)
    return Application(resolved, frame, vectors, call_verb).apply().frame
