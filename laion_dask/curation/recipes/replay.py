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
from laion_dask.curation.recipes.run_record import embeddings_record, escaped_tree, open_recorded
from laion_dask.curation.recipes.step_files import step_files
from laion_dask.curation.recipes.steps import STEPS
from laion_dask.errors import ColumnError, RecipeError, must_be
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.manifest import current_versions
from laion_dask.formatting import counted
from laion_dask.frame.accounting import Rows
from laion_dask.frame.filter_text import MASK, STEP
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.shard import shards_of
from laion_dask.io.storage.export_manifest import MANIFEST, current_manifest, read_manifest
from laion_dask.io.storage.paths import filesystem
from laion_dask.predicate.clauses import named_columns
from laion_dask.schema import PROVENANCE

#: What a manifest records besides the shards and embeddings of a run.
_RECORDS = {
    "models": "A model or weight file of the run",
    "joins": "A table that the run joined",
    "lists": "A list of the run",
    "where": "A rule of the run, or the list that it reads,",
}


@dataclass(frozen=True)
class Replay:
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
        differs, or when the rows do; names what differs. ``to`` is then unchanged.
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
        _compare_parts(path, manifest, rows, parts)

    try:
        done = carve(prepared_run, target, check=check)
    finally:
        if to is None:
            shutil.rmtree(target, ignore_errors=True)
    return Replay(path, None if to is None else target, done.rows, len(manifest["parts"]))


def _prepared(path: str, manifest: Mapping[str, Any], run: Mapping[str, Any]) -> Prepared:
    """The run, with the inputs of the manifest, and nothing else."""
    recipe = Definition.from_tree(run["recipe"], f"the recipe in {path}")
    options = {**run["export"], "rows_per_part": manifest["rows_per_part"]}
    if "files" in run:
        _compare(run["files"], step_files(recipe.resolved(), options), "list or other input")
    frame = _opened(path, recipe, run)
    _compare_inputs(manifest["inputs"], frame)
    vectors = {name: open_recorded(one, frame) for name, one in run["embeddings"].items()}
    for name, one in run["embeddings"].items():
        now = embeddings_record(vectors[name])["files"]
        _compare(one["files"], now, f"file of the {name} embeddings")
    result = prepared(recipe, run["source"], vectors, None, options)
    _compare_records(manifest, json.loads(json.dumps(_records(result.provenance))))
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
    texts = manifest["where"]
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


def _compare_inputs(recorded: Sequence[Mapping[str, Any]], frame: dd.DataFrame) -> None:
    shards = [
        {"path": s.path, "rows": s.n_rows, "bytes": s.size, "footer_sha256": s.footer_sha256}
        for s in {s.index: s for s in shards_of(Provenance.of(frame).partitions)}.values()
    ]
    _compare(
        [{k: one[k] for k in shards[0]} for one in recorded] if shards else [], shards, "input"
    )


def _compare(
    recorded: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], what: str
) -> None:
    """Raise for the first file that differs."""
    if len(recorded) != len(now):
        before, after = ([_file_of(one) for one in files] for files in (recorded, now))
        gone = [f"{name} is missing" for name in before if name not in after]
        added = [f"{name} is new" for name in after if name not in before]
        named = "".join(f" {change}." for change in (gone + added)[:1])
        raise RecipeError(
            f"The {what} had {counted(len(recorded), 'file')}, and now there are {len(now):,}."
            f"{named} Replay needs the files of the run."
        )
    for old, new in zip(recorded, now, strict=True):
        for key, value in old.items():
            if new.get(key) != value:
                raise RecipeError(
                    f"The {what} {_file_of(old)} differs in {key}: it was {value!r}, and now it is "
                    f"{new.get(key)!r}. Replay needs the files of the run."
                )


def _file_of(record: Mapping[str, Any]) -> Any:
    return record.get("path", record.get("name", record.get("list")))


def _compare_parts(
    path: str, manifest: Mapping[str, Any], rows: Rows, parts: Sequence[WrittenPart]
) -> None:
    counts = rows.counts
    old = [
        file["sha256"] for one in manifest["parts"] for file in (one, *one.get("companions", ()))
    ]
    new = [file.sha256 for part in parts for file in part.files]
    if counts == manifest["counts"] and old == new:
        return
    now = current_versions()
    versions = [
        f"{name} {version} (now {now.get(name)})"
        for name, version in manifest["versions"].items()
        if now.get(name, version) != version
    ]
    cause = (
        f"Different versions: {', '.join(versions)}"
        if versions
        else "The versions, and the sizes and digests that the manifest records, are the same, so "
        "the data themselves differ: run laion-dask verify on the export and on its inputs"
    )
    changed = "" if counts == manifest["counts"] else f" {manifest['counts']} became {counts}."
    raise RecipeError(f"The rows differ from those of {path}.{changed} {cause}.")


def _compare_records(manifest: Mapping[str, Any], now: Mapping[str, Sequence[Any]]) -> None:
    """Raise if a model, table, list or rule differs from the one that was used."""
    for key, what in _RECORDS.items():
        for old in manifest.get(key, ()):
            if isinstance(old, Mapping):
                old = {name: value for name, value in old.items() if name != "duplicates_left_out"}
            if old not in now[key]:
                raise RecipeError(
                    f"{what} differs{_differing(old, now[key])}: it was {old}. Replay "
                    "needs the files of the run."
                )


def _differing(old: Any, now: Sequence[Any]) -> str:
    """The keys in which a record differs from every other."""
    if not isinstance(old, Mapping):
        return ""
    names = [key for key in old if all(old[key] != one.get(key) for one in now)]
    return f" in {', '.join(names)}" if names else ""
