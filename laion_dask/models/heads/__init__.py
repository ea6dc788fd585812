"""Heads: small classifiers over CLIP embeddings, images or captions, as specs.

A head names its model and its weights. ``head.predict(x)`` works without Dask and returns the same
values that ``score`` and ``embed`` write.
"""

from collections.abc import Callable
from typing import Any

from laion_dask.errors import unknown
from laion_dask.models.clip import ClipModel
from laion_dask.models.embedding_space import EmbeddingSpace
from laion_dask.models.heads.aesthetic import aesthetic
from laion_dask.models.heads.base import Head
from laion_dask.models.heads.captions import CaptionHead, toxicity
from laion_dask.models.heads.embedding_head import EmbeddingHead
from laion_dask.models.heads.filter_network import FilterNetwork, load_filter
from laion_dask.models.heads.linear import LinearHead, demo_safety
from laion_dask.models.heads.nsfw import NsfwHead, nsfw
from laion_dask.models.heads.trained import TrainedHead, load
from laion_dask.models.heads.watermark import WatermarkHead, watermark
from laion_dask.models.heads.zero_shot import PromptHead, inappropriate, zero_shot

__all__ = [
    "CaptionHead",
    "EmbeddingHead",
    "FilterNetwork",
    "Head",
    "LinearHead",
    "NsfwHead",
    "PromptHead",
    "TrainedHead",
    "WatermarkHead",
    "aesthetic",
    "by_name",
    "demo_safety",
    "inappropriate",
    "load",
    "nsfw",
    "toxicity",
    "watermark",
    "zero_shot",
]


def _aesthetic_v2(clip: ClipModel | str, weights: str | None) -> Head:
    return aesthetic(clip, version=2, weights=weights, to="aesthetic_v2")


#: The published heads by their command-line name; each takes a model and, optionally, a file.
NAMES: dict[str, Callable[..., Head]] = {
    "aesthetic": aesthetic,
    "aesthetic_v2": _aesthetic_v2,
    "inappropriate": inappropriate,
    "nsfw": nsfw,
    "watermark": lambda clip, weights: watermark(weights),
}


#: Heads of your own by their command-line name; each takes a file, and a model.
FROM_FILES: dict[str, Callable[..., Any]] = {"filter": load_filter, "trained": load}


def by_name(name: str, clip: ClipModel | EmbeddingSpace | str) -> Head:
    """A head by its command-line name: ``"aesthetic"``, ``"nsfw=FILE"``, ``"filter=FILE"``. Eager.

    ``"filter=FILE"`` and ``"trained=FILE"`` are a filter network and a head that were trained and
    saved here.

    Raises
    ------
    OptionError
        When no head has that name; otherwise as the function of the head.

    Examples
    --------
    >>> import laion_dask as ld
    >>> ld.heads.by_name("demo_safety", "demo").name
    'punsafe_demo'
    >>> ld.heads.by_name("aesthetic=sa_0_4_vit_l_14_linear.pth", "ViT-L-14:openai").name
    'aesthetic'
    """
    if name == "demo_safety":
        return demo_safety()
    short, equals, file = name.partition("=")
    if short in FROM_FILES and file:
        found: Head = FROM_FILES[short](file, clip)
        return found
    if short not in NAMES or (equals and not file):
        available = ["demo_safety", *(form for name in NAMES for form in (name, f"{name}=FILE"))]
        available += [f"{name}=FILE" for name in FROM_FILES]
        raise unknown("head", name, available)
    return NAMES[short](clip, weights=file or None)
