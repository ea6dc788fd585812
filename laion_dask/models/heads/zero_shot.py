"""Heads whose weights are embedded prompts: any zero-shot classifier, including Q16."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np

from laion_dask.cost import Cost
from laion_dask.errors import OptionError, WeightsError, must_be, one_of
from laion_dask.models import weights as weight_files
from laion_dask.models.clip import ClipModel, as_clip
from laion_dask.models.heads.compatibility import published_for
from laion_dask.models.heads.embedding_head import EmbeddingHead

#: CLIP's factor for cosines before the softmax: the exponential of its learned logit scale,
#: which OpenAI's training clipped at 100 (Radford et al. 2021, section 2.5).
TEMPERATURE = 100.0

#: Q16's own prompts, and for two models LAION's copy of them, which is available as an array: the
#: originals are pickles, which are never loaded.
_Q16 = {
    "ViT-L-14:openai": ("q16_prompts_vit_l_14.npy", "violence_detection_vit_l_14.npy"),
    "ViT-B-32:openai": ("q16_prompts_vit_b_32.npy", "violence_detection_vit_b_32.npy"),
    "ViT-B-16:openai": ("q16_prompts_vit_b_16.npy",),
}


@dataclass(frozen=True)
class PromptHead(EmbeddingHead):
    """A softmax over cosines with one vector per label; the score is one label's probability.

    Created by ``zero_shot`` or ``inappropriate``. The vectors are part of the spec, so workers need
    no file.

    Attributes
    ----------
    name, clip
        As for every embedding head.
    labels : tuple of str
    index : int
        The label whose probability is the score.
    vectors : bytes
        (len(labels), dim) float32, unit norm.
    temperature : float
        The factor for cosines.
    source : tuple of str
        The source of the vectors, for the recipe: templates, or a file's name.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.zero_shot("demo", ["red star", "blue boat"])
    >>> head.of("blue boat").name
    'p_blue_boat'
    """

    labels: tuple[str, ...]
    index: int
    vectors: bytes = field(repr=False)
    temperature: float = TEMPERATURE
    source: tuple[str, ...] = ()

    @property
    def cost(self) -> Cost:
        """The cost of one dot product per label."""
        n = len(self.labels)
        note = f"score, {self.name}: it has {n} labels, but the rate was measured with 2"
        return self._cost("zero_shot", 2.0 * n * self._dim, *([note] if n != 2 else []))

    def recipe(self) -> dict:
        """The manifest entry: labels, the scored label, templates, and the vectors' sha256."""
        return {
            "name": self.name,
            "clip": self.clip.name,
            "labels": list(self.labels),
            "of": self.labels[self.index],
            "temperature": self.temperature,
            "source": list(self.source),
            "sha256": sha256(self.vectors).hexdigest(),
        }

    def of(self, label: str) -> Self:
        """The head for another label; its column is ``p_`` and the label.

        Raises
        ------
        OptionError
            When the head has no such label.
        """
        if label not in self.labels:
            raise one_of("label", label, self.labels)
        return replace(self, index=self.labels.index(label), name=_column(label))

    def load(self):
        """The labels' vectors, (len(labels), dim) float64 tensor."""
        import torch

        flat = np.frombuffer(self.vectors, np.float32).reshape(len(self.labels), -1)
        return torch.from_numpy(flat.astype(np.float64))

    def _scores(self, rows, length, state):
        # In float64, so that the last digit of the float32 result depends only on the row.
        cosine = rows.double() @ state.T / length[:, None]
        return (self.temperature * cosine).softmax(dim=1)[:, self.index]


