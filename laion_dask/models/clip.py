"""CLIP models as specs: a name that compares, hashes and pickles, and loads nothing by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.errors import ModelMismatchError, OptionError, must_be, parameter
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

#: Pictures and texts that one forward pass takes at a time.
BATCH = 64


@dataclass(frozen=True, init=False, repr=False)
class ClipModel:
    """A CLIP model by name. Nothing is loaded before the first ``text`` or ``image``.

    The weights then load once per process and are shared by its threads; sent to a worker, only
    the names travel. Weights are float32, and on the CPU so is all arithmetic.

    Parameters
    ----------
    arch : str
        ``"demo"`` (the small model that ships with the package), one of open_clip's architectures
        (``"ViT-L-14"``, also written ``"ViT-L/14"``), or the path of a ``.json`` configuration in
        open_clip's form.
    pretrained : str or path, optional
        One of open_clip's tags (``"openai"``, ``"laion2b_s32b_b82k"``) or the path of a weight
        file. Without it the spec names any model of that architecture: enough to compare, not to
        compute (except for ``"demo"``, whose weights are bundled).
    device : str, optional
        A torch device; by default ``"cuda"`` where a GPU is visible, else ``"cpu"``. Models that
        differ only in it are of one space.

    Raises
    ------
    OptionError
        At once, for an architecture that is not known.

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
        # Written out because the generated one would take the device by position.
        object.__setattr__(self, "arch", clean_arch(arch))
        object.__setattr__(self, "pretrained", clean_tag(pretrained))
        object.__setattr__(self, "device", None if device is None else str(device))
        if self.arch == "demo" and self.pretrained is not None:
            raise OptionError(
                f"The demo model has its own weights; {parameter('pretrained')} is "
                f"{str(pretrained)!r}. Leave it out, or give the path of a configuration as arch."
            )

    def __repr__(self) -> str:
        given = [self.arch, self.pretrained] if self.pretrained else [self.arch]
        device = f", device={self.device!r}" if self.device else ""
        return f"ClipModel({', '.join(map(repr, given))}{device})"

    @property
    def name(self) -> str:
        """``arch`` or ``arch:pretrained``, files by their bare names."""
        arch = Path(self.arch).stem if self.arch.endswith(".json") else self.arch
        if self.pretrained is None:
            return arch
        tag = self.pretrained
        return f"{arch}:{Path(tag).name if clip_loading.is_path(tag) else tag}"

    @property
    def dim(self) -> int:
        """The length of its vectors, from the configuration; the weights are not touched."""
        return int(clip_loading.read_config(self.arch)["embed_dim"])

    def same_space(self, other: ClipModel | EmbeddingSpace | str) -> bool:
        """Whether vectors of the two models can be compared.

        Architecture and pretrained tag must agree; where one side does not say which weights
        (``ClipModel("ViT-L-14")``, or the bare name), the architecture decides. Two weight files
        agree when their contents do. ``-quickgelu`` names the same published models.
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
        """What a manifest records: ``arch``, ``pretrained`` and, of local files, their sha256.

        Paths are reduced to file names, so that a recipe does not depend on the machine. Eager.
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
        """Make sure that the weights are on this machine, without loading them. Eager.

        Raises
        ------
        WeightsError
            That says which file to put where.
        """
        require_extra("clip", f"The CLIP model {self.name}")
        with clip_loading.loading_bar(self.arch):
            clip_loading.require_file(self.arch, self.pretrained)

    def load(self, precision: str = "float32") -> clip_loading.LoadedClip:
        """The model in memory: loaded at the first call in a process, then the same one. Eager.

        Parameters
        ----------
        precision : str
            ``"float32"`` or ``"bfloat16"``: what it computes in, and keeps its weights in.

        Raises
        ------
        WeightsError
            When its weights are not on this machine, or cannot be read.
        OptionError
            When its device is not there.
        """
        check_precision(precision)
        with clip_loading.loading_bar(self.arch):
            device = resolve_device(self.device)
            return clip_loading.load(self.arch, self.pretrained, device, precision)

    def fastest_precision(self) -> str:
        """``"bfloat16"`` where this machine's processor or card multiplies it, else ``"float32"``.

        On random and trained weights alike, unit vectors of the two have a cosine over 0.999.
        """
        return "bfloat16" if has_bfloat16(resolve_device(self.device)) else "float32"

    def text(self, texts: str | Sequence[str]) -> Vectors:
        """Unit-norm float32 embeddings of texts: (dim,) for one, (n, dim) for a list. Eager.

        Raises
        ------
        OptionError
            When something else than text is given.
        WeightsError
            As ``load``.
        """
        one = isinstance(texts, str)
        must_be("A text", texts, (str, Iterable), "a str or a list of str")
        texts = [texts] if one else list(texts)
        for text in texts:
            if not isinstance(text, str):
                raise OptionError(
                    f"A text is {type(text).__name__}. Expected a str or a list of str; "
                    "pictures go to .image()."
                )
        found = self._batched(self.load().texts, texts)
        return Vectors(found[0], self, texts[0]) if one else found

    def image(self, images: Image.Image | str | os.PathLike | bytes | Sequence) -> Vectors:
        """Unit-norm float32 embeddings of pictures: (dim,) for one, (n, dim) for a list. Eager.

        Parameters
        ----------
        images : PIL.Image.Image, path, bytes, binary file, array of pixels, or a list of these
            Files are JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF; pixels are (height, width) or
            (height, width, 3 or 4) uint8. Each is prepared as open_clip prepares it.

        Raises
        ------
        ImageError
            When one cannot be read; the message names it.
        WeightsError
            As ``load``.
        """
        one = not isinstance(images, (list, tuple))
        images = [images] if one else list(images)
        clip = self.load()

        def embed(batch):
            return clip.images([clip.prepare(decoding.as_picture(image)) for image in batch])

        found = self._batched(embed, images)
        return found[0] if one else found

    def _batched(self, embed, items: list) -> Vectors:
        blocks = [embed(items[i : i + BATCH]) for i in range(0, len(items), BATCH)]
        empty = np.empty((0, self.dim), np.float32)
        return Vectors(np.concatenate(blocks) if blocks else empty, self)


