"""CLIP models as specs: picklable, comparable, hashable names that load nothing by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import OptionError, must_be, parameter
from laion_dask.extras import require_extra
from laion_dask.io.images import decoding
from laion_dask.models import clip_loading, weights
from laion_dask.models.clip_identity import arch_identity, resolve_device, weights_identity
from laion_dask.models.clip_names import clean_arch, clean_tag, split_name
from laion_dask.models.clip_runtime import check_precision
from laion_dask.models.embedding_space import EmbeddingSpace
from laion_dask.models.vectors import Vectors
from laion_dask.numerics.bfloat16 import has_bfloat16

if TYPE_CHECKING:
    from PIL import Image

#: Images or texts per forward pass.
BATCH = 64


@dataclass(frozen=True, init=False, repr=False)
class ClipModel(Displayed):
    """A CLIP model by name. Nothing is loaded before the first ``text`` or ``image``.

    The weights are loaded once per process and shared by its threads; only the names are sent to
    workers. Weights are float32, and so is all arithmetic on the CPU.

    Parameters
    ----------
    arch : str
        ``"demo"`` (the small model that ships with the package), an architecture of open_clip
        (``"ViT-L-14"``, also written ``"ViT-L/14"``), a name with both (``"ViT-L-14:openai"``), or
        the path of a ``.json`` configuration in open_clip's format.
    pretrained : str or path, optional
        A tag of open_clip (``"openai"``, ``"laion2b_s32b_b82k"``) or the path of a weight file.
        Without it, the spec stands for any model of that architecture: it can be compared, but not
        run (except for ``"demo"``, whose weights are bundled).
    device : str, optional
        A torch device; by default ``"cuda"`` if a GPU is visible, else ``"cpu"``. Models that
        differ only in their device share an embedding space.

    Raises
    ------
    OptionError
        Immediately, for an unknown architecture.

    Examples
    --------
    >>> import laion_dask as ld
    >>> ld.ClipModel("ViT-L/14", "openai").name
    'ViT-L-14:openai'
    >>> ld.ClipModel("ViT-L-14", "openai").dim
    768
    """

    arch: str
    pretrained: str | None = None
    device: str | None = None

    def __init__(self, arch, pretrained=None, *, device=None) -> None:
        # Written out because the generated __init__ would accept the device by position.
        if pretrained is None and isinstance(arch, str) and not arch.endswith(".json"):
            arch, pretrained = split_name(arch)
        object.__setattr__(self, "arch", clean_arch(arch))
        object.__setattr__(self, "pretrained", clean_tag(pretrained))
        object.__setattr__(self, "device", None if device is None else str(device))
        if self.arch == "demo" and self.pretrained is not None:
            raise OptionError(
                f"The demo model has its own weights; {parameter('pretrained')} is "
                f"{str(pretrained)!r}. Leave it out, or give the path of a configuration as arch."
            )

    def __repr__(self) -> str:
        names = [self.arch, self.pretrained] if self.pretrained else [self.arch]
        device = f", device={self.device!r}" if self.device else ""
        return f"ClipModel({', '.join(map(repr, names))}{device})"

    def _overview(self) -> Overview:
        facts = {
            "architecture": self.arch,
            "weights": self.pretrained
            or ("in this package" if self.arch == "demo" else "not named"),
            "device": self.device or "a GPU if there is one, else the CPU",
        }
        return Overview(
            "CLIP model", facts, notes=["A spec: nothing is loaded before the first use."]
        )

    @property
    def name(self) -> str:
        """``arch`` or ``arch:pretrained``; files are given by their bare names."""
        arch = Path(self.arch).stem if self.arch.endswith(".json") else self.arch
        if self.pretrained is None:
            return arch
        tag = self.pretrained
        return f"{arch}:{Path(tag).name if clip_loading.is_path(tag) else tag}"

    @property
    def dim(self) -> int:
        """The length of its vectors, from the configuration, without loading the weights."""
        return int(clip_loading.read_config(self.arch)["embed_dim"])

    def same_space(self, other: ClipModel | EmbeddingSpace | str) -> bool:
        """Whether vectors of the two models can be compared.

        Architecture and pretrained tag must agree. If one side names no weights
        (``ClipModel("ViT-L-14")``, or the bare name), the architecture decides. Two weight files
        agree when their contents do. ``-quickgelu`` denotes the same published models.
        """
        other = as_model(other)
        if self == other:
            return True
        if not isinstance(other, ClipModel):
            return False
        if arch_identity(self.arch) != arch_identity(other.arch):
            return False
        if self.pretrained is None or other.pretrained is None:
            return True
        return weights_identity(self.pretrained) == weights_identity(other.pretrained)

    def recipe(self) -> dict:
        """The manifest entry: ``arch``, ``pretrained`` and the sha256 of local files.

        Paths are reduced to file names, so a recipe does not depend on the machine. Eager.
        """
        pretrained = self.pretrained
        if pretrained and clip_loading.is_path(pretrained):
            pretrained = Path(pretrained).name
        file = clip_loading.weight_file(self.arch, self.pretrained)
        recipe = {
            "arch": self.name.split(":")[0],
            "pretrained": pretrained,
            "weights_sha256": weights.sha256_of(file) if file else None,
        }
        if self.arch == "demo" or self.arch.endswith(".json"):
            recipe["config_sha256"] = weights.sha256_of(clip_loading.config_file(self.arch))
        return recipe

    def require(self) -> None:
        """Check that the weights are available locally, without loading them. Eager.

        Raises
        ------
        WeightsError
            The message says which file to put where.
        """
        require_extra("clip", f"The CLIP model {self.name}")
        with clip_loading.loading_bar(self.arch):
            clip_loading.require_file(self.arch, self.pretrained)

    def load(self, precision: str = "float32") -> clip_loading.LoadedClip:
        """The model in memory, loaded once per process. Eager.

        Parameters
        ----------
        precision : str
            ``"float32"`` or ``"bfloat16"``: the dtype of its weights and its arithmetic.

        Raises
        ------
        WeightsError
            When its weights are not available locally, or cannot be read.
        OptionError
            When its device is not available.
        """
        check_precision(precision)
        with clip_loading.loading_bar(self.arch):
            device = resolve_device(self.device)
            return clip_loading.load(self.arch, self.pretrained, device, precision)

    def fastest_precision(self) -> str:
        """``"bfloat16"`` if this CPU or GPU multiplies it in hardware, else ``"float32"``.

        Unit vectors computed in the two dtypes have a cosine over 0.999, with random weights and
        with trained weights.
        """
        return "bfloat16" if has_bfloat16(resolve_device(self.device)) else "float32"

    def text(self, texts: str | Sequence[str]) -> Vectors:
        """Unit-norm float32 embeddings of texts: (dim,) for one, (n, dim) for a list. Eager.

        Raises
        ------
        OptionError
            When an item is not a text.
        WeightsError
            As ``load``.
        """
        must_be("A text", texts, (str, Iterable), "a str or a list of str")
        items = [texts] if isinstance(texts, str) else list(texts)
        for text in items:
            if not isinstance(text, str):
                raise OptionError(
                    f"A text is {type(text).__name__}. Expected a str or a list of str; "
                    "images go to .image()."
                )
        vectors = self._batched(self.load().texts, items)
        return Vectors(vectors[0], self, texts) if isinstance(texts, str) else vectors

    def image(self, images: Image.Image | str | os.PathLike | bytes | Sequence) -> Vectors:
        """Unit-norm float32 embeddings of images: (dim,) for one, (n, dim) for a list. Eager.

        Parameters
        ----------
        images : PIL.Image.Image, path, bytes, binary file, array of pixels, or a list of these
            Files are JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF; pixels are (height, width) or
            (height, width, 3 or 4) uint8. Each image is preprocessed as by open_clip.

        Raises
        ------
        ImageError
            When an image cannot be read; the message names it.
        WeightsError
            As ``load``.
        """
        several = isinstance(images, (list, tuple))
        items = list(images) if isinstance(images, (list, tuple)) else [images]
        clip = self.load()

        def embed(batch):
            return clip.images([clip.prepare(decoding.as_picture(image)) for image in batch])

        vectors = self._batched(embed, items)
        return vectors if several else vectors[0]

    def _batched(self, embed, items: list) -> Vectors:
        blocks = [embed(items[i : i + BATCH]) for i in range(0, len(items), BATCH)]
        empty = np.empty((0, self.dim), np.float32)
        return Vectors(np.concatenate(blocks) if blocks else empty, self)


def as_model(model: ClipModel | EmbeddingSpace | str) -> ClipModel | EmbeddingSpace:
    """A model spec from a spec or a name, in any spelling that `clip_names.split_name` accepts.

    Raises
    ------
    OptionError
        When ``model`` is neither a spec nor a name, or no architecture has this name.
    """
    if isinstance(model, (ClipModel, EmbeddingSpace)):
        return model
    if not isinstance(model, str):
        raise OptionError(
            f"A model is given as {type(model).__name__}. Expected a ClipModel, a name such as "
            "'ViT-L-14', or an EmbeddingSpace."
        )
    return ClipModel(*split_name(model))


def as_clip(model: ClipModel | EmbeddingSpace | str) -> ClipModel:
    """As `as_model`, for callers that need a model to embed images or texts.

    Raises
    ------
    OptionError
        As `as_model`; and for an `EmbeddingSpace`, which has no weights.
    """
    clip = as_model(model)
    if not isinstance(clip, ClipModel):
        raise OptionError(
            f"{clip.name!r} names an embedding space without a model to run. Expected a "
            "CLIP model of open_clip, such as 'ViT-L-14:openai'."
        )
    return clip
