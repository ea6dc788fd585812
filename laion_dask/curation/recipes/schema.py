"""The JSON schema of recipes, for editors: completion, and errors while one types.

``schema.json`` beside this file is written by `write_schema`; `load` validates without it.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from laion_dask.curation.recipes.steps import STEPS, StepKind
from laion_dask.curation.recipes.validation import KEYS, SOURCE_KEYS, STEP_KEYS

_TYPES = {str: "string", list: "array", dict: "object", int: "integer"}


def schema_path() -> Path:
    """The file of the schema."""
    return Path(str(files("laion_dask.curation.recipes") / "schema.json"))


def recipe_schema() -> dict[str, Any]:
    """The schema, as JSON Schema 2020-12."""
    keys: dict[str, Any] = {
        key: {"type": _TYPES[kind], "description": about} for key, (kind, about) in KEYS.items()
    }
    for key in ("not_reproduced", "not_applied", "warnings"):
        keys[key]["items"] = {"type": "string"}
    keys["parameters"]["additionalProperties"] = {
        "type": "object",
        "properties": {"default": {}, "description": {"type": "string"}},
        "additionalProperties": False,
    }
    source: dict[str, Any] = {key: {} for key in SOURCE_KEYS}
    keys["source"] |= {"properties": source, "additionalProperties": False}
    keys["steps"]["items"] = {"oneOf": [_step(kind) for kind in STEPS.values()]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A laion_dask recipe",
        "type": "object",
        "properties": keys,
        "required": ["name", "steps"],
        "additionalProperties": False,
    }


def _step(kind: StepKind) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        name: {} for name in kind.parameter_names if not name.startswith("*")
    }
    required = [*kind.required, *(["heads"] if kind.name == "score" else [])]
    by_name = {
        "type": "object",
        "properties": arguments,
        "required": required,
        "additionalProperties": False,
    }
    others = {"type": ["string", "number", "boolean", "array", "null"]}
    conditions = {key: {"type": "string", "description": about} for key, about in STEP_KEYS.items()}
    return {
        "type": "object",
        "properties": {kind.name: {"anyOf": [by_name, others]}, **conditions},
        "required": [kind.name],
        "additionalProperties": False,
    }


def write_schema() -> None:
    """Write `schema_path`; run it when a step or an argument of one changes."""
    text = json.dumps(recipe_schema(), indent=1)
    schema_path().write_text(f"{text}\n", encoding="utf-8")
