"""Compare what a replay finds, and makes, with what the manifest of an export records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.dataframe as dd

from laion_dask.errors import RecipeError
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.manifest import current_versions
from laion_dask.formatting import counted
from laion_dask.frame.accounting import Rows
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.shard import shards_of

#: What a manifest records besides the shards and embeddings of a run.
_RECORDS = {
    "models": "A model or weight file of the run",
    "joins": "A table that the run joined",
    "lists": "A list of the run",
    "where": "A rule of the run, or the list that it reads,",
}


def compare_inputs(recorded: Sequence[Mapping[str, Any]], frame: dd.DataFrame) -> None:
    """Raise for the first shard that differs in path, rows, size or footer."""
    shards = [
        {"path": s.path, "rows": s.n_rows, "bytes": s.size, "footer_sha256": s.footer_sha256}
        for s in {s.index: s for s in shards_of(Provenance.of(frame).partitions)}.values()
    ]
    compare_files(
        [{k: one[k] for k in shards[0]} for one in recorded] if shards else [], shards, "input"
    )


def compare_files(
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


def compare_records(manifest: Mapping[str, Any], now: Mapping[str, Sequence[Any]]) -> None:
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


def compare_parts(
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
    if "run" not in manifest:
        cause += (
            ". Or the frame had steps besides filters that its manifest does not name, such as a "
            "sort; then write the steps as a recipe, and run that"
        )
    changed = "" if counts == manifest["counts"] else f" {manifest['counts']} became {counts}."
    raise RecipeError(f"The rows differ from those of {path}.{changed} {cause}.")
