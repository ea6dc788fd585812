"""LAION's NSFW detectors as heads: for ViT-L-14, ViT-B-32 and ViT-H-14."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise

from laion_dask.cost import Cost
from laion_dask.errors import ModelMismatchError, OptionError, WeightsError, one_of
from laion_dask.models import weights as weight_files
from laion_dask.models.clip import ClipModel, as_clip
from laion_dask.models.heads.compatibility import published_for
from laion_dask.models.heads.dense import PRECISIONS, DenseNetwork
from laion_dask.models.heads.file_head import FileHead
from laion_dask.models.heads.linear import read_layers
from laion_dask.models.tf_saved_model import read_detector

#: The published files by model (LAION-AI/CLIP-based-NSFW-Detector, 2022).
_FILES = {
    "ViT-L-14:openai": "clip_autokeras_binary_nsfw.zip",
    "ViT-B-32:openai": "clip_autokeras_nsfw_b32.zip",
    "ViT-H-14:laion2b_s32b_b79k": "h14_nsfw.pth",
}

#: The layer widths of ViT-L-14's detector, from input to output (the published SavedModel).
_WIDTHS = (768, 64, 512, 256, 1)

#: The layer widths of ViT-H-14's detector, and how many layers are followed by ReLU
#: (LAION-AI/CLIP-based-NSFW-Detector, ``h14_nsfw_model.py``).
_H14 = (1024, 1024, 2048, 1024, 256, 128, 16, 1)
_H14_RELU = 5


@dataclass(frozen=True)
class NsfwHead(FileHead):
    """One of LAION's NSFW detectors, created by ``nsfw``.

    Attributes
    ----------
    name, clip, weights, sha256
        As for every head in a file.
    precision : str
        ``"float32"`` or ``"bfloat16"``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.nsfw("ViT-H-14:laion2b_s32b_b79k", weights="h14_nsfw.pth")
    >>> head.recipe()["weights"]
    'h14_nsfw.pth'
    """

    precision: str = "float32"

    scales = False  # the look-up needs the numbers as they are stored

    @property
    def cost(self) -> Cost:
        """The cost of ViT-L-14's network, also used for the others."""
        if self.clip.dim == _WIDTHS[0]:
            flop = 2.0 * sum(a * b for a, b in pairwise(_WIDTHS))
            return self._cost(f"nsfw {self.precision}", flop)
        note = f"score, {self.name}: counted as ViT-L-14's network"
        return self._cost(f"nsfw {self.precision}", None, note)

    def recipe(self) -> dict:
        """The manifest entry of a head in a file, with ``precision``."""
        return {**super().recipe(), "precision": self.precision}

    def _read(self) -> tuple[DenseNetwork, bool]:
        return _network(self.weights, as_clip(self.clip))

    def _on_device(self, x, state):
        network, logistic = state
        result = network.in_one_pass(x) if self.precision == "bfloat16" else None
        if result is None:
            return super()._on_device(x, state)
        numbers, squares = result
        return self._valid_scores(_finished(numbers, logistic), squares.double().sqrt())

    def _scores(self, rows, length, state):
        network, logistic = state
        return _finished(network(rows, self.precision), logistic)


def _finished(numbers, logistic: bool):
    # In float64, so that a score does not depend on the row's position in a block.
    return numbers.double().sigmoid() if logistic else numbers


