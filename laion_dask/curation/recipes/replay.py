"""Carve the same rows again, from the manifest of an export."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd

from laion_dask.curation.recipes.carve import Prepared, carve, prepared
from laion_dask.curation.recipes.definition import Definition
from laion_dask.curation.recipes.inputs import open_source
from laion_dask.curation.recipes.replay_comparison import (
    compare_files,
    compare_inputs,
    compare_parts,
    compare_records,
)
from laion_dask.curation.recipes.run_record import embeddings_record, escaped_tree, open_recorded
from laion_dask.curation.recipes.step_files import step_files
from laion_dask.curation.recipes.steps import STEPS
from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import ColumnError, ExportError, RecipeError, ShardError, must_be
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.verify import verify
from laion_dask.formatting import counted
from laion_dask.frame.accounting import Rows
from laion_dask.frame.filter_text import MASK, STEP
from laion_dask.frame.provenance import Provenance
from laion_dask.io.storage.export_manifest import MANIFEST, current_manifest, read_manifest
from laion_dask.io.storage.paths import filesystem
from laion_dask.predicate.clauses import named_columns
from laion_dask.schema import PROVENANCE


@dataclass(frozen=True)
class Replay(Displayed):
    """A carve that was made again, bit for bit.

    Attributes
    ----------
    path : str
        The export that was replayed.
    to : str or None
        The folder of the new export; None if it was only compared.
    rows : Rows
    parts : int
        The number of files, whose sha256 are equal.
    """

    path: str
    to: str | None
    rows: Rows
    parts: int

    def _overview(self) -> Overview:
        facts = {
            "rows": str(self.rows),
            "parts": f"{self.parts:,}, with the same bytes",
            "replayed": self.path,
            "new export": self.to,
        }
        return Overview("Replay", facts)

    def __str__(self) -> str:
        where = "" if self.to is None else f", now also in {self.to}"
        return f"{self.rows}\nThe same bytes in {counted(self.parts, 'part')} as {self.path}{where}"

    __repr__ = __str__


def replay(out: str | os.PathLike[str], to: str | os.PathLike[str] | None = None) -> Replay:
    """Carve an export again, and compare every byte of its parts. Eager.

    Parameters
    ----------
    out : str or path
        The folder of an export, or its manifest ``_recipe.json``.
    to : str or path, optional
        A folder for the new export. By default it is compared and removed.

    Returns
    -------
    Replay

    Raises
    ------
    RecipeError
        When an input is missing or has another size or digest, when a model, weight or list
        differs, or when the rows do; names what differs. ``to`` is then unchanged. Also when the
        rows are the same, but the files in the folder ``out`` are no longer those that were
        written.
    ShardNotFoundError, ShardError
        When there is no manifest, or it is damaged.

    Examples
    --------
    >>> import laion_dask as ld
    >>> recipe = ld.Recipe("wide").where("width >= 256")
    >>> carve = recipe.run("demo-corpus/embedded/metadata", "wide")
    >>> print(ld.replay("wide").rows == carve.rows)
    True
    """
    must_be("out", out, (str, os.PathLike), "the folder of an export")
    path = os.fspath(out)
    manifest = _manifest(path)
    run = manifest.get("run") or _run_of_export(path, manifest)
    if run["source"] is None and "paths" not in run["recipe"].get("source", {}):
        raise RecipeError(
            f"{path} was carved from a frame, not from paths, so its source is not recorded. Run "
            "the recipe on the paths of the shards to be able to replay it."
        )
    prepared_run = _prepared(path, manifest, run)
    target = os.fspath(to) if to is not None else tempfile.mkdtemp(prefix="laion_dask-replay-")

    def check(rows: Rows, parts: Sequence[WrittenPart]) -> None:
        compare_parts(path, manifest, rows, parts)

    try:
        done = carve(prepared_run, target, check=check)
    finally:
        if to is None:
            shutil.rmtree(target, ignore_errors=True)
    if not path.endswith(".json"):
        _check_files(path, to)
    return Replay(path, None if to is None else target, done.rows, len(manifest["parts"]))


def _check_files(path: str, to: str | os.PathLike[str] | None) -> None:
    """Raise unless the files of the export that was replayed are those of its manifest."""
    try:
        verify(path)
    except (ExportError, ShardError) as error:
        place = "" if to is None else f", and are in {os.fspath(to)}"
        raise RecipeError(
            f"The rows are those that the manifest of {path} records{place}. But its own files "
            f"were altered: {error}"
        ) from error


def _prepared(path: str, manifest: Mapping[str, Any], run: Mapping[str, Any]) -> Prepared:
    """The run, with the inputs of the manifest, and nothing else."""
    recipe = Definition.from_tree(run["recipe"], f"the recipe in {path}")
    options = {**run["export"], "rows_per_part": manifest["rows_per_part"]}
    if "files" in run:
        compare_files(run["files"], step_files(recipe.resolved(), options), "list or other input")
    frame = _opened(path, recipe, run)
    compare_inputs(manifest["inputs"], frame)
    vectors = {name: open_recorded(one, frame) for name, one in run["embeddings"].items()}
    for name, one in run["embeddings"].items():
        now = embeddings_record(vectors[name])["files"]
        compare_files(one["files"], now, f"file of the {name} embeddings")
    result = prepared(recipe, run["source"], vectors, None, options)
    compare_records(manifest, json.loads(json.dumps(_records(result.provenance))))
    return result


def _records(provenance: Provenance) -> dict[str, list[Any]]:
    """What a manifest records of the models, tables, lists and rules of a frame."""
    recipes = provenance.recipes
    return {
        "models": [one for one in recipes if "join" not in one],
        "joins": [one for one in recipes if "join" in one],
        "lists": provenance.lists,
        "where": provenance.filters,
    }


def _manifest(path: str) -> dict[str, Any]:
    fs, folder = filesystem(path)
    if folder.endswith(".json"):
        return read_manifest(fs, folder).content
    found = current_manifest(fs, folder.rstrip("/"))
    if found is None:
        raise RecipeError(f"{path} is not an export: it has no {MANIFEST}. Name its folder.")
    return found.content


def _run_of_export(path: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an export that no recipe made, if filters alone made it."""
    reason = _beyond_filters(manifest)
    if reason is not None:
        raise RecipeError(
            f"{path} was not made by a recipe, and its manifest does not say enough to make it "
            f"again ({reason}). Write the steps as a recipe, and run that."
        )
    columns = _columns(manifest)
    source = {"columns": columns, "rename": manifest["renamed"]}
    tree = {
        "name": "export",
        "source": {key: value for key, value in source.items() if value},
        "steps": [{"where": text} for text in manifest["where"]] or [{"where": "row is not None"}],
    }
    paths = [one["path"] for one in manifest["inputs"]]
    export = {"seed": manifest["seed"], "format": manifest.get("format", "parquet")}
    export |= manifest.get("format_options", {})
    return {"recipe": escaped_tree(tree), "source": paths, "embeddings": {}, "export": export}


