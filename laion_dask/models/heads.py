"""Heads: small classifiers over CLIP embeddings, as specs that name their model and weights.

A head is usable without Dask: ``head.predict(x)`` takes an (n, dim) array and returns the very
numbers that ``score`` and ``embed`` write.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from laion_dask.errors import (
    EmbeddingsError,
    ModelMismatchError,
    OptionError,
    WeightsError,
    must_be,
    one_of,
)
from laion_dask.models import weights as weight_files
from laion_dask.models.clip import ClipModel, as_model, check_same_space
from laion_dask.models.process_cache import ProcessCache
from laion_dask.models.vectors import Vectors

#: Rows that are converted and scored at a time; 1.5 MiB of float32 at 768 dimensions.
BLOCK = 512

#: LAION's aesthetic heads v1, by architecture. All were fitted on OpenAI's weights
#: (LAION-AI/aesthetic-predictor, 2022, README).
_AESTHETIC_V1 = {
    "ViT-L-14": "sa_0_4_vit_l_14_linear.pth",
    "ViT-B-32": "sa_0_4_vit_b_32_linear.pth",
    "ViT-B-16": "sa_0_4_vit_b_16_linear.pth",
}
_DEMO_SAFETY = Path(__file__).parent / "demo" / "safety_head.safetensors"

_loaded = ProcessCache()


@dataclass(frozen=True)
class LinearHead:
    """One affine map over embeddings, with or without a logistic at its end.

    Make one with ``aesthetic`` or ``demo_safety``, or by hand from a weight file that has
    ``weight`` (1, dim) and ``bias`` (1,).

    Attributes
    ----------
    name : str
        The output column.
    clip : str
        The CLIP model whose embeddings it reads, as ``as_model`` takes it.
    weights : str
        The path of its weight file.
    sha256 : str
        The digest of that file; a worker that finds another file refuses it.
    unit_norm : bool
        Whether the rows are scaled to length 1 first. ``predict`` does it.
    logistic : bool
        Whether the result is a probability, ``1 / (1 + exp(-(w·x + b)))``.
    """

    name: str
    clip: str
    weights: str
    sha256: str
    unit_norm: bool = True
    logistic: bool = False

    def to(self, name: str) -> LinearHead:
        """The same head with another output column."""
        return replace(self, name=_column_name(name))

    def recipe(self) -> dict:
        """What a manifest records: ``name``, ``clip``, the weight file's name and its sha256."""
        return {
            "name": self.name,
            "clip": self.clip,
            "weights": Path(self.weights).name,
            "sha256": self.sha256,
        }

    def predict(self, x) -> np.ndarray:
        """The scores of embeddings, (n,) float32. Eager.

        Every row is computed alone and in float32, so its score does not depend on the rows
        beside it. A row with a NaN or an infinity, or of length zero, has no score: NaN.

        Parameters
        ----------
        x : (n, dim) NumPy array or torch tensor
            float16 or float32 embeddings; n may be 0. A tensor is scored on its own device.

        Raises
        ------
        EmbeddingsError
            When the shape or the kind of numbers is wrong.
        ModelMismatchError
            When ``x`` is known to come from another CLIP model.
        WeightsError
            When the weight file is gone, altered or damaged.
        """
        import torch

        if isinstance(x, Vectors) and x.model is not None:
            check_same_space(self.clip, x.model, f"The head {self.name!r} and the vectors")
        weight, bias = self.load()
        x = self._checked(x, len(weight))
        scores = np.empty(len(x), np.float32)
        with torch.inference_mode():
            weight, bias = weight.to(x.device), bias.to(x.device)
            for at in range(0, len(x), BLOCK):
                block = self._score(x[at : at + BLOCK].float(), weight, bias)
                scores[at : at + BLOCK] = block.cpu().numpy()
        return scores

    def load(self) -> tuple:
        """Its weight (dim,) and bias (), float32 tensors; read once per process."""
        return _loaded.get((self.weights, self.sha256), self._load)

    def _load(self) -> tuple:
        if not Path(self.weights).is_file() or weight_files.sha256_of(self.weights) != self.sha256:
            raise WeightsError(
                f"The head {self.name!r} was made from {Path(self.weights).name} with sha256 "
                f"{self.sha256[:12]}…; {self.weights} is missing here or is another file. Put the "
                "same file there on every worker."
            )
        return _read_linear(self.weights)

    def _checked(self, x, dim: int):
        import torch

        if not isinstance(x, torch.Tensor):
            x = np.asarray(x)
            if x.dtype.kind == "f" and x.dtype.itemsize <= 8:
                x = torch.from_numpy(np.require(x, requirements=["C", "W"]))
        kind, shape = x.dtype, tuple(x.shape)
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            raise EmbeddingsError(
                f"The head {self.name!r} was given {kind}. Expected float16 or float32 embeddings."
            )
        if x.ndim != 2 or x.shape[1] != dim:
            raise EmbeddingsError(
                f"The head {self.name!r} was given an array of shape {shape}. Expected "
                f"(n, {dim}), as {self.clip} makes them; one vector is x[None]."
            )
        return x

    def _score(self, rows, weight, bias):
        import torch

        norm = torch.linalg.vector_norm(rows, dim=1).double()
        odd = ~(norm > 1e-18) | torch.isinf(norm)  # squares that under- or overflow, NaN, zero
        norm[odd] = torch.linalg.vector_norm(rows[odd].double(), dim=1)
        # A product and a sum per row, not a matrix product: that one's last digit depends on how
        # many rows it is given, and a score must not depend on the partitioning.
        scores = (rows * weight).sum(dim=1)
        if self.unit_norm:
            scores = (scores / norm).float()
        scores = scores + bias
        if self.logistic:
            # In float64: float32's vector code and its remainder round differently, and a score
            # must not depend on where in a block its row stands.
            scores = torch.sigmoid(scores.double()).float()
        return torch.where(torch.isfinite(norm) & (norm > 0), scores, torch.nan)


