"""The embedding space of a model outside open_clip: a name and a dimension, no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from laion_dask.display.overview import Displayed
from laion_dask.errors import OptionError, must_be


@dataclass(frozen=True)
class EmbeddingSpace(Displayed):
    """The embedding space of a model outside open_clip: DINOv2, SigLIP, SSCD, your own.

    Embeddings in it can be searched by vector or by row, and scored by heads trained on it. They
    are never compared with embeddings of another model. The space has no weights, so it cannot
    embed texts or images as queries.

    Parameters
    ----------
    name : str
        Name of the model. Spaces with the same name are the same space.
    dim : int, optional
        The length of its vectors. If omitted, `open_embeddings` takes it from the files.

    Raises
    ------
    OptionError
        When the name is empty, or the dimension is not a positive integer.

    Examples
    --------
    >>> import laion_dask as ld
    >>> ld.EmbeddingSpace("dinov2-vitl14", 1024).name
    'dinov2-vitl14'
    """

    name: str
    dim: int | None = None

    def __post_init__(self) -> None:
        must_be("name", self.name, str, "the model's name, such as 'dinov2-vitl14'")
        if not self.name.strip():
            raise OptionError("name is empty. Expected the model's name, such as 'dinov2-vitl14'.")
        is_integer = isinstance(self.dim, int) and not isinstance(self.dim, bool)
        if self.dim is not None and not (is_integer and self.dim > 0):
            raise OptionError(
                f"dim is {self.dim!r}. Expected the length of a vector, such as 1024."
            )

    def same_space(self, other) -> bool:
        """Whether vectors of the two can be compared: same name and same dimension."""
        if isinstance(other, str):
            other = EmbeddingSpace(other)
        if not isinstance(other, EmbeddingSpace) or self.name != other.name:
            return False
        return None in (self.dim, other.dim) or self.dim == other.dim

    def recipe(self) -> dict:
        """The manifest entry."""
        return {"space": self.name, "dim": self.dim}

    def text(self, texts) -> NoReturn:
        """Always raises: the space has no model to embed texts.

        Raises
        ------
        OptionError
        """
        raise self._no_model_error("a text")

    def image(self, images) -> NoReturn:
        """Always raises: the space has no model to embed images.

        Raises
        ------
        OptionError
        """
        raise self._no_model_error("an image")

    def require(self) -> None:
        """Do nothing: the space has no weights."""

    def _no_model_error(self, inputs: str) -> OptionError:
        return OptionError(
            f"The embeddings are of {self.name!r}, which has no model here to embed {inputs}. "
            f"Search with a vector of {self.dim or 'its'} numbers made by that model, or with a "
            "row, (shard, row)."
        )
