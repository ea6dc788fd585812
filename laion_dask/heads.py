"""``ld.heads``: every head, and how a new one is trained."""

from laion_dask.models.heads import (
    CaptionHead,
    EmbeddingHead,
    Head,
    LinearHead,
    PromptHead,
    TrainedHead,
    aesthetic,
    by_name,
    demo_safety,
    inappropriate,
    load,
    toxicity,
    zero_shot,
)
from laion_dask.verbs.train import train

__all__ = [
    "CaptionHead",
    "EmbeddingHead",
    "Head",
    "LinearHead",
    "PromptHead",
    "TrainedHead",
    "aesthetic",
    "by_name",
    "demo_safety",
    "inappropriate",
    "load",
    "toxicity",
    "train",
    "zero_shot",
]
