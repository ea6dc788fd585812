"""Short names of the models of an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_name(recipe: Mapping[str, Any]) -> str:
    """A short name for a model, head or embeddings, from their recipe."""
    if "embeddings" in recipe:
        return f"embeddings by {model_name(recipe.get('model') or {})}"
    parts = (str(recipe[key]) for key in ("name", "arch", "pretrained") if recipe.get(key))
    return " ".join(parts) or "unnamed"
