"""The recipes that ship with the package, one YAML file each."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path, PurePath

from laion_dask.errors import RecipeError, did_you_mean, must_be

_SUFFIXES = (".yaml", ".yml")


def _folder() -> Path:
    return Path(str(files("laion_dask.curation.recipes") / "library"))


def names() -> list[str]:
    """The names of the shipped recipes, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def holds(path: PurePath) -> bool:
    """Whether a path is that of a shipped recipe."""
    return path.parent == _folder()


def text_of(name_or_path: str | os.PathLike[str]) -> tuple[str, str]:
    """The YAML of a recipe, and its file.

    Raises
    ------
    RecipeError
        When there is no such recipe, or the file cannot be read.
    """
    must_be("name_or_path", name_or_path, (str, os.PathLike), "the name of a recipe, or a file")
    path = Path(os.fspath(name_or_path))
    is_name = isinstance(name_or_path, str) and os.sep not in name_or_path
    if is_name and path.suffix not in _SUFFIXES:
        if name_or_path not in names():
            raise RecipeError(
                f"There is no recipe {str(name_or_path)!r}.{did_you_mean(str(path), names())} For "
                "a file of your own, give its path, which ends in .yaml."
            )
        path = _folder() / f"{name_or_path}.yaml"
    if path.suffix not in _SUFFIXES:
        raise RecipeError(f"{path} is not a recipe. Expected a file that ends in .yaml or .yml.")
    try:
        return path.read_text(encoding="utf-8-sig"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"The recipe {path} cannot be read: {reason}.") from error
