"""``ld.heads``: every head, and how a new one is trained."""

from laion_dask.models.heads import (
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
    zero_shot,
)
from laion_dask.verbs.train import train

__all__ = [
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
    "train",
    "zero_shot",
]
