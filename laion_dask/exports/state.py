"""The files of an export in a folder, as distinct from anybody else's."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError
from laion_dask.io.storage.export_manifest import (
    FLAT_RECIPE,
    KIND,
    MOST_BYTES,
    NEXT_RECIPE,
    PARTS,
    RECIPE,
    RECIPES,
    UNFINISHED,
    is_part_name,
)
from laion_dask.io.storage.folder_lock import CLAIM

#: How the name of a folder begins in which an export stages its parts.
STAGING = ".laion_dask-staging-"


@dataclass(frozen=True)
class ExportState:
    """The files of an export in a folder.

    Attributes
    ----------
    recipes : dict of str to bytes
        Contents by file name.
    parts : tuple of str
        Names of the files in the folder of parts.
    flat : tuple of str
        Names of the files of an earlier release beside that folder: its parts, then its recipe.
    """

    recipes: dict[str, bytes]
    parts: tuple[str, ...]
    flat: tuple[str, ...]


def names_in(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The names in a folder, sorted; none where there is no such folder."""
    if not fs.isdir(folder):
        return []
    names = [n.rstrip("/").rpartition("/")[2] for n in fs.ls(folder, detail=False)]
    return sorted(n for n in names if n)


def export_state(fs: fsspec.AbstractFileSystem, folder: str, path: str) -> ExportState:
    """The state of an export's folder.

    Parameters
    ----------
    fs : file system
    folder : str
        In that file system.
    path : str
        The folder as the user named it, for the error.

    Raises
    ------
    ExportError
        When the folder holds something in the place of an export's files.
    """
    fs.invalidate_cache()
    names = [n for n in names_in(fs, folder) if n != CLAIM and not n.startswith(STAGING)]
    recipes = {n: _own_recipe(fs, f"{folder}/{n}") for n in RECIPES if n in names}
    recipes = {n: content for n, content in recipes.items() if content is not None}
    parts = names_in(fs, f"{folder}/{PARTS}")
    beside = [n for n in names if is_part_name(n)]
    is_foreign = names and not _is_cut_off(names, beside, parts)
    if (is_foreign and not recipes) or {RECIPE, NEXT_RECIPE} & (set(names) - recipes.keys()):
        raise _foreign(path, names)
    _check_parts(fs, folder, path, parts)
    # Without a recipe of that release, files of such names are somebody else's.
    flat = beside if FLAT_RECIPE in recipes or UNFINISHED in names else []
    flat += [n for n in (FLAT_RECIPE,) if n in recipes]
    return ExportState(recipes, tuple(parts), tuple(flat))


def _is_cut_off(names: Sequence[str], beside: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a folder without a recipe has only what an export that was cut off leaves."""
    if UNFINISHED in names:
        return not set(names) - {UNFINISHED, PARTS, *beside}
    return names == [PARTS] and not parts


def _own_recipe(fs: fsspec.AbstractFileSystem, path: str) -> bytes | None:
    """The content of a recipe that an export wrote, or None for somebody else's file."""
    if not fs.isfile(path) or fs.size(path) > MOST_BYTES:
        return None
    content = fs.cat_file(path)
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        said = json.loads(content)
        if said["kind"] == KIND and isinstance(said["parts"], list):
            return content
    return None


def _check_parts(fs, folder: str, path: str, parts: Sequence[str]) -> None:
    foreign = [n for n in parts if not is_part_name(n)]
    if isinstance(fs, LocalFileSystem) and os.path.islink(f"{folder}/{PARTS}"):
        foreign = ["what a link leads to"]
    if fs.isfile(f"{folder}/{PARTS}"):
        raise ExportError(
            f"{path}/{PARTS} is a file, in the place of the folder of parts. Move it elsewhere, or "
            "name a new folder."
        )
    if foreign:
        raise ExportError(
            f"{path}/{PARTS} holds {', '.join(foreign[:5])}, which export did not put there. Move "
            "it elsewhere, or name a new folder."
        )


def _foreign(path: str, names: Sequence[str]) -> ExportError:
    return ExportError(
        f"{path} is not empty and was not written by export (it holds {', '.join(names[:5])}). "
        "Name a new folder."
    )