def _beyond_filters(manifest: Mapping[str, Any]) -> str | None:
    """What made an export besides filters of the columns that it has; None if nothing did."""
    texts, computed = manifest["where"], manifest.get("computed")
    if computed:
        return str(computed[0])
    others = [t for t in texts if t.startswith((MASK, STEP)) or t.partition("(")[0] in STEPS]
    if others or manifest["models"] or manifest["joins"]:
        return others[0] if others else "scores or a join"
    dropped = set().union(*map(named_columns, texts)) - {*_columns(manifest), *PROVENANCE}
    if dropped:
        return f"the column {min(dropped)!r} was dropped after a filter had read it"
    given = {"images", "embeddings"} & set(manifest.get("format_options", {}))
    return f"the format was given {min(given)}" if given else None


def _columns(manifest: Mapping[str, Any]) -> list[str]:
    return [one["name"] for one in manifest["schema"] if one["name"] not in PROVENANCE]


def _opened(path: str, recipe: Definition, run: Mapping[str, Any]) -> dd.DataFrame:
    try:
        return open_source(recipe.resolved(), run["source"])
    except ColumnError as error:
        raise RecipeError(
            f"{path} has columns that its inputs do not have: {error} If they were added after the "
            "shards were read, write that as steps of a recipe, and run it."
        ) from error
