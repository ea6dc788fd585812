"""What the manifest of an export says about its recipe, for people: source, and what to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SOURCE = ("name", "title", "paper", "url")


@dataclass(frozen=True)
class AboutRecipe:
    """What a reader of an export should know about the recipe that made it.

    Attributes
    ----------
    name, title, paper, url : str
        Empty if the recipe does not say it.
    values : dict
        The parameters that were set.
    notes : tuple of str
        Warnings, what of a published rule is not applied, or not reproduced exactly, and which
        steps were left out.
    """

    name: str
    title: str
    paper: str
    url: str
    values: Mapping[str, Any]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> AboutRecipe | None:
        """The recipe of a manifest; None if the export was not made by one."""
        tree = manifest.get("recipe")
        if not tree:
            return None
        name, title, paper, url = (str(tree.get(key, "")) for key in _SOURCE)
        notes = (*recipe_notes(tree), *manifest.get("left_out", ()))
        return cls(name, title, paper, url, tree.get("values", {}), notes)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What it is and where it is published, as pairs of a name and a text."""
        set_to = ", ".join(f"{name}={value!r}" for name, value in self.values.items())
        texts = (self.title, self.paper, self.url, set_to)
        names = ("recipe", "title", "paper", "url", "parameters set")
        return [(n, text) for n, text in zip(names, (self.name, *texts), strict=True) if text]


def recipe_notes(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader of the rows should know, one sentence each.

    Parameters
    ----------
    tree : mapping
        The recipe as plain values.
    """
    kinds = {
        "warnings": "warning",
        "not_applied": "not applied",
        "not_reproduced": "not reproduced exactly",
    }
    return tuple(f"{kind}: {one}" for key, kind in kinds.items() for one in tree.get(key, ()))
