"""Check that two models share an embedding space, before their vectors are compared."""

from __future__ import annotations

from pathlib import Path

from laion_dask.errors import ModelMismatchError
from laion_dask.models import clip_loading, weights
from laion_dask.models.clip import ClipModel, as_model
from laion_dask.models.clip_identity import arch_identity
from laion_dask.models.embedding_space import EmbeddingSpace


def check_same_space(
    a: ClipModel | EmbeddingSpace | str, b: ClipModel | EmbeddingSpace | str, what: str
) -> None:
    """Raise unless two models share an embedding space.

    Parameters
    ----------
    a, b : ClipModel, EmbeddingSpace or str
        The requested model, and the model of the given data.
    what : str
        Names both in the message: ``"The head 'aesthetic' and the embeddings"``.

    Raises
    ------
    ModelMismatchError
        When vectors of ``a`` and ``b`` cannot be compared.
    """
    one, other = as_model(a), as_model(b)
    if not one.same_space(other):
        raise ModelMismatchError(
            f"{what} are of different models: {one.name} and {other.name}. Their vectors cannot be "
            f"compared; use one model for both.{own_file_hint(one, other)}"
        )


def own_file_hint(a: ClipModel | EmbeddingSpace, b: ClipModel | EmbeddingSpace) -> str:
    """A hint for the case that one model is a weight file and the other may be its tag."""
    if not (isinstance(a, ClipModel) and isinstance(b, ClipModel)):
        return ""
    one, other = (clip_loading.is_path(model.pretrained or "") for model in (a, b))
    if one == other or a.arch.endswith(".json") or arch_identity(a.arch) != arch_identity(b.arch):
        return ""
    file, tag = (a, b) if one else (b, a)
    path = Path(file.pretrained or "")
    return (
        f" If {path.name} is the file of {tag.pretrained!r}, save it as "
        f"{tag.arch}-{tag.pretrained}{path.suffix} in the folder that {weights.VARIABLE} names, "
        f"and name the model {tag.name!r}."
    )
