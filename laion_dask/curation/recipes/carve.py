"""Run a recipe: apply its steps to a frame, and export the rows that it keeps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import dask.dataframe as dd
import pandas as pd

from laion_dask.aggregations.audit import audit, default_axes
from laion_dask.curation.recipes import inputs
from laion_dask.curation.recipes.apply_steps import Application, call_verb
from laion_dask.curation.recipes.carve_result import Carve, funnel_by_step
from laion_dask.curation.recipes.definition import Definition
from laion_dask.exports.export import export_with_notes
from laion_dask.frame.accounting import Rows
from laion_dask.frame.provenance import Provenance
from laion_dask.stats.table import Table


def carve(
    recipe: Definition,
    source: inputs.Source,
    out: str | os.PathLike[str],
    embeddings: inputs.EmbeddingsArgument,
    *,
    model: Any,
    by: Any,
    export: Mapping[str, Any],
) -> Carve:
    """See `Recipe.run`."""
    resolved = recipe.resolved()
    frame = inputs.open_source(resolved, source)
    vectors = inputs.open_all(embeddings, model, frame)
    application = Application(resolved, frame, vectors, call_verb).apply()
    carved = application.frame
    provenance = Provenance.of(carved)
    results: dict[str, Any] = {}

    def notes(rows: Rows) -> dict[str, Any]:
        results["funnel"] = funnel_by_step(provenance, rows, application)
        results["audit"] = _audit(provenance, by)
        return {
            "recipe": recipe.tree,
            "funnel": results["funnel"].to_dict("records"),
            "audit": _records(results["audit"]),
        }

    options = {**resolved.export, "seed": resolved.seed, **export}
    done = export_with_notes(carved, out, notes, **options)
    return Carve(recipe, done, results["funnel"], results["audit"])


def _audit(provenance: Provenance, by: Any) -> Table | None:
    before = provenance.unfiltered
    axes = default_axes(before) if by is None else by
    return audit(before, provenance.frame, axes) if axes else None


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
