"""The files of a folder: of an export those that its recipe lists, of any other those below it.

And of many files that are named one by one, those that are no shard.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from laion_dask.errors import OptionError, ShardError
from laion_dask.io.storage.discovery import (
    BESIDE,
    PICTURED,
    LeftOut,
    files_below,
    is_hidden,
    taken,
)
from laion_dask.io.storage.export_manifest import (
    FLAT_RECIPE,
    PARTS,
    RECIPES,
    UNFINISHED,
    Recipe,
    in_place,
    read_recipe,
)

#: What writers of many shards leave beside them, which has no rows.
_NO_SHARD = re.compile(r"(^|/)_(SUCCESS|metadata|common_metadata|committed_\w+|started_\w+)$")


def files_of_folder(fs, folder: str, suffixes: tuple[str, ...], left_out: LeftOut) -> list[str]:
    """The shards that a folder stands for; none where it holds no file of these suffixes.

    Raises
    ------
    ShardError
        When the folder is an export that was cut off, or is not as its recipe says.
    OptionError
        When it holds shards and, further below, an export too.
    """
    recipe = in_place(fs, folder) or _recipe_above(fs, folder)
    if recipe is not None:
        return [part.path for part in recipe.parts]
    if fs.isfile(f"{folder}/{UNFINISHED}"):
        raise ShardError(
            f"{folder} holds an export that was cut off before its recipe was written. Export "
            "there again."
        )
    below = files_below(fs, folder, left_out)
    left_out.searched.append(fs.unstrip_protocol(folder))
    files = taken(below, suffixes, left_out)
    marks = (e.folder for e in below if _marks_export(fs, e.path))
    exports = [e for e in dict.fromkeys(marks) if not is_hidden(e[len(folder) + 1 :])]
    exported = {f for f in files if any(f.startswith(f"{e}/") for e in exports)}
    if not exported:
        return files
    if len(exported) < len(files):
        raise _mixed(folder, exports[0], suffixes)
    return [file for export in exports for file in files_of_folder(fs, export, suffixes, left_out)]


def listed_in_recipes(
    fs, files: list[str], suffixes: tuple[str, ...], left_out: LeftOut
) -> list[str]:
    """Of files that a pattern matches, those in an export's folder only if its recipe lists them.

    Raises
    ------
    OptionError
        When some lie in an export and some do not.
    """
    folders = dict.fromkeys(file.rpartition("/")[0] for file in files)
    exports = {f: recipe for f in folders if (recipe := _recipe_of(fs, f)) is not None}
    if not exports:
        return files
    if len(exports) < len(folders):
        other = next(folder for folder in folders if folder not in exports)
        raise _mixed(other, next(iter(exports)), suffixes)
    listed = {part.path for recipe in exports.values() for part in recipe.parts}
    left_out.add("not in the recipe of its export", (f for f in files if f not in listed))
    return [file for file in files if file in listed]


def _recipe_of(fs, folder: str) -> Recipe | None:
    """The recipe of the export that a folder of files belongs to, or None."""
    if _marks_export(fs, f"{folder}/{FLAT_RECIPE}"):
        return in_place(fs, folder)
    return _recipe_above(fs, folder)


def _recipe_above(fs, folder: str) -> Recipe | None:
    """The recipe of an export whose folder of parts a folder is, or None."""
    above, _, name = folder.rpartition("/")
    return in_place(fs, above) if name == PARTS and _has_own_recipe(fs, above) else None


def _has_own_recipe(fs, folder: str) -> bool:
    return any(fs.isfile(f"{folder}/{name}") for name in RECIPES if name != FLAT_RECIPE)


def _mixed(folder: str, export: str, suffixes: tuple[str, ...]) -> OptionError:
    return OptionError(
        f"{folder} holds shards, and in {export} an export too, whose rows would count again. "
        f"Name which of them is meant, such as {folder}/*{suffixes[0]}."
    )


def _marks_export(fs, path: str) -> bool:
    """Whether a file says that its folder is an export of ours, whole or cut off."""
    name = path.rpartition("/")[2]
    if name != FLAT_RECIPE:
        return name == UNFINISHED or name in RECIPES
    if not fs.isfile(path):
        return False
    try:
        read_recipe(fs, path)
    except ShardError:
        return False
    return True


def without_others(files: Sequence[str], suffixes: Sequence[str], left_out: LeftOut) -> list[str]:
    """The named files that may be shards; all, where none of them is named as one."""
    others = [file for file in files if _is_beside(file, tuple(suffixes))]
    if len(others) == len(files):
        return list(files)
    left_out.add("that lie beside shards but are not shards", others)
    return [file for file in files if file not in set(others)]


def _is_beside(path: str, suffixes: tuple[str, ...]) -> bool:
    name = path.rpartition("/")[2].lower()
    other = BESIDE.search(name) or name.endswith(PICTURED)
    return bool(_NO_SHARD.search(path) or (other and not name.endswith(suffixes)))
