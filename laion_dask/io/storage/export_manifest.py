"""The recipe of an export: which file is in force, and whether its parts are as it lists them.

An export is a folder with ``_recipe.json`` and, in ``shards``, the parts and nothing else, so that
`shards` is a plain folder of Parquet to every other tool. Exports of earlier releases have
``recipe.json`` beside their parts, and are read as before.

A recipe is input like any other: it may come from elsewhere, be damaged or be hostile. It is read
within bounds, and its parts are names of regular files in its own folder, or it is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ShardError
from laion_dask.io.storage.local_file import file_system

#: The file that documents an export; its presence marks a folder as an export.
RECIPE = "_recipe.json"
#: Its name while the parts that it lists take the place of others.
NEXT_RECIPE = "_recipe.next.json"
#: Its name in exports of earlier releases, whose parts lie beside it.
FLAT_RECIPE = "recipe.json"
RECIPES = (RECIPE, NEXT_RECIPE, FLAT_RECIPE)
#: The folder of an export's parts.
PARTS = "shards"
#: In a folder that an export is copying its first parts into, and in one where that was cut off.
UNFINISHED = ".laion_dask-unfinished"
#: The ``kind`` of every recipe, by which a folder is recognised as an export.
KIND = "laion_dask export, version 1"

#: Bytes of a recipe that are read: two million parts have fewer.
MOST_BYTES = 1 << 29
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]+")
_FACTS = ("rows", "bytes")
_PART_NAME = re.compile(r"part-\d{5,}-[0-9a-f]{8}\.\w+")


@dataclass(frozen=True)
class Part:
    """A part as the recipe lists it; ``rows``, ``bytes``, ``sha256`` are None where it is silent.

    Attributes
    ----------
    path : str
        In the file system of the recipe.
    rows, bytes : int or None
    sha256 : str or None
    """

    path: str
    rows: int | None
    bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was read.

    Attributes
    ----------
    path : str
    said : dict
    parts : tuple of Part
    """

    path: str
    said: dict
    parts: tuple[Part, ...]


def in_place(fs: fsspec.AbstractFileSystem, folder: str) -> Recipe | None:
    """The recipe that describes what a folder holds, or None where the folder is no export.

    Every part that it lists is there, is a regular file and has the size that it says.

    Raises
    ------
    ShardError
        When the recipe cannot be read as one, or a part is not as it says.
    """
    found = _recipe_files(fs, folder)
    while True:
        try:
            return _that_holds(fs, {name: f"{folder}/{name}" for name in found})
        except (ShardError, FileNotFoundError):
            now = _recipe_files(fs, folder)
            if now == found:
                raise
            found = now  # an export has replaced another meanwhile


def _recipe_files(fs: fsspec.AbstractFileSystem, folder: str) -> dict[str, dict]:
    fs.invalidate_cache()
    return {n: fs.info(f"{folder}/{n}") for n in RECIPES if fs.isfile(f"{folder}/{n}")}


def _that_holds(fs: fsspec.AbstractFileSystem, found: Mapping[str, str]) -> Recipe | None:
    if NEXT_RECIPE in found:
        with suppress(ShardError):  # it holds once exactly its parts are in place
            recipe = read_recipe(fs, found[NEXT_RECIPE])
            if _check_parts(fs, recipe) == len(recipe.parts):
                return recipe
    for name in (RECIPE, FLAT_RECIPE):
        if name in found:
            recipe = read_recipe(fs, found[name])
            _check_parts(fs, recipe)
            return recipe
    return None


def read_recipe(fs: fsspec.AbstractFileSystem, path: str) -> Recipe:
    """A recipe and the parts that it lists; the parts themselves are not opened.

    Raises
    ------
    ShardError
        When the file is not a recipe, or a part's name leads out of its folder.
    """
    try:
        if fs.size(path) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        said = json.loads(fs.cat_file(path))
        folder = path.rpartition("/")[0]
        folder = folder if path.endswith(f"/{FLAT_RECIPE}") else f"{folder}/{PARTS}"
        parts = tuple(_part(folder, entry) for entry in said["parts"])
        _check_unique(parts)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else error
        what = f"it has no {error}" if isinstance(error, KeyError) else what
        raise ShardError(
            f"{path} is not the recipe of an export: {what}. Name the shards themselves, as "
            f"{path.rpartition('/')[0]}/*.parquet."
        ) from None
    recipe = Recipe(path, said, parts)
    _check_kept(recipe)
    return recipe


