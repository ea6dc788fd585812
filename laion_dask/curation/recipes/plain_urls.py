"""Removal lists that are written in a recipe: URLs become digests, since recipes are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from laion_dask.errors import RecipeError


def without_urls(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """A step ``exclude`` with the sha256 of each URL of its list; other steps as they are.

    Every export stores the recipe, and a list of what must not be found again must not be there.

    Raises
    ------
    RecipeError
        When the URLs are to be compared in their normal form, which digests do not have.
    """
    arguments = step.get("exclude")
    given = arguments if isinstance(arguments, Mapping) else {"list": arguments}
    entries, by = given.get("list"), given.get("by", "url")
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return step
    if given.get("hashed") or by not in ("url", "normalized_url"):
        return step
    if by != "url":
        raise RecipeError(
            f"A recipe is stored with every export, and its step 'exclude' lists {len(entries):,} "
            "URLs. Expected the path of a file with them, or no 'by'."
        )
    digests = [hashlib.sha256(str(one).encode()).hexdigest() for one in entries if one is not None]
    return {**step, "exclude": {**given, "list": digests, "hashed": "sha256"}}