def aesthetic(
    clip: ClipModel | str,
    *,
    version: int = 1,
    weights: str | os.PathLike | None = None,
    to: str = "aesthetic",
) -> LinearHead:
    """LAION's aesthetic predictor as a head; scores run from about 0 to 10. Eager.

    Version 1 is one linear map over unit-norm embeddings of OpenAI's ViT-L-14, ViT-B-32 or
    ViT-B-16 (LAION-AI/aesthetic-predictor, 2022, ``sa_0_4_*_linear.pth``). It was fitted on
    ratings from 0 to 10, which its answers can leave.

    Parameters
    ----------
    clip : ClipModel or str
        The model of the embeddings.
    version : int
        Only 1 in this release.
    weights : path, optional
        The weight file; by default it is looked for as ``laion_dask.models.weights`` says.
    to : str
        The output column.

    Raises
    ------
    OptionError
        For a version or an architecture that has no such head.
    ModelMismatchError
        When ``clip`` has other weights than OpenAI's.
    WeightsError
        When the weight file is missing, altered or damaged.
    """
    if version != 1:
        raise OptionError(
            f"version is {version!r}. There is version 1, the linear head for "
            f"{', '.join(_AESTHETIC_V1)}; version 2 is not in this release."
        )
    model = as_model(clip)
    arch = model.arch.removesuffix("-quickgelu")
    if arch not in _AESTHETIC_V1:
        raise one_of("clip", model.name, _AESTHETIC_V1)
    home = ClipModel(arch, "openai")
    if not home.same_space(model):
        raise ModelMismatchError(
            f"The aesthetic head for {arch} was fitted on OpenAI's weights, and clip is "
            f"{model.name}. Use embeddings of {home!r}."
        )
    return _linear_head(weights or weight_files.find(_AESTHETIC_V1[arch]), home.name, to)


def demo_safety(to: str = "punsafe_demo") -> LinearHead:
    """The probability that a demo picture carries the demo's unsafe stand-in symbol. Eager.

    A logistic head over ``ClipModel("demo")``, trained with it; it knows nothing of real pictures.

    Raises
    ------
    WeightsError
        When the package's data files are incomplete.
    """
    if not _DEMO_SAFETY.is_file():
        raise WeightsError(
            f"The bundled head {_DEMO_SAFETY.name} is not in {_DEMO_SAFETY.parent}. Reinstall the "
            "package; its data files are incomplete."
        )
    return _linear_head(_DEMO_SAFETY, "demo", to, logistic=True)


def by_name(name: str, clip: ClipModel | str) -> LinearHead:
    """A head by its name on the command line: ``"aesthetic"`` or ``"demo_safety"``. Eager.

    Raises
    ------
    OptionError
        When there is no head of that name; else as the head's own function.
    """
    if name == "aesthetic":
        return aesthetic(clip)
    if name == "demo_safety":
        return demo_safety()
    raise one_of("head", name, ("aesthetic", "demo_safety"))


def _linear_head(path, clip: str, to: str, *, logistic: bool = False) -> LinearHead:
    path = os.path.abspath(path)
    weight, _ = _read_linear(path)
    dim = as_model(clip).dim
    if len(weight) != dim:
        raise WeightsError(
            f"{path} has a weight for {len(weight)} dimensions; {clip} makes {dim}. Give the file "
            "that belongs to this model."
        )
    return LinearHead(_column_name(to), clip, path, weight_files.sha256_of(path), logistic=logistic)


def _read_linear(path: str | os.PathLike) -> tuple:
    tensors = weight_files.read_tensors(path)
    weight, bias = tensors.get("weight"), tensors.get("bias")
    good = weight is not None and weight.ndim == 2 and len(weight) == 1
    if not good or bias is None or bias.numel() != 1 or set(tensors) != {"weight", "bias"}:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise WeightsError(
            f"{path} holds {shapes}. Expected a linear head: weight (1, dim) and bias (1,)."
        )
    return weight[0].float().contiguous(), bias.reshape(()).float()


def _column_name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise OptionError(f"The output column is {name!r}. Expected a name, such as 'aesthetic'.")
    return name


def check_heads(heads, model: ClipModel) -> Iterator[LinearHead]:
    """The heads one by one, each known to fit the model and to write a column of its own.

    Raises
    ------
    ModelMismatchError
        When a head reads embeddings of another CLIP model.
    OptionError
        When two write the same column.
    """
    seen: set[str] = set()
    for head in heads:
        must_be("A head", head, LinearHead, "one such as ld.heads.aesthetic('ViT-L-14')")
        check_same_space(head.clip, model, f"The head {head.name!r} and the embeddings")
        if head.name in seen:
            raise OptionError(
                f"Two heads write the column {head.name!r}. Rename one with head.to('…')."
            )
        seen.add(head.name)
        yield head
