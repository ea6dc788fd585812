"""The manifest of an approximate index, validated when it is read."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from laion_dask.errors import IndexFileError
from laion_dask.models.weights import sha256_of

FORMAT = "laion_dask index 2"
MANIFEST = "index.json"
TRAINED = "trained.faiss"

#: The folder with the state of an unfinished build.
BUILDING = ".index_building"

#: The name of a group's file: its number and the start of its sha256.
GROUP = re.compile(r"group-(\d{5,})-([0-9a-f]{8})\.faiss")
_SHA256 = re.compile(r"[0-9a-f]{64}")

#: The next step where files can be rebuilt, and where the folder is beyond repair.
REPAIR_HINT = (
    "Fetch the index again, or call build_index with the same arguments to rebuild damaged files."
)
REBUILD_HINT = "Fetch the index again, or remove the folder and rebuild it."


def entry_of(path: Path) -> dict:
    """The manifest entry of a file."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def read_manifest(folder: Path) -> tuple[dict, str]:
    """The manifest of an index and its sha256; the sizes of all listed files are checked.

    Raises
    ------
    IndexFileError
        When the manifest is missing, damaged or inconsistent, or a listed file is missing or has
        a different size.
    """
    path = folder / MANIFEST
    if not path.is_file():
        begun = " It holds an unfinished build: rebuild to resume." * (folder / BUILDING).exists()
        raise IndexFileError(
            f"{folder} has no {MANIFEST}, so it is not an index.{begun} Expected a folder written "
            "by ld.build_index(...)."
        )
    data = path.read_bytes()
    manifest = parsed(data, path)
    check_manifest(manifest, path)
    for entry in (manifest["trained"], *manifest["groups"]):
        file = folder / entry["name"]
        size = file.stat().st_size if file.is_file() else None
        if size != entry["bytes"]:
            state = "is missing" if size is None else f"has {size:,} bytes"
            raise IndexFileError(
                f"{file} {state}; the manifest says {entry['bytes']:,} bytes. {REPAIR_HINT}"
            )
    return manifest, hashlib.sha256(data).hexdigest()


def checked(folder: Path, entry: dict) -> Path:
    """The path of a listed file; its digest is verified once per process while it is unchanged.

    Raises
    ------
    IndexFileError
        When the file is missing or altered.
    """
    path = folder / entry["name"]
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise IndexFileError(f"{path} cannot be read: {error}. {REPAIR_HINT}") from error
    if digest != entry["sha256"]:
        raise IndexFileError(
            f"{path} was altered: its sha256 is {digest[:12]}…, the manifest says "
            f"{entry['sha256'][:12]}…. {REPAIR_HINT}"
        )
    return path


def is_intact(folder: Path, entry: dict) -> bool:
    """Whether a listed file exists with the listed size and sha256."""
    path = folder / entry["name"]
    try:
        return path.stat().st_size == entry["bytes"] and sha256_of(path) == entry["sha256"]
    except OSError:
        return False


def parsed(data: bytes, path: Path) -> dict:
    """The JSON object in a file of the folder.

    Raises
    ------
    IndexFileError
        When the file does not contain a JSON object.
    """
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}")
    except (ValueError, RecursionError) as error:
        raise IndexFileError(f"{path} is damaged ({error}). {REBUILD_HINT}") from error
    return content


def check_manifest(manifest: dict, path: Path) -> None:
    """Raise unless the manifest has all required entries and its numbers agree.

    Raises
    ------
    IndexFileError
    """
    try:
        _check(manifest)
        _check_totals(manifest)
    except (LookupError, TypeError, ValueError) as error:
        raise IndexFileError(
            f"{path} is not the manifest of an index ({error!r}). {REBUILD_HINT}"
        ) from error


def _check(manifest: dict) -> None:
    """Raise a KeyError, TypeError or ValueError if an entry is missing or invalid."""
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']!r}, not {FORMAT!r}")
    for entry in (manifest["trained"], *manifest["groups"]):
        if not _SHA256.fullmatch(entry["sha256"]) or _count(entry["bytes"]) < 1:
            raise ValueError(f"a file is listed as {str(entry)[:200]}")
    if manifest["trained"]["name"] != TRAINED:
        raise ValueError(f"centroids are listed as {manifest['trained']['name']!r:.100}")
    for file in manifest["embeddings"]:
        _count(file["rows"]), str(file["name"]), str(file["sha256"]), str(file["field"])
        _count(file["bytes"])
        if any(fact not in file for fact in ("dim", "dtype")):
            raise ValueError("embeddings without dim or dtype")
    for name in ("read", "indexed", "unscored"):
        _count(manifest["counts"][name])
    for name in ("dim", "nlist", "m", "nbits", "nprobe"):
        if _count(manifest["index"][name]) < 1:
            raise ValueError(f"{name} is 0")
    for step in manifest["recall"]["steps"]:
        _count(step["nprobe"]), float(step["found"]), float(step["rescored"])
    if min(_count(manifest["recall"][name]) for name in ("k", "candidates")) < 1:
        raise ValueError("its recall was measured with no queries")
    _count(manifest["recall"]["queries"])


def _check_totals(manifest: dict) -> None:
    """Compare the totals with the sums over files and groups."""
    counts, groups = manifest["counts"], manifest["groups"]
    for number, entry in enumerate(groups):
        match = GROUP.fullmatch(entry["name"])
        if not match or (int(match[1]), match[2]) != (number, entry["sha256"][:8]):
            raise ValueError(f"group {number} is listed as {entry['name']!r:.100}")
    for name in ("indexed", "unscored"):
        total = sum(_count(entry[name]) for entry in groups)
        if total != counts[name]:
            raise ValueError(f"it counts {counts[name]:,} rows {name}, its groups {total:,}")
    rows = sum(file["rows"] for file in manifest["embeddings"])
    if not counts["indexed"] + counts["unscored"] == counts["read"] == rows:
        raise ValueError(f"it counts {counts}, its embeddings have {rows:,} rows")


def _count(value) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.50} is not a count")
    return value
