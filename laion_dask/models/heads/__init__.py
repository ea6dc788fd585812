"""Heads: small classifiers over CLIP embeddings, images or captions, as specs.

A head names its model and its weights. ``head.predict(x)`` works without Dask and returns the very
numbers that ``score`` and ``embed`` write.
"""

from collections.abc import Callable

from laion_dask.errors import one_of
from laion_dask.models.clip import ClipModel
from laion_dask.models.heads.base import EmbeddingHead, FileHead, Head
from laion_dask.models.heads.captions import CaptionHead, toxicity
from laion_dask.models.heads.linear import LinearHead, aesthetic, demo_safety
from laion_dask.models.heads.matching import check_heads
from laion_dask.models.heads.nsfw import NsfwHead, nsfw
from laion_dask.models.heads.prompts import PromptHead, inappropriate, zero_shot
from laion_dask.models.heads.trained import TrainedHead, load
from laion_dask.models.heads.watermark import WatermarkHead, watermark

__all__ = [
    "CaptionHead",
    "EmbeddingHead",
    "FileHead",
    "Head",
    "LinearHead",
    "NsfwHead",
    "PromptHead",
    "TrainedHead",
    "WatermarkHead",
    "aesthetic",
    "by_name",
    "check_heads",
    "demo_safety",
    "inappropriate",
    "load",
    "nsfw",
    "toxicity",
    "watermark",
    "zero_shot",
]

#: The heads that need nothing but a model, by their name on the command line.
NAMES: dict[str, Callable[[ClipModel | str], Head]] = {
    "aesthetic": aesthetic,
    "aesthetic_v2": lambda clip: aesthetic(clip, version=2, to="aesthetic_v2"),
    "demo_safety": lambda clip: demo_safety(),
    "inappropriate": inappropriate,
    "nsfw": nsfw,
}


#: The heads that need a weight file, written ``NAME=FILE`` there.
NAMES_OF_FILES: dict[str, Callable[..., Head]] = {"watermark": watermark}


def by_name(name: str, clip: ClipModel | str) -> Head:
    """A head by its name on the command line: ``"aesthetic"``, ``"watermark=FILE"``. Eager.

    Raises
    ------
    OptionError
        When there is no head of that name; else as the head's own function.
    """
    short, equals, file = name.partition("=")
    if equals and short in NAMES_OF_FILES:
        return NAMES_OF_FILES[short](weights=file)
    if name not in NAMES:
        raise one_of("head", name, [*NAMES, *(f"{short}=FILE" for short in NAMES_OF_FILES)])
    return NAMES[name](clip)