def _part(folder: str, entry: Mapping) -> Part:
    if not isinstance(entry, dict) or not isinstance(name := entry["file"], str):
        raise ValueError("a part is not listed by its file's name")
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise ValueError(f"the part {name!a} is not the name of a file in its folder")
    facts = [entry.get(key) for key in _FACTS]
    if any(fact is not None and (type(fact) is not int or fact < 0) for fact in facts):
        raise ValueError(f"the part {name!r} has rows or bytes that are not whole numbers")
    digest = entry.get("sha256")
    if digest is not None and not isinstance(digest, str):
        raise ValueError(f"the part {name!r} has a sha256 that is not a string")
    return Part(f"{folder}/{name}", *facts, digest)


def _check_unique(parts: Sequence[Part]) -> None:
    if len({part.path for part in parts}) < len(parts):
        raise ValueError("it lists a part twice")


def _check_kept(recipe: Recipe) -> None:
    counts = recipe.said.get("counts")
    kept = counts.get("kept") if isinstance(counts, dict) else None
    rows = [part.rows for part in recipe.parts]
    if type(kept) is int and None not in rows and sum(rows) != kept:
        raise ShardError(
            f"{recipe.path} lists parts of {sum(rows):,} rows, and counts {kept:,} kept. It was "
            "altered: copy the whole folder again, or export there again."
        )


def _check_parts(fs: fsspec.AbstractFileSystem, recipe: Recipe) -> int:
    """Check every part by one listing of their folder; how many files it holds."""
    if not recipe.parts:
        return 0
    folder = recipe.parts[0].path.rpartition("/")[0]
    listing = fs.ls(folder, detail=True) if fs.isdir(folder) else []
    found = {info["name"].rpartition("/")[2]: info for info in listing}
    for part in recipe.parts:
        info = found.get(part.path.rpartition("/")[2])
        if info is None:
            raise unlike(part, recipe, "is not there")
        if not _is_regular(fs, folder, part.path, info):
            raise unlike(part, recipe, "is not a regular file in its folder")
        if part.bytes is not None and info["size"] != part.bytes:
            raise unlike(part, recipe, f"has {info['size']:,} bytes, not {part.bytes:,}")
    return len(found)


def _is_regular(fs: fsspec.AbstractFileSystem, folder: str, path: str, info: Mapping) -> bool:
    if not isinstance(fs, LocalFileSystem) or not info.get("islink"):
        return info["type"] == "file"
    inside = os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)
    return inside and os.path.isfile(path)


def unlike(part: Part, recipe: Recipe, what: str) -> ShardError:
    return ShardError(
        f"{_readable(part.path)} {what}, and {recipe.path} lists it. The export is "
        "incomplete or was altered: copy the whole folder again, or export there again."
    )


def _readable(path: str) -> str:
    """A path that any terminal can print."""
    return path.encode("utf-8", "backslashreplace").decode()


def is_part_name(name: str) -> bool:
    """Whether a file is named as a part of an export."""
    return _PART_NAME.fullmatch(name) is not None


def listed_parts(folder: str) -> dict[str, tuple[Part, Recipe]]:
    """The parts of an export in a folder, by their paths there, with the recipe that lists them."""
    found = {}
    for recipe in _recipes_of(folder):
        for part in recipe.parts:
            found[f"{folder}/{part.path.rpartition('/')[2]}"] = part, recipe
    return found


def _recipes_of(folder: str) -> Iterator[Recipe]:
    """The recipes of exports that may list files of a folder; other files are ignored."""
    fs, inner = file_system(folder)
    above, _, name = inner.rpartition("/")
    paths = [f"{inner}/{FLAT_RECIPE}"]
    paths += [f"{above}/{n}" for n in (RECIPE, NEXT_RECIPE)] if name == PARTS else []
    for path in paths:
        if fs.isfile(path):
            try:
                recipe = read_recipe(fs, path)
            except ShardError:
                continue  # files that were named outright are read without it
            if recipe.said.get("kind") == KIND:
                yield recipe