def zero_shot(
    clip: ClipModel | str,
    labels: Sequence[str],
    templates: Sequence[str] = ("a photo of a {}.",),
    *,
    of: str | None = None,
    temperature: float = TEMPERATURE,
    to: str | None = None,
) -> PromptHead:
    """A classifier from prompts: the probability of one label among several. Eager.

    Each label's prompts are embedded, averaged and scaled to length 1; the score is the softmax
    of ``temperature`` times the cosines (Radford et al. 2021, section 3.1.4). It tells which of
    the labels is nearest, not whether any of them is right.

    The result is one value per row, so do not use it for attributes of people: use
    `laion_dask.perceived`, which counts them and never assigns them to a row.

    Parameters
    ----------
    clip : ClipModel or str
        Must have weights, which are loaded to embed the prompts.
    labels : sequence of str
        Two or more, all different.
    templates : sequence of str
        Each has one ``{}`` for the label.
    of : str, optional
        The label whose probability is the score; by default the first. ``head.of(label)`` is the
        head for another.
    temperature : float
    to : str, optional
        The output column; by default ``p_`` and the label.

    Raises
    ------
    OptionError
        For fewer than two labels, a duplicate label, or a template without ``{}``.
    WeightsError
        When the model's weights are not available locally.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.zero_shot("demo", ["red star", "blue boat"])
    >>> head.name, head.of("blue boat").name
    ('p_red_star', 'p_blue_boat')
    """
    model = as_clip(clip)
    labels, templates = _texts("labels", labels), _texts("templates", templates)
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise OptionError(f"labels is {list(labels)}. Expected two or more, all different.")
    for template in templates:
        if template.count("{}") != 1:
            raise OptionError(f"The template {template!r} must have one {{}} for the label.")
    must_be("temperature", temperature, (int, float, np.number), "a number above 0")
    if not templates or not 0 < temperature < np.inf:
        raise OptionError("Expected at least one template, and a temperature above 0.")
    prompts = [template.replace("{}", label) for label in labels for template in templates]
    embedded = np.asarray(model.text(prompts)).reshape(len(labels), len(templates), -1)
    of = labels[0] if of is None else of
    vectors = _unit_bytes(embedded.mean(axis=1, dtype=np.float64))
    head = PromptHead("p", model, labels, 0, vectors, float(temperature), templates).of(of)
    return head if to is None else head.to(to)


def inappropriate(
    clip: ClipModel | str,
    *,
    weights: str | os.PathLike | None = None,
    to: str = "inappropriate",
) -> PromptHead:
    """Q16's probability that an image shows inappropriate content. Eager.

    Two prompts, tuned on rated images of the Socio-Moral Image Database; the score is the softmax
    of 100 times the cosines, index 1 (Schramowski, Tauchmann and Kersting 2022, "Can Machines Help
    Us Answering Question 16 in Datasheets, and in Turn Reflecting on Inappropriate Content?"). It
    reproduces the judgment of its raters, and flags much harmless content.

    Parameters
    ----------
    clip : ClipModel or str
        OpenAI's ViT-L-14, ViT-B-32 or ViT-B-16.
    weights : path, optional
        A ``.npy`` file of (2, dim) prompts of any length. By default Q16's own prompts if their
        file is available, else LAION's ``violence_detection_vit_*.npy``: the same prompts, scaled
        to length 1 and rounded to float16, which changes probabilities by up to 0.005. ``recipe()``
        names the file.
    to : str
        The output column.

    Raises
    ------
    OptionError
        For an architecture that has no such prompts.
    ModelMismatchError
        When the weights of ``clip`` are not OpenAI's.
    WeightsError
        When the prompts are missing, altered or have the wrong shape.

    Examples
    --------
    >>> import laion_dask as ld
    >>> prompts = "violence_detection_vit_l_14.npy"
    >>> head = ld.heads.inappropriate("ViT-L-14:openai", weights=prompts)
    >>> head.name, head.labels
    ('inappropriate', ('appropriate', 'inappropriate'))
    """
    home, names = published_for(clip, _Q16, "Q16 head")
    path = Path(weight_files.resolve_weights(weights, *names))
    prompts = weight_files.read_tensors(path).get("array")
    model = as_clip(home)
    dim = model.dim
    if prompts is None or tuple(prompts.shape) != (2, dim) or not prompts.is_floating_point():
        shape = None if prompts is None else tuple(prompts.shape)
        raise WeightsError(f"{path} holds {shape}. Expected prompts of shape (2, {dim}), floats.")
    vectors = _unit_bytes(prompts.double().numpy())
    labels = ("appropriate", "inappropriate")
    return PromptHead(to, model, labels, 1, vectors, source=(path.name,))


def _unit_bytes(vectors: np.ndarray) -> bytes:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise WeightsError("A prompt's vector has no direction: it is zero, NaN or infinite.")
    return (vectors / length).astype(np.float32).tobytes()


def _texts(name: str, texts) -> tuple[str, ...]:
    must_be(name, texts, Iterable, "a list of str")
    if isinstance(texts, (Set, Mapping)):  # a set has no order, and a dict's values would be lost
        raise OptionError(f"{name} is a {type(texts).__name__}. Expected a list of str.")
    texts = (texts,) if isinstance(texts, str) else tuple(texts)
    for text in texts:
        must_be(f"One of {name}", text, str, "a str")
    return texts


def _column(label: str) -> str:
    return "p_" + (re.sub(r"\W+", "_", label).strip("_") or "label")
