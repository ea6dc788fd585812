"""Heads that are a single affine map, including the demo's safety head."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.special import expit

from laion_dask.cost import Cost
from laion_dask.errors import WeightsError
from laion_dask.models import weights as weight_files
from laion_dask.models.clip import as_clip
from laion_dask.models.heads.file_head import FileHead
from laion_dask.numerics.approximate_cosines import approximate_cosines
from laion_dask.numerics.dot_products import dot_and_squares
from laion_dask.numerics.gpu import fused
from laion_dask.numerics.gpu.memory import run_with_oom_backoff

_DEMO_SAFETY = Path(__file__).parents[1] / "demo" / "safety_head.safetensors"


@dataclass(frozen=True)
class LinearHead(FileHead):
    """One affine map over embeddings, optionally followed by a logistic function.

    Create one with ``aesthetic`` or ``demo_safety``, or directly from a weight file with ``weight``
    (1, dim) and ``bias`` (1,), or with consecutive linear layers without activations, which are
    folded into one.

    Attributes
    ----------
    name, clip, weights, sha256
        As for every head in a file.
    logistic : bool
        Whether the result is a probability, ``1 / (1 + exp(-(w·x + b)))``.
    precision : str
        ``"float32"``, or ``"float16"``, which rounds the weights to float16.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.demo_safety()
    >>> type(head).__name__, head.logistic
    ('LinearHead', True)
    """

    logistic: bool = False
    precision: str = "float32"
    block: ClassVar[int] = 16384

    @property
    def cost(self) -> Cost:
        """The cost of one dot product per row."""
        return self._cost("linear")

    def recipe(self) -> dict:
        """The manifest entry of a head in a file, with ``precision``."""
        return {**super().recipe(), "precision": self.precision}

    def _read(self) -> tuple:
        return read_affine(self.weights)

    def _block(self, rows, state) -> np.ndarray:
        # This runs at memory bandwidth on the CPU, which converting to float32 would not. Each row
        # is multiplied separately, so a short block needs no padding.
        if rows.dtype == np.float64:
            return super()._block(rows, state)
        weight, bias = (part.numpy() for part in state)
        if self.precision == "float16" and rows.dtype == np.float16:
            scores = _approximate(rows, weight.astype(np.float16))
        else:
            scores = _exact(rows, weight)
        scores += bias
        return expit(scores.astype(np.float64)) if self.logistic else scores

    def _scores(self, rows, length, state):
        import torch

        weight, bias = state
        # A product and a sum per row, not a matrix product, whose last digit depends on the number
        # of rows: a score must not depend on the partitioning.
        scores = ((rows * weight).sum(dim=1) / length).float() + bias
        return torch.sigmoid(scores.double()) if self.logistic else scores

    def _on_device(self, x, state):
        # In one pass over the rows as they are stored, each row separately.
        import torch

        weight, bias = state
        x = x if x.element_size() < 8 else x.float()
        dots, squares = fused.dot_and_squares(x, weight[None])
        scores = dots[:, 0] / squares.sqrt()  # NaN for a row without direction
        if x.dtype != torch.float16:
            _redo_extreme(scores, x, squares, weight)
        scores += bias
        return torch.sigmoid(scores.double()).float() if self.logistic else scores


def _redo_extreme(scores, x, squares, weight) -> None:
    """Recompute in float64, in place, the scores of rows whose float32 products over- or underflow.

    Synchronizes with the device to count these rows; float16 has none.
    """
    import torch

    extreme = torch.nonzero(~((squares > 1e-30) & (squares < 1e30)))[:, 0]

    def work(start: int, stop: int) -> None:
        block = extreme[start:stop]
        rows = x[block].double()
        length = torch.linalg.vector_norm(rows, dim=1)
        scores[block] = ((rows * weight).sum(dim=1) / length).float()

    run_with_oom_backoff(work, len(extreme), 1 << 16, min_size=1 << 10)


def _exact(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Dot products with the rows scaled to length 1, (n,) float32; NaN without direction."""
    dot, length = dot_and_squares(rows, weight)
    length = np.sqrt(length)
    valid = np.isfinite(length) & (length > 0)
    length[~valid] = np.nan
    rare = np.flatnonzero(valid & ~(np.isfinite(dot) & (length > 1e-30)))  # beyond float32
    with np.errstate(invalid="ignore"):
        np.divide(dot, length, out=dot, casting="same_kind")
    for at in rare:
        row = rows[at].astype(np.float64) / length[at]
        dot[at] = (row * weight).sum()
    return dot


