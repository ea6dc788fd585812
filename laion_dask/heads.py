"""``ld.heads``: every head, and how a new one is trained."""

from laion_dask.models.heads import (
    CaptionHead,
    EmbeddingHead,
    Head,
    LinearHead,
    NsfwHead,
    PromptHead,
    TrainedHead,
    WatermarkHead,
    aesthetic,
    by_name,
    demo_safety,
    inappropriate,
    load,
    nsfw,
    toxicity,
    watermark,
    zero_shot,
)
from laion_dask.training.train import train

__all__ = [
    "CaptionHead",
    "EmbeddingHead",
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
    "train",
    "watermark",
    "zero_shot",
]