def nsfw(
    clip: ClipModel | str,
    *,
    weights: str | os.PathLike | None = None,
    precision: str = "float32",
    to: str = "nsfw",
) -> NsfwHead:
    """LAION's NSFW detector as a head: 1 is unsafe, 0 is safe. Eager.

    For ViT-L-14 and ViT-B-32 this is the detector whose scores LAION published as ``punsafe``
    (LAION-AI/CLIP-based-NSFW-Detector, 2022), read from the published TensorFlow zip. It treats the
    inputs 180, 316, 413, 440 and 644 (ViT-L-14), or 92, 133 and 312 (ViT-B-32), not as numbers but
    as words: the value printed with six decimals is looked up in a vocabulary, and the network
    receives its index, or 0 if it is absent. The vocabularies were made from float16 embeddings.
    Scores therefore depend on how the embeddings are stored: on 512 rows, float16 and float32
    differ by up to 0.27, and omitting the look-up changes scores as much (up to 0.4 has been
    reported). Score the rows as stored, neither converted nor scaled. They must have length 1.

    For ViT-H-14 it is a plain network without a final logistic, trained on targets 0 and 1; its
    scores can leave that range.

    The detectors were trained to find nudity and pornography (their README), not violence or hate.
    A low score is no guarantee: inspect what a threshold keeps.

    Parameters
    ----------
    clip : ClipModel or str
        OpenAI's ViT-L-14 or ViT-B-32, or ViT-H-14 of ``laion2b_s32b_b79k``.
    weights : path, optional
        The weight file; by default searched for as described in ``laion_dask.models.weights``.
        No digest of ViT-H-14's file is published, so it is only searched for in the folder
        ``LAION_DASK_WEIGHTS``.
    precision : str
        ``"float32"`` agrees with TensorFlow within 2e-6. ``"bfloat16"`` keeps only the first and
        the last layer in float32. It deviates by up to 0.004 for ViT-L-14 and 0.01 for ViT-B-32
        (median 0.0001), and is faster where the hardware supports it (AVX512-BF16, AMX, CUDA).
    to : str
        The output column. LAION's own column is ``punsafe``; a frame that has it keeps it.

    Raises
    ------
    OptionError
        For an architecture that has no such head, or an unknown precision.
    ModelMismatchError
        When the weights of ``clip`` are not those that the detector was trained on.
    WeightsError
        When the weight file is missing, altered, damaged or has an unexpected layout.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.nsfw("ViT-H-14:laion2b_s32b_b79k", weights="h14_nsfw.pth")
    >>> head.name, head.clip.name
    ('nsfw', 'ViT-H-14:laion2b_s32b_b79k')
    """
    if precision not in PRECISIONS:
        raise one_of("precision", precision, PRECISIONS)
    home, file = published_for(clip, _FILES, "NSFW head")
    path = os.path.abspath(weight_files.resolve_weights(weights, file))
    if not os.path.isfile(path):
        raise WeightsError(f"There is no weight file {path}. Give the path of {file}.")
    head = NsfwHead(to, as_clip(home), path, weight_files.sha256_of(path), precision=precision)
    head.load()
    return head


def detector_model(model: object) -> str | None:
    """The model whose published detector scores embeddings of ``model``; None without one."""
    if not isinstance(model, ClipModel):
        return None
    try:
        return published_for(model, _FILES, "NSFW head")[0]
    except (ModelMismatchError, OptionError):
        return None


def _network(path: str, model: ClipModel) -> tuple[DenseNetwork, bool]:
    """The network of a weight file, and whether it ends in a logistic."""
    if model.arch == "ViT-H-14":
        return _read_h14(path), False
    detector = read_detector(path)
    layers = [(kernel.T, bias) for kernel, bias in detector.layers]
    if len(detector.mean) != model.dim:
        raise WeightsError(
            f"{path} has a detector for {len(detector.mean)} dimensions; {model.name} has "
            f"{model.dim}. Give the file that belongs to this model."
        )
    network = DenseNetwork(
        layers,
        len(layers) - 1,
        vocabularies=detector.vocabularies,
        mean=detector.mean,
        variance=detector.variance,
    )
    return network, True


def _read_h14(path: str) -> DenseNetwork:
    layers = read_layers(path)
    sizes = (layers[0][0].shape[1], *(len(bias) for _, bias in layers))
    if sizes != _H14:
        raise WeightsError(
            f"{path} holds layers of {sizes}. Expected ViT-H-14's detector, {_H14}: h14_nsfw.pth "
            "of LAION-AI/CLIP-based-NSFW-Detector."
        )
    return DenseNetwork([(w.numpy(), b.numpy()) for w, b in layers], _H14_RELU)