def as_model(model: ClipModel | EmbeddingSpace | str) -> ClipModel | EmbeddingSpace:
    """A spec from a spec or a name, in any of the spellings of `clip_names.split_name`.

    Raises
    ------
    OptionError
        When it is neither, or no architecture has that name.
    """
    if isinstance(model, (ClipModel, EmbeddingSpace)):
        return model
    if not isinstance(model, str):
        raise OptionError(
            f"A model is given as {type(model).__name__}. Expected a ClipModel or a name such as "
            "'ViT-L-14', or an EmbeddingSpace."
        )
    return ClipModel(*split_name(model))


def as_clip(model: ClipModel | str) -> ClipModel:
    """As `as_model`, for what needs a model that makes vectors of pictures and texts.

    Raises
    ------
    OptionError
        As `as_model`; and for an `EmbeddingSpace`, which has no weights.
    """
    model = as_model(model)
    if not isinstance(model, ClipModel):
        raise OptionError(
            f"{model.name!r} is the name of a space, with no model that could be run. Expected a "
            "CLIP model of open_clip, such as 'ViT-L-14:openai'."
        )
    return model


def check_same_space(a: ClipModel | str, b: ClipModel | str, what: str) -> None:
    """Refuse to compare things of two models.

    Parameters
    ----------
    a, b : ClipModel, EmbeddingSpace or str
        The model asked for, and the model of what was given.
    what : str
        Both in words, for the message: ``"The head 'aesthetic' and the embeddings"``.

    Raises
    ------
    ModelMismatchError
        When vectors of ``a`` and ``b`` share no space.
    """
    a, b = as_model(a), as_model(b)
    if not a.same_space(b):
        raise ModelMismatchError(
            f"{what} are of different models: {a.name} and {b.name}. Their numbers cannot be "
            f"compared; make both with the same model.{own_file_hint(a, b)}"
        )


def own_file_hint(a: ClipModel, b: ClipModel) -> str:
    """What to do where one model is a file and the other a tag, which the file may be that of."""
    if not (isinstance(a, ClipModel) and isinstance(b, ClipModel)):
        return ""
    one, other = (clip_loading.is_path(model.pretrained or "") for model in (a, b))
    if one == other or a.arch.endswith(".json") or arch_identity(a.arch) != arch_identity(b.arch):
        return ""
    file, tag = (a, b) if one else (b, a)
    path = Path(file.pretrained)
    return (
        f" If {path.name} is the file of {tag.pretrained!r}, put it as "
        f"{tag.arch}-{tag.pretrained}{path.suffix} into the folder that {weights.VARIABLE} names, "
        f"and name the model {tag.name!r}."
    )