def _approximate(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """As `_exact` for a float16 weight, in one product per row."""
    cosine = approximate_cosines(rows, weight)
    # Depending on the CPU, a row with an infinity gives NaN, infinity or 1; a zero row gives 0.
    uncertain = np.flatnonzero(~(np.abs(cosine) < 0.99) | (cosine == 0))
    cosine *= np.linalg.norm(weight.astype(np.float64))
    if len(uncertain):
        cosine[uncertain] = _exact(rows[uncertain], weight)
    return cosine


def demo_safety(to: str = "punsafe_demo") -> LinearHead:
    """The probability that a demo image carries the demo's unsafe stand-in symbol. Eager.

    A logistic head over ``ClipModel("demo")``, trained with it; it is meaningless for real images.

    Raises
    ------
    WeightsError
        When the package's data files are incomplete.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> scored = frame.laion.score(images, ld.heads.demo_safety(to="unsafe"))
    >>> "unsafe" in scored.columns
    True
    """
    if not _DEMO_SAFETY.is_file():
        raise WeightsError(
            f"The bundled head {_DEMO_SAFETY.name} is not in {_DEMO_SAFETY.parent}. Reinstall the "
            "package; its data files are incomplete."
        )
    return linear_head(_DEMO_SAFETY, "demo", to, logistic=True)


def linear_head(
    path: str | os.PathLike, clip: str, to: str, *, logistic: bool = False
) -> LinearHead:
    """A head from a weight file, which is read immediately to check that it fits. Eager.

    Raises
    ------
    WeightsError
        When the file does not contain an affine map, or one of the wrong width.
    """
    path = os.path.abspath(path)
    weight, _ = read_affine(path)
    model = as_clip(clip)
    if len(weight) != model.dim:
        raise WeightsError(
            f"{path} has a weight for {len(weight)} dimensions; {clip} has {model.dim}. Give the "
            "file that belongs to this model."
        )
    return LinearHead(to, model, path, weight_files.sha256_of(path), logistic=logistic)


def read_affine(path: str | os.PathLike) -> tuple:
    """The affine map equal to a file's linear layers: weight (dim,), bias (), float32.

    Layers are applied in the order of the numbers in their names, and folded in float64.

    Raises
    ------
    WeightsError
        When consecutive layers do not fit, or the last has more than one output.
    """
    layers = read_layers(path)
    weight, bias = layers[0]
    for outer, shift in layers[1:]:
        weight, bias = outer @ weight, outer @ bias + shift
    if len(weight) != 1:
        raise WeightsError(
            f"{path} holds a linear map with {len(weight)} outputs. Expected a linear head: weight "
            "(1, dim) and bias (1,)."
        )
    weight, bias = weight[0].float().contiguous(), bias.reshape(()).float()
    # An upper bound of the score of a row of length one.
    max_score = (weight.double().norm() + bias.double().abs()).float()
    if not max_score.isfinite():
        raise WeightsError(
            f"{path}: its layers, folded into one, give scores beyond float32. Expected a "
            "linear head of moderate weights; fetch the file again."
        )
    return weight, bias


def read_layers(path: str | os.PathLike) -> list[tuple]:
    """The linear layers of a state dict in order, as float64 (weight (out, in), bias (out,)).

    Raises
    ------
    WeightsError
        When the state dict contains anything but weights and biases of consecutive layers.
    """
    tensors = weight_files.read_tensors(path)
    names = sorted((k for k in tensors if re.fullmatch(r"(.*\.)?weight", k)), key=_number)
    biases = [name.removesuffix("weight") + "bias" for name in names]
    layers = [(tensors[w], tensors[b]) for w, b in zip(names, biases, strict=True) if b in tensors]
    fits = layers and len(tensors) == 2 * len(layers)
    fits = fits and all(w.ndim == 2 and b.shape == w.shape[:1] for w, b in layers)
    fits = fits and all(len(inner) == outer.shape[1] for (inner, _), (outer, _) in pairwise(layers))
    if not fits:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise WeightsError(
            f"{path} holds {shapes}. Expected a linear head: weight (1, dim) and bias (1,), or "
            "consecutive layers that fit."
        )
    return [(weight.double(), bias.double()) for weight, bias in layers]


def _number(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]
