"""Models as picklable specs: CLIP, heads over its embeddings, and their weight files."""

from laion_dask.models.clip import ClipModel, as_clip, as_model
from laion_dask.models.embedding_space import EmbeddingSpace
from laion_dask.models.same_space import check_same_space
from laion_dask.models.vectors import Vectors

__all__ = ["ClipModel", "EmbeddingSpace", "Vectors", "as_clip", "as_model", "check_same_space"]


def __dir__() -> list[str]:
    return sorted(__all__)
