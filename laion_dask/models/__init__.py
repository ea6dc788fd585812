"""Models as picklable specs: CLIP, heads over its embeddings, and where their weights lie."""

from laion_dask.models.clip import ClipModel, as_model, check_same_space
from laion_dask.models.vectors import Vectors

__all__ = ["ClipModel", "Vectors", "as_model", "check_same_space"]
