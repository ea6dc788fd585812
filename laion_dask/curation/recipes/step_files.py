"""The files that the steps and the export of a recipe name, with their sizes and digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec

from laion_dask.curation.recipes.definition import Definition
from laion_dask.curation.recipes.needs import calls
from laion_dask.io.storage.local_file import failures, file_system

#: Bytes of a file that is hashed whole; of a larger one, its first and its last block are.
_WHOLE, _BLOCK = 2**26, 2**20
_MAGIC = frozenset("*?[{")


def step_files(recipe: Definition, export: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of removal lists, steps and images, each once, by path. Eager.

    Parameters
    ----------
    recipe : Recipe
        With its parameters replaced and its paths absolute.
    export : mapping
        The arguments of the export; of ``images``, only the sizes are recorded.

    Returns
    -------
    list of dict
        ``path``, ``bytes`` and, except for images, ``sha256``: of the whole file up to 64 MiB, else
        of its first and last MiB. A path without files has 0 bytes.
    """
    images = export.get("images") or []
    found = [_entry(fs, one, True) for path in _named(recipe) for fs, one in _below(path)]
    for path in [images] if isinstance(images, str) else images:
        found += [_entry(fs, one, False) for fs, one in _below(path)]
    return list({one["path"]: one for one in found}.values())


def _named(recipe: Definition) -> Iterator[str]:
    for one in recipe.removal_lists:
        yield from _paths(one["list"] if isinstance(one, Mapping) else one)
    for _, kind, arguments, _ in calls(recipe):
        for name in kind.files:
            yield from _paths(arguments.get(name))


def _paths(value: Any) -> list[str]:
    """A path, or several by name; others, such as the entries of a list, are part of the recipe."""
    values = value.values() if isinstance(value, Mapping) else [value]
    return [one for one in values if isinstance(one, str)]


def _below(path: str) -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """The sorted files of a folder or a pattern; for a file, or if none exist, the path itself."""
    fs, inner = file_system(path)
    try:
        if _MAGIC & set(inner) and not fs.exists(inner):
            files = sorted(fs.glob(inner))
        else:
            files = sorted(fs.find(inner))
    except failures(fs):
        files = []
    for one in files or [inner]:
        yield fs, one


def _entry(fs: fsspec.AbstractFileSystem, path: str, with_digest: bool) -> dict[str, Any]:
    try:
        size = int(fs.size(path) or 0)
        entry = {"path": path, "bytes": size}
        return entry | ({"sha256": _digest(fs, path, size)} if with_digest else {})
    except failures(fs):
        return {"path": path, "bytes": 0} | ({"sha256": ""} if with_digest else {})


def _digest(fs: fsspec.AbstractFileSystem, path: str, size: int) -> str:
    with fs.open(path, "rb") as file:
        content = file.read(size if size <= _WHOLE else _BLOCK)
        if size > _WHOLE:
            file.seek(-_BLOCK, 2)
            content += file.read()
    return hashlib.sha256(content).hexdigest()
