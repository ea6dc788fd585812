"""Validate the prompts of perceived attributes, and embed them as directions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from laion_dask.aggregations.perceived_kernel import Axis
from laion_dask.errors import OptionError, must_be
from laion_dask.models import ClipModel, EmbeddingSpace, as_clip, check_same_space
from laion_dask.models.heads.zero_shot import TEMPERATURE
from laion_dask.stats.association import as_rows

#: The group of rows without a label.
NOT_ASSIGNED = "not assigned"


def axes_of(prompts, model: ClipModel | EmbeddingSpace) -> tuple[tuple[Axis, ...], float]:
    """The axes that the prompts describe, and the scale of the cosines before the softmax.

    Raises
    ------
    OptionError
        If the prompts do not have the form that `perceived` takes.
    ModelMismatchError
        If vectors are known to come from another model.
    WeightsError
        If prompts are texts, and the model's weights are not available locally.
    """
    attributes = _attributes(prompts)
    axes = tuple(
        Axis(
            name,
            tuple(labels),
            np.stack([_direction(model, label, prompt) for label, prompt in labels.items()]),
        )
        for name, labels in attributes.items()
    )
    texts = any(_is_text(prompt) for labels in attributes.values() for prompt in labels.values())
    # Prompts that are already embedded need no weights.
    scale = as_clip(model).load().logit_scale if texts else TEMPERATURE
    return axes, float(scale)


def _attributes(prompts) -> dict[str, dict]:
    """The prompts by attribute and label, as passed."""
    expected = "a dict such as {'gender': {'woman': 'a photo of a woman', 'man': …}}"
    must_be("prompts", prompts, Mapping, expected)
    nested = [isinstance(value, Mapping) for value in prompts.values()]
    attributes = dict(prompts) if all(nested) else {"attribute": dict(prompts)}
    if not prompts or (any(nested) and not all(nested)):
        raise OptionError(f"prompts is {dict(prompts)!r}. Expected {expected}.")
    for name, labels in attributes.items():
        for each in (name, *labels):
            if not isinstance(each, str) or not each.strip():
                raise OptionError(f"An attribute or label is {each!r}. Expected non-empty text.")
        if len(labels) < 2:
            raise OptionError(
                f"{name!r} has {len(labels)} label. The model picks the nearest of several; give "
                "two or more, such as 'a photo of a person' and 'a photo without people'."
            )
        if NOT_ASSIGNED in labels:
            raise OptionError(f"{NOT_ASSIGNED!r} is reserved; choose another label.")
    return {name: dict(labels) for name, labels in attributes.items()}


def _is_text(prompt) -> bool:
    is_list = isinstance(prompt, (list, tuple))
    return isinstance(prompt, str) or (is_list and any(isinstance(each, str) for each in prompt))


def _direction(model: ClipModel | EmbeddingSpace, label: str, prompt) -> np.ndarray:
    """The direction of a label, (dim,) float32."""
    if _is_text(prompt):
        prompt = [prompt] if isinstance(prompt, str) else list(prompt)
        for each in prompt:
            must_be(
                f"A prompt of {label!r}",
                each,
                str,
                "a str; vectors are passed alone, not in a list",
            )
        prompt = model.text(prompt)
    for each in (prompt, *(prompt if isinstance(prompt, (list, tuple)) else ())):
        other = getattr(each, "model", None)
        if isinstance(other, (ClipModel, EmbeddingSpace, str)):
            check_same_space(model, other, f"The embeddings and the vectors of {label!r}")
    rows = as_rows(f"The label {label!r}", prompt)
    if rows.shape[1] != model.dim:
        raise OptionError(
            f"The label {label!r} has vectors of length {rows.shape[1]}, but {model.name} has "
            f"{model.dim}."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        mean = rows.mean(axis=0)
        direction = mean / np.linalg.norm(mean)
    if not np.isfinite(direction).all():
        raise OptionError(f"The vectors of {label!r} have no direction: zero, NaN or infinite.")
    return direction.astype(np.float32)
