"""Compatibility of heads with CLIP models and with each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from laion_dask.errors import ModelMismatchError, OptionError, must_be, one_of
from laion_dask.models.clip import ClipModel, as_clip
from laion_dask.models.embedding_space import EmbeddingSpace
from laion_dask.models.heads.base import Head
from laion_dask.models.heads.embedding_head import EmbeddingHead
from laion_dask.models.same_space import check_same_space, own_file_hint


def check_heads(
    heads: Iterable,
    model: ClipModel | EmbeddingSpace | None,
    reads: tuple[str, ...] = ("embeddings",),
) -> Iterator[Head]:
    """The heads as a list, after checking that they fit the model and write distinct columns.

    Parameters
    ----------
    heads : iterable of heads
    model : ClipModel, EmbeddingSpace or None
        The model of the available embeddings; None if there are none.
    reads : tuple of str
        The available inputs: ``"embeddings"``, ``"images"``, ``"captions"``.

    Raises
    ------
    ModelMismatchError
        When a head reads embeddings of another CLIP model.
    OptionError
        When two heads write the same column, or a head reads an input that is not available.
    """
    names: set[str] = set()
    for head in heads:
        must_be("A head", head, Head, "a head, such as ld.heads.aesthetic('ViT-L-14')")
        if head.reads not in reads:
            where = {
                "embeddings": "score",
                "images": "embed(heads=…)",
                "captions": "score_captions",
            }[head.reads]
            raise OptionError(
                f"The head {head.name!r} reads {head.reads}; only {' and '.join(reads)} are "
                f"available here. Pass it to {where}."
            )
        if isinstance(head, EmbeddingHead):
            assert model is not None  # embeddings are available
            check_same_space(head.clip, model, f"The head {head.name!r} and the embeddings")
        if head.name in names:
            raise OptionError(
                f"Two heads write the column {head.name!r}. Rename one with head.to('…')."
            )
        names.add(head.name)
        yield head


def published_for(clip: ClipModel | str, files: dict, subject: str) -> tuple[str, str]:
    """The model that published weights belong to, and their file names.

    Parameters
    ----------
    clip : ClipModel or str
        The user's argument.
    files : dict of str to file names
        Model (``"ViT-L-14:openai"``) → published file name.
    subject : str
        Names the head in the message.

    Raises
    ------
    OptionError
        When no head is published for the architecture.
    ModelMismatchError
        When the head for this architecture was fitted on other weights.
    """
    model = as_clip(clip)
    published = [as_clip(name) for name in files]
    same = [h for h in published if h.arch == model.arch.removesuffix("-quickgelu")]
    if not same:
        raise one_of("clip", model.name, [h.arch for h in published])
    if not same[0].same_space(model):
        raise ModelMismatchError(
            f"The {subject} for {same[0].arch} was fitted on the weights {same[0].pretrained!r}, "
            f"and clip is {model.name}. Use embeddings of {same[0]!r}."
            f"{own_file_hint(same[0], model)}"
        )
    return same[0].name, files[same[0].name]
